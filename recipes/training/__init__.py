"""Training: its loop, what happens beside the steps, and several devices and machines."""

CHECKPOINT_MINUTES = 10
STRATEGIES = ("one-device", "mirrored", "multi-worker", "tpu")
