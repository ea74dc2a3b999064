"""Squeeze-and-Excite attention: y = sigmoid(F(x)) · T(x)."""

import math

import keras

from sb_keras.layers.channelwise import multiply_channelwise
from sb_keras.layers.excitation import ChannelAttention


@keras.saving.register_keras_serializable(package="sb_keras")
class SqueezeExcite(ChannelAttention):
    """Squeeze-and-Excite attention (paper, equations 1 and 2; Hu et al., 2018).

    y = A(x) · T(x),  A(x) = sigmoid(F(x))

    The original, block-wise form is `SqueezeExcite()([x, x])`, where T(x) = x.

    Args:
        hidden_units: Size of F's hidden layer. Defaults to the number of channels of the trunk.
        gate: `"sigmoid"`, `"tanh"`, `"softmax"` (over the channels), `"relu"` or `"linear"`. The paper
            found that only the sigmoid trains when SE is in every layer (section 5.4).
        dropout: Rate of the dropout on F's hidden activations (Table 7).
        use_bias: Whether F's fully connected layers have biases; the paper's have none.
        normalize: Whether batch normalization follows F's fully connected layers, as in the paper. The
            usual squeeze-and-excite has `use_bias=True, normalize=False`.
        **kwargs: As `keras.layers.Layer`, and `data_format`: `"channels_last"`, or None for Keras's setting,
            which must be that.

    Call arguments:
        inputs: A list `[trunk, inputs]`: T(x) of shape `(batch, height, width, filters)` and x of
            shape `(batch, any height, any width, channels)`, or its average (batch, channels), which
            `GlobalContext` has.
        training: Whether batch normalization and dropout are in training mode.

    Returns:
        A tensor of the trunk's shape.

    Raises:
        ValueError: If the gate is unknown, the inputs are not a list of two feature maps, or
            their number of channels is unknown.

    Example:

    ```python
    x = keras.Input((32, 32, 16))
    trunk = keras.layers.Conv2D(24, 3, padding="same", use_bias=False)(x)
    y = sb_keras.layers.SqueezeExcite()([trunk, x])
    ```
    """

    def call(self, inputs, training=None):
        trunk, inputs = inputs
        return multiply_channelwise(trunk, self.attention(inputs, training=training))

    def cost(self, input_shape):
        """Multiplies, adds and multiply-adds: the branch and the product."""
        trunk_shape, inputs_shape = input_shape
        multiplies, adds, products = self.excitation.cost(inputs_shape)
        return multiplies + math.prod(trunk_shape[1:]), adds, products

    def fold(self, inputs, affine=None):
        """The same function in stock layers."""
        trunk, inputs = inputs
        multiply = keras.layers.Multiply(dtype="float32", name=self.name)
        return multiply([trunk, self.fold_attention(inputs, self.gate)])
