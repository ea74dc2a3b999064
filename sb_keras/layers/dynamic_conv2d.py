"""Convolution whose kernel is mixed anew for every example (DyConv and CondConv)."""

import keras
from keras import ops

from sb_keras.arguments import check_positive_integer
from sb_keras.layers.channelwise import with_average
from sb_keras.layers.dynamic_conv import DynamicConv


@keras.saving.register_keras_serializable(package="sb_keras")
class DynamicConv2D(DynamicConv):
    """2D convolution whose kernel is mixed from several for every example (paper, section 3.2).

    y = (Σₖ πₖ(x) Wₖ) * x + b,  π(x) = softmax(F(x) / temperature)

    With a softmax this is DyConv (Chen et al., 2020); with `gate="sigmoid"` it is CondConv (Yang et al.,
    2019), and the temperature is not used. The convolution is one batched matrix product over
    patches, so that its cost does not grow with the number of kernels; a 1×1 kernel needs no patches.
    SavedModel, ONNX, OpenVINO and LiteRT files of Keras's `model.export` take any batch, that of
    `tflite.convert` one image.

    Args:
        filters: Number of output channels.
        kernel_size: An integer or a pair.
        strides: An integer or a pair.
        padding: `"same"` or `"valid"`. Keras's default is the latter.
        data_format: `"channels_last"`, or None for Keras's setting, which must be that.
        dilation_rate: An integer or a pair; 1 where the strides are not.
        groups: 1: what Keras's has and this has not.
        activation: What is applied to the outputs; none by default.
        use_bias: Whether to add a bias; it is not mixed.
        kernel_initializer: Initializer of each kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of all kernels together.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the outputs.
        kernel_constraint: Constraint of each kernel.
        bias_constraint: Constraint of the bias.
        experts: Number of kernels n.
        gate: `"softmax"`, `"sigmoid"`, `"tanh"`, `"relu"` or `"linear"`.
        temperature: Initial softmax temperature; the layer's `temperature` weight holds the
            current one, and `sb_keras.callbacks.TemperatureAnnealing` changes it.
        hidden_units: Hidden units of the routing network F. Defaults to a quarter of the input channels.
        dropout: Rate of the dropout on F's hidden activations.
        normalize_routing: Whether F has batch normalization. False only in folded networks.
        **kwargs: As `keras.layers.Layer`.

    Input shape: `(batch, height, width, channels)`. Output shape: as `keras.layers.Conv2D`.

    Raises:
        ValueError: If an argument is out of range or the number of channels is unknown.

    Example:

    ```python
    y = sb_keras.layers.DynamicConv2D(24, 1)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=(1, 1),
        padding="same",
        data_format=None,
        dilation_rate=(1, 1),
        groups=1,
        *args,
        **kwargs,
    ):
        super().__init__(kernel_size, strides, padding, data_format, dilation_rate, *args, **kwargs)
        self.filters = check_positive_integer("filters", filters)
        if groups != 1:
            raise ValueError(f"`groups` must be 1 in a dynamic convolution. Received: groups={groups!r}")

    def kernel_shape(self, channels):
        return (*self.kernel_size, channels, self.filters)

    def call(self, inputs, training=None):
        inputs, average = with_average(inputs)
        kernels = self.mix(self.routing(average, training=training))
        _, height, width, _ = ops.shape(inputs)
        size = (self._output_size(height, 0), self._output_size(width, 1))
        patches = self._patches(inputs, size)
        channels = patches.shape[-1]
        outputs = ops.matmul(
            ops.reshape(patches, (-1, size[0] * size[1], channels)),
            ops.reshape(kernels, (-1, channels, self.filters)),
        )
        return self._activate(ops.reshape(outputs, (-1, *size, self.filters)))

    def _patches(self, inputs, size):
        """Every output position's receptive field, as channels, in the kernel's order."""
        if self.padding == "same" and self.kernel_size != (1, 1):
            inputs = ops.pad(inputs, [(0, 0), *self._same_padding(inputs, size), (0, 0)])
        (rows, columns), (stride_y, stride_x) = self.kernel_size, self.strides
        if self.kernel_size == self.strides == (1, 1):
            return inputs  # a slice of everything is free, but its gradient is a copy
        span_y, span_x = (size[0] - 1) * stride_y + 1, (size[1] - 1) * stride_x + 1
        rate_y, rate_x = self.dilation_rate
        shifted = [
            inputs[:, i : i + span_y : stride_y, j : j + span_x : stride_x]
            for i in range(0, rows * rate_y, rate_y)
            for j in range(0, columns * rate_x, rate_x)
        ]
        return shifted[0] if len(shifted) == 1 else ops.concatenate(shifted, axis=-1)

    def _same_padding(self, inputs, size):
        for axis, extent in enumerate(ops.shape(inputs)[1:3]):
            total = (size[axis] - 1) * self.strides[axis] + self._extents[axis] - extent
            # Where the stride exceeds the kernel the windows leave a margin unread instead.
            total = max(total, 0) if isinstance(total, int) else ops.maximum(total, 0)
            yield (total // 2, total - total // 2)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}
