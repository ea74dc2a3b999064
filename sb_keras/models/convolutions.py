"""The one factory of convolutions with attention: all that knows what each kind of attention is made of."""

import keras

from sb_keras.layers.batch_norm import BatchNormalization
from sb_keras.layers.context import GlobalContext
from sb_keras.layers.conv import Conv2D
from sb_keras.layers.dynamic_conv2d import DynamicConv2D
from sb_keras.layers.dynamic_depthwise_conv2d import DynamicDepthwiseConv2D
from sb_keras.layers.shift_balance import ShiftBalance
from sb_keras.layers.squeeze_excite import SqueezeExcite


def conv_norm(
    attention, position, filters, *, kernel_size=1, strides=1, hidden_units=None, name, padding="same"
):
    """Makes x → BN(conv(x)), with the attention that `attention` puts at `position`.

    Args:
        attention: An `Attention`.
        position: `"expand"`, `"depthwise"` or `"project"`. A depthwise convolution keeps the channels.
        filters: Number of output channels.
        kernel_size: Size of the square kernel.
        strides: Strides, equal in both directions.
        hidden_units: Hidden units of SB and SE before the multiplier. Defaults to `filters`.
        name: Name of the convolution; the other layers' names begin with it.
        padding: `"same"`, or `"torch"` for as many zeros on every side.

    Returns:
        A function from a tensor to a tensor.

    Raises:
        ValueError: If a dynamic convolution is to be padded as PyTorch does, around the stride.
    """
    kind = attention.kind if position in attention.positions else "static"
    depthwise = position == "depthwise"
    norm = BatchNormalization(name=f"{name}_bn")

    if kind in _DYNAMIC:
        if padding == "torch" and strides > 1:
            raise ValueError(f'padding="torch" is not for {kind}, whose convolutions pad as "same" does')
        dynamic_filters = None if depthwise else filters
        common = {"strides": strides, "use_bias": False, "kernel_initializer": _he_normal(), "name": name}
        return lambda x: norm(dynamic_conv(attention, x.shape[-1], dynamic_filters, kernel_size, **common)(x))

    conv = static_conv(filters, kernel_size, strides, depthwise=depthwise, name=name, padding=padding)
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


def static_conv(filters, kernel_size=1, strides=1, *, depthwise=False, name, padding="same"):
    """A convolution without bias, as a function from a tensor to a tensor."""
    common = {
        "strides": strides,
        "use_bias": False,
        "data_format": "channels_last",
        "name": name,
    }

    def convolution(x):
        how, x = padded(x, kernel_size, strides, padding, name)
        if depthwise:
            layer = keras.layers.DepthwiseConv2D(
                kernel_size, padding=how, depthwise_initializer=_he_normal(), **common
            )
        else:
            layer = Conv2D(filters, kernel_size, padding=how, kernel_initializer=_he_normal(), **common)
        return layer(x)

    return convolution


def padded(x, kernel_size, strides, padding, name):
    """What a layer's argument `padding` is to be, and its input, which is padded already for `"torch"`.

    Without strides the two ways are the same.
    """
    if padding == "same" or strides == 1:
        return "same", x
    return "valid", keras.layers.ZeroPadding2D(
        kernel_size // 2, data_format="channels_last", name=f"{name}_pad"
    )(x)


def _he_normal():
    # PyTorch's fan-out of a depthwise convolution is that of all its channels together. Outputs so small
    # would be drowned by a shift of 0.1, and SB would not train; Keras's is that of one channel.
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def shift_balance(attention, hidden_units, **kwargs):
    """The Shift-and-Balance layer of an `Attention`; `kwargs` are those of a layer."""
    return ShiftBalance(lambda_init=attention.lambda_init, **_branch(attention, hidden_units), **kwargs)


def _squeeze_excite(attention, hidden_units, **kwargs):
    return SqueezeExcite(**_branch(attention, hidden_units), **kwargs)


def dynamic_conv(attention, channels, filters, kernel_size, **kwargs):
    """The dynamic convolution of an `Attention`, a depthwise one where `filters` is None."""
    kwargs |= {
        "experts": attention.experts,
        "temperature": attention.temperature,
        **_branch(attention, max(1, channels // 4)),
    }
    if filters is None:
        return DynamicDepthwiseConv2D(kernel_size, **kwargs)
    return DynamicConv2D(filters, kernel_size, **kwargs)


def _branch(attention, hidden_units):
    """The arguments of every attention branch."""
    return {
        "hidden_units": max(1, round(attention.hidden_multiplier * hidden_units)),
        "gate": attention.effective_gate,
        "dropout": attention.dropout,
        "data_format": "channels_last",
    }


# Where each kind is: on a convolution's output, on a block's, in a convolution's place. "static" is nowhere.
_ON_CONVOLUTIONS = {"sb": shift_balance, "se": _squeeze_excite}
_ON_BLOCKS = {"se-block": _squeeze_excite}
_DYNAMIC = ("dyconv", "condconv")
