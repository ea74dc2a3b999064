"""The moving averages of batch normalization."""


def moved_average(moving, value, momentum):
    """A moving average after another value."""
    return moving - (moving - value) * (1.0 - momentum)


def assign_moved(variables, values):
    """Assigns moving averages what a called function, which knows no shapes, has given."""
    for variable, value in zip(variables, values, strict=True):
        value.set_shape(variable.shape)
        variable.assign(value)
