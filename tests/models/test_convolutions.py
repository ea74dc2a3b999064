import keras
import numpy as np
import pytest

from sb_keras import Attention
from sb_keras.attention import KINDS, POSITIONS
from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D, ShiftBalance, SqueezeExcite
from sb_keras.models.convolutions import block_attention, conv_norm


def layers_between(function, channels=8):
    """Names of the layers of x → function(x), in order, without the input."""
    inputs = keras.Input((8, 8, channels))
    return [type(layer).__name__ for layer in keras.Model(inputs, function(inputs)).layers[1:]]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(
    ("kind", "placement", "expected"),
    [
        ("static", "conv", ["Conv", "BatchNormalization"]),
        ("se-block", "conv", ["Conv", "BatchNormalization"]),
        ("sb", "conv", ["GlobalContext", "Conv", "ShiftBalance", "BatchNormalization"]),
        ("sb", "norm", ["GlobalContext", "Conv", "BatchNormalization", "ShiftBalance"]),
        ("se", "conv", ["GlobalContext", "Conv", "SqueezeExcite", "BatchNormalization"]),
        ("se", "norm", ["GlobalContext", "Conv", "BatchNormalization", "SqueezeExcite"]),
        ("dyconv", "conv", ["DynamicConv", "BatchNormalization"]),
        ("condconv", "norm", ["DynamicConv", "BatchNormalization"]),
    ],
)
def test_order_of_the_layers(kind, placement, position, expected):
    attention = Attention(kind, placement=placement)
    names = layers_between(conv_norm(attention, position, 8, kernel_size=3, name="c"))
    assert [n.replace("Depthwise", "").replace("2D", "") for n in names] == expected
    assert any("Depthwise" in n for n in names) == (position == "depthwise")


@pytest.mark.parametrize("kind", ["sb", "se", "dyconv", "condconv"])
def test_other_positions_are_static(kind):
    attention = Attention(kind, positions=("expand",))
    assert layers_between(conv_norm(attention, "project", 4, name="c")) == ["Conv2D", "BatchNormalization"]
    assert layers_between(conv_norm(attention, "expand", 4, name="c")) != ["Conv2D", "BatchNormalization"]


@pytest.mark.parametrize("placement", ["conv", "norm"])
def test_the_branch_reads_the_convolutions_input(placement):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(
        inputs, conv_norm(Attention("sb", placement=placement), "project", 4, name="c")(inputs)
    )
    trunk, average = model.get_layer("c_sb").input
    context = model.get_layer("c_context")
    assert context.input is inputs
    assert average is context.output[1]
    assert model.get_layer("c").input is context.output[0]
    assert trunk is model.get_layer("c" if placement == "conv" else "c_bn").output


def test_only_block_wise_se_acts_on_the_block():
    for kind in KINDS:
        expected = ["SqueezeExcite"] if kind == "se-block" else []
        assert layers_between(block_attention(Attention(kind), 8, name="b")) == expected


def test_options_reach_the_layers():
    def layer(attention, position, cls, **arguments):
        inputs = keras.Input((8, 8, 8))
        model = keras.Model(inputs, conv_norm(attention, position, 8, name="c", **arguments)(inputs))
        return next(layer for layer in model.layers if isinstance(layer, cls))

    common = {"gate": "relu", "dropout": 0.2, "hidden_multiplier": 3}
    sb = layer(Attention("sb", lambda_init=0.5, **common), "expand", ShiftBalance, hidden_units=2)
    assert (sb.gate, sb.dropout, sb.hidden_units, sb.lambda_init) == ("relu", 0.2, 6, 0.5)
    se = layer(Attention("se", **common), "expand", SqueezeExcite)
    assert (se.gate, se.dropout, se.hidden_units) == ("relu", 0.2, 24)
    dyconv = Attention("dyconv", experts=3, temperature=10, **common)
    for position, cls in (("project", DynamicConv2D), ("depthwise", DynamicDepthwiseConv2D)):
        dynamic = layer(dyconv, position, cls, kernel_size=3, strides=2)
        assert (dynamic.gate, dynamic.dropout, dynamic.hidden_units, dynamic.experts) == ("relu", 0.2, 6, 3)
        assert (dynamic.initial_temperature, dynamic.kernel_size, dynamic.strides) == (10, (3, 3), (2, 2))
        assert not dynamic.use_bias


@pytest.mark.parametrize(
    ("multiplier", "units"), [(0.01, 1), (0.25, 2), (0.5, 4), (1, 8), (1.5, 12), (4, 32)]
)
def test_hidden_units_may_be_a_fraction_of_the_filters(multiplier, units):
    inputs = keras.Input((8, 8, 16))
    for kind, cls in (("sb", ShiftBalance), ("se", SqueezeExcite)):
        attention = Attention(kind, hidden_multiplier=multiplier)
        model = keras.Model(inputs, conv_norm(attention, "project", 8, name="c")(inputs))
        layer = next(layer for layer in model.layers if isinstance(layer, cls))
        assert layer.excitation.squeeze.kernel.shape == (16, units)
        assert layer.excitation.excite.kernel.shape == (units, 8)


@pytest.mark.parametrize("kind", ["static", "dyconv"])
@pytest.mark.parametrize(("position", "fan_out"), [("expand", 9 * 64), ("depthwise", 9)])
def test_kernels_are_drawn_from_he_normal_of_the_fan_out(kind, position, fan_out):
    """k² · output channels, and k² for a depthwise convolution, whose channels are apart."""
    inputs = keras.Input((8, 8, 64))
    model = keras.Model(inputs, conv_norm(Attention(kind), position, 64, kernel_size=3, name="c")(inputs))
    kernel = model.get_layer("c").kernel.numpy()
    # The fewest values are 576: their deviation has a relative error of 1 / √1152 = 3 %.
    assert kernel.std() == pytest.approx(np.sqrt(2 / fan_out), rel=0.12)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "static"])
def test_every_kind_is_somewhere(kind):
    """On a convolution, on a block or in a convolution's place: one that is forgotten would be static."""

    def unit(kind):
        attention = Attention(kind)
        block = block_attention(attention, 8, name="b")
        return layers_between(lambda x: block(conv_norm(attention, "expand", 8, name="c")(x)))

    assert unit(kind) != unit("static")
