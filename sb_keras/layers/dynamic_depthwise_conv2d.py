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
    kernels are then one ordinary depthwise convolution, which tells most in training. No exported file can
    have the number of its channels depend on the batch. Where the batch is unknown and nothing is trained,
    as in Keras's `model.export` and in `predict`, the layer is Σₖ πₖ(x) (W_kc * x_c) + b_c instead, as many
    ordinary convolutions as there are kernels: SavedModel, ONNX, OpenVINO and LiteRT files of a network,
    folded or not, take any batch. `tflite.convert` knows that the batch is one, and its file takes one image.

    Args:
        kernel_size: An integer or a pair.
        strides: An integer, or a pair of equal ones.
        padding: `"same"` or `"valid"`.
        depth_multiplier: 1: one filter a channel.
        data_format: `"channels_last"`, or None for Keras's setting, which must be that.
        dilation_rate: An integer or a pair of equal ones; 1 where the strides are not.
        activation: What is applied to the outputs; none by default.
        use_bias: Whether to add a bias; it is not mixed.
        depthwise_initializer: Initializer of each kernel.
        bias_initializer: Initializer of the bias.
        depthwise_regularizer: Regularizer of all kernels together.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the outputs.
        depthwise_constraint: Constraint of each kernel.
        bias_constraint: Constraint of the bias.
        **kwargs: As `DynamicConv2D`. `kernel_initializer` is taken for `depthwise_initializer`.

    Input shape: `(batch, height, width, channels)`. Output shape: as `keras.layers.DepthwiseConv2D` with
    one filter a channel.

    Raises:
        ValueError: If an argument is out of range or the number of channels is unknown.

    Example:

    ```python
    y = sb_keras.layers.DynamicDepthwiseConv2D(3, strides=2)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(
        self,
        kernel_size,
        strides=(1, 1),
        padding="same",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=(1, 1),
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        bias_constraint=None,
        kernel_initializer=None,
        **kwargs,
    ):
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            kernel_initializer or depthwise_initializer,
            bias_initializer,
            depthwise_regularizer,
            bias_regularizer,
            activity_regularizer,
            depthwise_constraint,
            bias_constraint,
            **kwargs,
        )
        for name in ("strides", "dilation_rate"):
            first, second = getattr(self, name)
            if first != second:
                raise ValueError(
                    f"`{name}` must be equal in both directions for a depthwise convolution. "
                    f"Received: {name}={(first, second)}"
                )
        if depth_multiplier != 1:
            raise ValueError(
                "`depth_multiplier` must be 1 in a dynamic convolution. "
                f"Received: depth_multiplier={depth_multiplier!r}"
            )

    def kernel_shape(self, channels):
        return (*self.kernel_size, channels)

    def _initial_kernels(self, shape, dtype):
        # Keras's depthwise kernels have one more axis, which initializers count.
        return ops.squeeze(super()._initial_kernels((*shape, 1), dtype), axis=-1)

    def _constrain_kernels(self, kernels):
        return ops.squeeze(super()._constrain_kernels(kernels[..., None]), axis=-1)

    def call(self, inputs, training=None):
        inputs, average = with_average(inputs)
        coefficients = self.routing(average, training=training)
        if inputs.shape[0] is None and not training:
            return self._activate(self._sum_of_convolutions(inputs, coefficients))
        kernels = self.mix(coefficients)
        _, height, width, channels = ops.shape(inputs)
        merged = ops.reshape(ops.transpose(inputs, (1, 2, 0, 3)), (1, height, width, -1))
        kernels = ops.reshape(ops.transpose(kernels, (1, 2, 0, 3)), (*self.kernel_size, -1, 1))
        kernels = self._dilated(kernels)
        outputs = ops.depthwise_conv(merged, kernels, self.strides, self.padding, data_format="channels_last")
        size = (self._output_size(height, 0), self._output_size(width, 1))
        outputs = ops.reshape(outputs, (*size, -1, channels))
        return self._activate(ops.transpose(outputs, (2, 0, 1, 3)))

    def _sum_of_convolutions(self, inputs, coefficients):
        """Σ πₖ (Wₖ * x): no kernel depends on the example."""
        outputs = [
            ops.depthwise_conv(
                inputs,
                ops.expand_dims(self.kernel[expert], axis=-1),
                self.strides,
                self.padding,
                data_format="channels_last",
                dilation_rate=self.dilation_rate,
            )
            * ops.reshape(coefficients[:, expert], (-1, 1, 1, 1))
            for expert in range(self.experts)
        ]
        return sum(outputs[1:], outputs[0])

    def _dilated(self, kernels):
        """With zeros between its values: TensorFlow cannot dilate where it does not know the channels."""
        rate = self.dilation_rate[0]
        if rate == 1:
            return kernels
        for axis, extent in enumerate(self._extents):
            gaps = ops.expand_dims(kernels, axis + 1)
            gaps = ops.pad(gaps, [(0, rate - 1 if i == axis + 1 else 0) for i in range(5)])
            shape = [-1 if i == 2 else size for i, size in enumerate(kernels.shape)]
            shape[axis] *= rate
            kernels = ops.reshape(gaps, shape)
            kernels = kernels[:extent] if axis == 0 else kernels[:, :extent]
        return kernels

    def get_config(self):
        config = super().get_config()
        for part in ("initializer", "regularizer", "constraint"):
            config[f"depthwise_{part}"] = config.pop(f"kernel_{part}")
        return config
