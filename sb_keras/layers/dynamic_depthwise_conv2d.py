"""Depthwise convolution whose kernel is mixed anew for every example (DyConv and CondConv)."""

import keras
from keras import ops

from sb_keras.layers.channelwise import with_average
from sb_keras.layers.dynamic_conv import DynamicConv


@keras.saving.register_keras_serializable(package="sb_keras")
class DynamicDepthwiseConv2D(DynamicConv):
    """Depthwise 2D convolution whose kernel is mixed from several for every example.

    y_c = (Σₖ πₖ(x) W_kc) * x_c + b_c,  π(x) = softmax(F(x) / temperature)

    The batch is moved into the channels, (1, height, width, batch · channels): examples with different
    kernels are then one ordinary depthwise convolution.

    Args:
        kernel_size: An integer or a pair.
        **kwargs: As `DynamicConv2D`, except `filters`. Strides must be equal in both directions.

    Input shape: `(batch, height, width, channels)`. Output shape: as `keras.layers.DepthwiseConv2D` with
    one filter a channel.

    Raises:
        ValueError: If an argument is out of range or the number of channels is unknown.

    Example:

    ```python
    y = sb_keras.layers.DynamicDepthwiseConv2D(3, strides=2)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(self, kernel_size, **kwargs):
        super().__init__(kernel_size, **kwargs)
        if self.strides[0] != self.strides[1]:
            raise ValueError(
                "`strides` must be equal in both directions for a depthwise convolution. "
                f"Received: strides={self.strides}"
            )

    def kernel_shape(self, channels):
        return (*self.kernel_size, channels)

    def _initial_kernels(self, shape, dtype):
        # Keras's depthwise kernels have one more axis, which initializers count.
        return ops.squeeze(super()._initial_kernels((*shape, 1), dtype), axis=-1)

    def call(self, inputs, training=None):
        inputs, average = with_average(inputs)
        kernels = self.mix(self.routing(average, training=training))
        _, height, width, channels = ops.shape(inputs)
        merged = ops.reshape(ops.transpose(inputs, (1, 2, 0, 3)), (1, height, width, -1))
        kernels = ops.reshape(ops.transpose(kernels, (1, 2, 0, 3)), (*self.kernel_size, -1, 1))
        outputs = ops.depthwise_conv(merged, kernels, self.strides, self.padding, data_format="channels_last")
        size = (self._output_size(height, 0), self._output_size(width, 1))
        outputs = ops.reshape(outputs, (*size, -1, channels))
        return self._add_bias(ops.transpose(outputs, (2, 0, 1, 3)))
