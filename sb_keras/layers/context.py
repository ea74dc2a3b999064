"""A feature map and its average, for what needs both."""

import math

import keras

from sb_keras.layers.channels_last import ChannelsLast
from sb_keras.layers.channelwise import with_average
from sb_keras.layers.excitation import average_pooling


@keras.saving.register_keras_serializable(package="sb_keras")
class GlobalContext(ChannelsLast):
    """x → [x, GAP(x)]: what a convolution and the attention branch beside it are given.

    An attention layer averages its input itself where it is given a feature map. Taking both from
    here changes no value, but trains faster: the two gradients of x are added in one pass.

    Args:
        **kwargs: As `keras.layers.Layer`, and `data_format`: `"channels_last"`, or None for Keras's setting,
            which must be that.

    Input shape: `(batch, height, width, channels)`. Output: a list of the input and of a tensor of shape
    `(batch, channels)`.

    Example:

    ```python
    x, context = sb_keras.layers.GlobalContext()(keras.Input((32, 32, 16)))
    trunk = keras.layers.Conv2D(24, 3, padding="same", use_bias=False)(x)
    y = sb_keras.layers.ShiftBalance()([trunk, context])
    ```
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs):
        return list(with_average(inputs))

    def cost(self, input_shape):
        """Multiplies, adds and multiply-adds of the average (equations 10 and 11)."""
        return input_shape[-1], math.prod(input_shape[1:]), 0

    def fold(self, as_map=True):
        """The stock layer that averages: to a map of 1×1, as folded attention takes it, or to a vector."""
        return average_pooling(self.name, keepdims=as_map)

    def compute_output_shape(self, input_shape):
        return [input_shape, (input_shape[0], input_shape[-1])]
