"""Training: its loop, what happens beside the steps, and several devices and machines."""

STRATEGIES = ("one-device", "mirrored", "multi-worker", "tpu")
