"""Shift-and-Balance attention: y = T(x) + λ · tanh(F(x))."""

import math

import keras

from sb_keras.arguments import check_finite
from sb_keras.layers.affine import call_with, to_numpy
from sb_keras.layers.channelwise import add_channelwise
from sb_keras.layers.excitation import ChannelAttention
from sb_keras.layers.normalized_product import note_product, product_of


@keras.saving.register_keras_serializable(package="sb_keras")
class ShiftBalance(ChannelAttention):
    """Shift-and-Balance attention (paper, equations 6 and 7, figure 1).

    y = T(x) + λ · A(x),  A(x) = tanh(F(x))

    T(x), the trunk, is whatever was computed from x, usually a convolution; F is `Excitation`: global
    average pooling and two fully connected layers. Every channel is shifted by at most its
    learned λ, so that no channel can be switched off and the trunk's gradient passes unhindered
    (equation 8).

    Args:
        hidden_units: Size of F's hidden layer. Defaults to the number of channels of the trunk.
        gate: `"tanh"`, `"sigmoid"`, `"softmax"` (over the channels), `"relu"` or `"linear"` (Table 9).
        lambda_init: Initial value of λ, one weight a channel (Table 8).
        dropout: Rate of the dropout on F's hidden activations (Table 7).
        use_bias: Whether F's fully connected layers have biases; the paper's have none.
        normalize: Whether batch normalization follows F's fully connected layers, as in the paper.
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
        ValueError: If the gate is unknown, λ's initial value is not finite, the inputs are not a
            list of two feature maps, or their number of channels is unknown.

    Example:

    ```python
    x = keras.Input((32, 32, 16))
    trunk = keras.layers.Conv2D(24, 3, padding="same", use_bias=False)(x)
    y = sb_keras.layers.ShiftBalance()([trunk, x])
    ```
    """

    def __init__(
        self,
        hidden_units=None,
        gate="tanh",
        lambda_init=0.1,
        dropout=0.0,
        use_bias=False,
        normalize=True,
        **kwargs,
    ):
        super().__init__(hidden_units, gate, dropout, use_bias, normalize, **kwargs)
        self.lambda_init = check_finite("lambda_init", lambda_init)

    def build(self, input_shape):
        super().build(input_shape)
        self.lambda_ = self.add_weight(
            shape=(input_shape[0][-1],),
            initializer=keras.initializers.Constant(self.lambda_init),
            name="lambda",
        )

    def call(self, inputs, training=None):
        trunk, inputs = inputs
        shift = self.lambda_ * self.attention(inputs, training=training)
        outputs, product = add_channelwise(trunk, shift), product_of(trunk)
        if product is None or product.shift is not None:
            return outputs
        return note_product(outputs, product._replace(shift=shift))

    def cost(self, input_shape):
        """Multiplies, adds and multiply-adds: the branch, λA (equation 14) and the sum (equation 15)."""
        trunk_shape, inputs_shape = input_shape
        multiplies, adds, products = self.excitation.cost(inputs_shape)
        return multiplies + trunk_shape[-1], adds + math.prod(trunk_shape[1:]), products

    def fold(self, inputs, affine=None):
        """The same function in stock layers; `affine`, if given, is already in the trunk.

        λ tanh(z) becomes 2λ σ(2z) − λ, which is the same: in eight bits sigmoids are much faster than
        hyperbolic tangents on phones, and the product and the difference are one 1×1 depthwise convolution.
        """
        trunk, inputs = inputs
        scale = to_numpy(self.lambda_)
        if affine is not None:
            scale = scale * affine.scale
        if self.gate == "tanh":
            attention, scale, bias = self.fold_attention(inputs, "sigmoid", slope=2.0), 2.0 * scale, -scale
        else:
            attention, bias = self.fold_attention(inputs, self.gate), 0.0 * scale
        balance = keras.layers.DepthwiseConv2D(
            1, data_format="channels_last", dtype="float32", name=f"{self.name}_lambda"
        )
        shift = call_with(balance, attention, scale.reshape(1, 1, -1, 1), bias)
        # In this order TFLite's converter leaves the shift as it is; the other way it reshapes it first.
        return keras.layers.Add(dtype="float32", name=self.name)([shift, trunk])

    def get_config(self):
        return {**super().get_config(), "lambda_init": self.lambda_init}
