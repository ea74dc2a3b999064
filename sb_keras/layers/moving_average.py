"""The moving averages of batch normalization."""


def moved_average(moving, value, momentum):
    """A moving average after another value."""
    return moving - (moving - value) * (1.0 - momentum)
