import dataclasses

import keras
import numpy as np
import pytest

import sb_keras
from sb_keras.attention import KINDS, POSITIONS, Attention, block_attention, conv_norm
from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D, ShiftBalance, SqueezeExcite


def layers_between(function, channels=8):
    """Names of the layers of x → function(x), in order, without the input."""
    inputs = keras.Input((8, 8, channels))
    return [type(layer).__name__ for layer in keras.Model(inputs, function(inputs)).layers[1:]]


def test_defaults_are_the_papers():
    attention = sb_keras.Attention()
    assert attention.kind == "sb"
    assert attention.positions == ("expand", "depthwise", "project")
    assert (attention.lambda_init, attention.hidden_multiplier, attention.dropout) == (0.1, 1, 0.0)
    assert (attention.experts, attention.temperature) == (4, 30)


@pytest.mark.parametrize(
    ("kind", "gate"),
    [
        ("sb", "tanh"),
        ("se", "sigmoid"),
        ("se-block", "sigmoid"),
        ("dyconv", "softmax"),
        ("condconv", "sigmoid"),
    ],
)
def test_gate_is_the_kinds_own_unless_given(kind, gate):
    assert Attention(kind).effective_gate == gate
    assert Attention(kind, gate="relu").effective_gate == "relu"


def test_of_takes_a_kind_or_an_attention():
    attention = Attention("se", dropout=0.2)
    assert Attention.of(attention) is attention
    assert Attention.of("se") == Attention("se")


def test_is_hashable_and_frozen():
    assert len({Attention("sb"), Attention("sb", positions=list(POSITIONS))}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        Attention("sb").kind = "se"


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


@pytest.mark.parametrize("kind", ["static", "dyconv"])
@pytest.mark.parametrize(("position", "fan_out"), [("expand", 9 * 64), ("depthwise", 9)])
def test_kernels_are_drawn_from_he_normal_of_the_fan_out(kind, position, fan_out):
    """k² · output channels, and k² for a depthwise convolution, whose channels are apart."""
    inputs = keras.Input((8, 8, 64))
    model = keras.Model(inputs, conv_norm(Attention(kind), position, 64, kernel_size=3, name="c")(inputs))
    kernel = model.get_layer("c").kernel.numpy()
    # The fewest values are 576: their deviation has a relative error of 1 / √1152 = 3 %.
    assert kernel.std() == pytest.approx(np.sqrt(2 / fan_out), rel=0.12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cbam"}, r"`kind` must be one of \('static', .*\). Received: kind='cbam'"),
        ({"kind": None}, r"`kind` must be one of .* Received: kind=None"),
        ({"positions": "expand"}, r"`positions` must be a tuple .* Received: positions='expand'"),
        ({"positions": ("expand", "stem")}, r"`positions` must .* Received: positions=\('expand', 'stem'\)"),
        ({"positions": None}, r"`positions` must be a tuple .* Received: positions=None"),
        ({"positions": 3}, r"`positions` must be a tuple .* Received: positions=3"),
        (
            {"positions": (["expand"],)},
            r"`positions` must be a tuple .* Received: positions=\(\['expand'\],\)",
        ),
        (
            {"placement": "after"},
            r"`placement` must be one of \('conv', 'norm'\). Received: placement='after'",
        ),
        ({"gate": "softplus"}, r"`gate` must be one of .* Received: gate='softplus'"),
        ({"lambda_init": float("nan")}, r"`lambda_init` must be a finite number. Received: lambda_init=nan"),
        ({"lambda_init": float("inf")}, r"`lambda_init` must be a finite number. Received: lambda_init=inf"),
        ({"lambda_init": None}, r"`lambda_init` must be a finite number. Received: lambda_init=None"),
        ({"hidden_multiplier": 0}, r"`hidden_multiplier` must be a positive integer. .*=0"),
        ({"hidden_multiplier": 1.5}, r"`hidden_multiplier` must be a positive integer. .*=1.5"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\). Received: dropout=1.0"),
        ({"dropout": "0.2"}, r"`dropout` must be a number in \[0, 1\). Received: dropout='0.2'"),
        ({"experts": 0}, r"`experts` must be a positive integer. Received: experts=0"),
        ({"temperature": 0}, r"`temperature` must be a positive, finite number. Received: temperature=0"),
        ({"temperature": float("nan")}, r"`temperature` must be .* Received: temperature=nan"),
    ],
)
def test_wrong_fields(arguments, message):
    with pytest.raises(ValueError, match=message):
        Attention(**arguments)


@pytest.mark.parametrize("attention", [None, 3, ["sb"], {"kind": "sb"}])
def test_wrong_type_of_attention(attention):
    with pytest.raises(
        ValueError, match=r"`attention` must be an `Attention` or one of .* Received: attention="
    ):
        Attention.of(attention)
