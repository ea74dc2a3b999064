"""The one factory of convolutions with attention: all that knows what each kind of attention is made of."""

import keras

from sb_keras.layers.batch_norm import BatchNormalization
from sb_keras.layers.context import GlobalContext
from sb_keras.layers.conv import Conv2D
from sb_keras.layers.dynamic_conv2d import DynamicConv2D
from sb_keras.layers.dynamic_depthwise_conv2d import DynamicDepthwiseConv2D
from sb_keras.layers.shift_balance import ShiftBalance
from sb_keras.layers.squeeze_excite import SqueezeExcite


def conv_norm(attention, position, filters, *, kernel_size=1, strides=1, hidden_units=None, name):
    """Makes x → BN(conv(x)), with the attention that `attention` puts at `position`.

    Args:
        attention: An `Attention`.
        position: `"expand"`, `"depthwise"` or `"project"`. A depthwise convolution keeps the channels.
        filters: Number of output channels.
        kernel_size: Size of the square kernel.
        strides: Strides, equal in both directions.
        hidden_units: Hidden units of SB and SE before the multiplier. Defaults to `filters`.
        name: Name of the convolution; the other layers' names begin with it.

    Returns:
        A function from a tensor to a tensor.
    """
    kind = attention.kind if position in attention.positions else "static"
    depthwise = position == "depthwise"
    norm = BatchNormalization(name=f"{name}_bn")

    if kind in _DYNAMIC:
        return lambda x: norm(
            _dynamic_conv(attention, x.shape[-1], filters, kernel_size, strides, depthwise, name)(x)
        )

    conv = static_conv(filters, kernel_size, strides, depthwise=depthwise, name=name)
    if kind not in _ON_CONVOLUTIONS:
        return lambda x: norm(conv(x))

    context = GlobalContext(data_format="channels_last", name=f"{name}_context")
    attend = _ON_CONVOLUTIONS[kind](attention, hidden_units or filters, name=f"{name}_{kind}")

    def conv_attention_norm(x):
        x, average = context(x)
        if attention.placement == "conv":
            return norm(attend([conv(x), average]))
        return attend([norm(conv(x)), average])

    return conv_attention_norm


def block_attention(attention, filters, *, name):
    """Makes x → x with attention on a block's output where `attention` asks for it, else the identity."""
    if attention.kind not in _ON_BLOCKS:
        return lambda x: x
    kind = attention.kind.removesuffix("-block")
    attend = _ON_BLOCKS[attention.kind](attention, filters, name=f"{name}_{kind}")
    return lambda x: attend([x, x])


def static_conv(filters, kernel_size=1, strides=1, *, depthwise=False, name):
    """A convolution without bias."""
    common = {
        "strides": strides,
        "padding": "same",
        "use_bias": False,
        "data_format": "channels_last",
        "name": name,
    }
    if depthwise:
        return keras.layers.DepthwiseConv2D(kernel_size, depthwise_initializer=_he_normal(), **common)
    return Conv2D(filters, kernel_size, kernel_initializer=_he_normal(), **common)


def _he_normal():
    # PyTorch's fan-out of a depthwise convolution is that of all its channels together. Outputs so small
    # would be drowned by a shift of 0.1, and SB would not train; Keras's is that of one channel.
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _shift_balance(attention, hidden_units, name):
    return ShiftBalance(lambda_init=attention.lambda_init, **_branch(attention, hidden_units), name=name)


def _squeeze_excite(attention, hidden_units, name):
    return SqueezeExcite(**_branch(attention, hidden_units), name=name)


def _dynamic_conv(attention, channels, filters, kernel_size, strides, depthwise, name):
    common = {
        "strides": strides,
        "experts": attention.experts,
        "temperature": attention.temperature,
        "use_bias": False,
        "kernel_initializer": _he_normal(),
        "name": name,
        **_branch(attention, max(1, channels // 4)),
    }
    if depthwise:
        return DynamicDepthwiseConv2D(kernel_size, **common)
    return DynamicConv2D(filters, kernel_size, **common)


def _branch(attention, hidden_units):
    """The arguments of every attention branch."""
    return {
        "hidden_units": attention.hidden_multiplier * hidden_units,
        "gate": attention.effective_gate,
        "dropout": attention.dropout,
        "data_format": "channels_last",
    }


# Where each kind is: on a convolution's output, on a block's, in a convolution's place. "static" is nowhere.
_ON_CONVOLUTIONS = {"sb": _shift_balance, "se": _squeeze_excite}
_ON_BLOCKS = {"se-block": _squeeze_excite}
_DYNAMIC = ("dyconv", "condconv")
