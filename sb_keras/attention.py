"""Which attention a network has and where: the dataclass, and the one factory that builds it."""

import dataclasses

import keras

from sb_keras.arguments import (
    check_choice,
    check_finite,
    check_positive,
    check_positive_integer,
    check_rate,
)
from sb_keras.layers.batch_norm import BatchNormalization
from sb_keras.layers.context import GlobalContext
from sb_keras.layers.conv import Conv2D
from sb_keras.layers.dynamic_conv import DynamicConv2D, DynamicDepthwiseConv2D
from sb_keras.layers.excitation import GATES
from sb_keras.layers.shift_balance import ShiftBalance
from sb_keras.layers.squeeze_excite import SqueezeExcite

KINDS = ("static", "se-block", "se", "sb", "dyconv", "condconv")
POSITIONS = ("expand", "depthwise", "project")
PLACEMENTS = ("conv", "norm")
_OWN_GATE = {
    "static": "linear",
    "se-block": "sigmoid",
    "se": "sigmoid",
    "sb": "tanh",
    "dyconv": "softmax",
    "condconv": "sigmoid",
}


@dataclasses.dataclass(frozen=True)
class Attention:
    """The attention of a network: what a builder's `attention` argument takes.

    Args:
        kind: `"static"` (none), `"se-block"` (SE on each block's output), `"se"`, `"sb"`, `"dyconv"` or
            `"condconv"` (on convolutions).
        positions: The convolutions of each block that have it: `"expand"`, `"depthwise"`, `"project"`
            (C1, C2 and C3 of the paper's Table 5). Of no effect for `"static"` and `"se-block"`.
        placement: `"conv"` puts SB and SE between a convolution and its batch normalization, so that the
            pair replaces the convolution; `"norm"` puts them after the normalization. The paper does not
            say which.
        gate: `"tanh"`, `"sigmoid"`, `"softmax"`, `"relu"`, `"linear"`, or None for the kind's own: tanh
            for SB, sigmoid for SE and CondConv, softmax for DyConv.
        lambda_init: SB's initial λ (Table 8).
        hidden_multiplier: Multiplies the hidden units of the attention branch (Table 10).
        dropout: Dropout rate on the hidden activations of the attention branch (Table 7).
        experts: Number of kernels of a dynamic convolution.
        temperature: Softmax temperature of DyConv.

    Raises:
        ValueError: If a field is unknown or out of range.

    Example:

    ```python
    pointwise = sb_keras.Attention("sb", positions=("expand", "project"), lambda_init=0.05)
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention=pointwise)
    ```
    """

    kind: str = "sb"
    positions: tuple[str, ...] = POSITIONS
    placement: str = "conv"
    gate: str | None = None
    lambda_init: float = 0.1
    hidden_multiplier: int = 1
    dropout: float = 0.0
    experts: int = 4
    temperature: float = 30.0

    def __post_init__(self):
        check_choice("kind", self.kind, KINDS)
        positions = self.positions
        if not (isinstance(positions, (list, tuple)) and all(p in POSITIONS for p in positions)):
            raise ValueError(
                f"`positions` must be a tuple of names out of {POSITIONS}. Received: positions={positions!r}"
            )
        object.__setattr__(self, "positions", tuple(positions))
        check_choice("placement", self.placement, PLACEMENTS)
        if self.gate is not None:
            check_choice("gate", self.gate, GATES)
        check_finite("lambda_init", self.lambda_init)
        check_positive_integer("hidden_multiplier", self.hidden_multiplier)
        check_rate("dropout", self.dropout)
        check_positive_integer("experts", self.experts)
        check_positive("temperature", self.temperature)

    @property
    def effective_gate(self):
        """The gate that is built: `gate`, or the kind's own."""
        return self.gate or _OWN_GATE[self.kind]

    @classmethod
    def of(cls, attention):
        """Turns what a builder's `attention` argument takes, a kind or an `Attention`, into the latter."""
        if isinstance(attention, cls):
            return attention
        if isinstance(attention, str):
            return cls(attention)
        raise ValueError(
            f"`attention` must be an `Attention` or one of {KINDS}. Received: attention={attention!r}"
        )


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
    depthwise = position == "depthwise"
    kind = attention.kind if position in attention.positions else "static"
    norm = BatchNormalization(name=f"{name}_bn")

    if kind in ("dyconv", "condconv"):
        return lambda x: norm(
            _dynamic_conv(attention, x.shape[-1], filters, kernel_size, strides, depthwise, name)(x)
        )

    conv = static_conv(filters, kernel_size, strides, depthwise=depthwise, name=name)
    if kind in ("static", "se-block"):
        return lambda x: norm(conv(x))

    context = GlobalContext(name=f"{name}_context")
    excite = _excite(attention, kind, hidden_units or filters, name=f"{name}_{kind}")

    def attend(x):
        x, average = context(x)
        if attention.placement == "conv":
            return norm(excite([conv(x), average]))
        return excite([norm(conv(x)), average])

    return attend


def block_attention(attention, filters, *, name):
    """Makes x → x with block-wise SE where `attention` asks for it, else the identity."""
    if attention.kind != "se-block":
        return lambda x: x
    excite = _excite(attention, "se", filters, name=f"{name}_se")
    return lambda x: excite([x, x])


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


def _excite(attention, kind, hidden_units, name):
    common = {
        "hidden_units": attention.hidden_multiplier * hidden_units,
        "gate": attention.effective_gate,
        "dropout": attention.dropout,
        "name": name,
    }
    if kind == "sb":
        return ShiftBalance(lambda_init=attention.lambda_init, **common)
    return SqueezeExcite(**common)


def _dynamic_conv(attention, channels, filters, kernel_size, strides, depthwise, name):
    common = {
        "strides": strides,
        "experts": attention.experts,
        "gate": attention.effective_gate,
        "temperature": attention.temperature,
        "hidden_units": attention.hidden_multiplier * max(1, channels // 4),
        "dropout": attention.dropout,
        "use_bias": False,
        "kernel_initializer": _he_normal(),
        "name": name,
    }
    if depthwise:
        return DynamicDepthwiseConv2D(kernel_size, **common)
    return DynamicConv2D(filters, kernel_size, **common)
