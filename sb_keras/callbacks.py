"""Callbacks for training attention networks."""

import keras

from sb_keras.arguments import check_positive
from sb_keras.graph import inner_layers
from sb_keras.layers.dynamic_conv import DynamicConv


class TemperatureAnnealing(keras.callbacks.Callback):
    """Lowers the softmax temperature of dynamic convolutions, epoch by epoch (Chen et al., 2020).

    With a high temperature all kernels are used, and all learn; a low one lets them specialize. The
    original goes linearly from 30 to 1 in the first ten epochs. The temperature is a weight of
    its layer, so checkpoints hold it.

    Args:
        start: Temperature of the first epoch.
        end: Temperature of the epoch number `epochs` and of all after it.
        epochs: Number of epochs of annealing.

    Raises:
        ValueError: If a temperature is not positive, or `epochs` is less than 1.

    Example:

    ```python
    annealing = sb_keras.callbacks.TemperatureAnnealing(start=30, end=1, epochs=10)
    # model.fit(images, labels, epochs=200, callbacks=[annealing])
    ```
    """

    def __init__(self, start=30.0, end=1.0, epochs=10):
        super().__init__()
        self.start, self.end = check_positive("start", start), check_positive("end", end)
        if not epochs >= 1:
            raise ValueError(f"`epochs` must be at least 1. Received: epochs={epochs}")
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        progress = min(epoch / self.epochs, 1.0)
        temperature = self.start + (self.end - self.start) * progress
        assert self.model is not None
        for layer in inner_layers(self.model):
            if isinstance(layer, DynamicConv) and layer.temperature is not None:
                layer.temperature.assign(temperature)
