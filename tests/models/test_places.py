"""Tests of where attention is in the networks' graphs, and of where detectors look."""

import functools

import keras
import pytest
from builders import build, every_builder

from sb_keras import Attention, CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2
from sb_keras.attention import KINDS
from sb_keras.graph import nodes
from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D, ShiftBalance, SqueezeExcite
from sb_keras.layers.excitation import ChannelAttention
from sb_keras.models import MNASNET_TAPS, MOBILENET_V2_TAPS, SHUFFLENET_V2_TAPS

pytestmark = pytest.mark.long

TAPS = [(MobileNetV2, MOBILENET_V2_TAPS), (MnasNet, MNASNET_TAPS), (ShuffleNetV2, SHUFFLENET_V2_TAPS)]


@functools.cache
def outline(builder, attention: Attention, **arguments):
    """As `build`, for tests that read a network's graph: they share it, and its weights have shapes alone."""
    with keras.StatelessScope(initialize_variables=False):
        model = build(builder, attention, **arguments)
    keras.utils.clear_session()  # the weights never will be drawn, which is most of the time
    return model


# Attention: where it is.


@pytest.mark.parametrize("builder", [MobileNetV2, CifarMobileNetV2, MnasNet], ids=lambda b: b.__name__)
@pytest.mark.parametrize("placement", ["conv", "norm"])
def test_placement_in_a_block(builder, placement):
    model = outline(builder, Attention("sb", placement=placement))
    for conv in ("expand", "depthwise", "project"):
        name = f"block3_{conv}"
        trunk, average = model.get_layer(f"{name}_sb").input
        context = model.get_layer(f"{name}_context")
        assert average is context.output[1]
        assert model.get_layer(name).input is context.output[0]
        assert trunk is model.get_layer(name if placement == "conv" else f"{name}_bn").output


@every_builder
def test_positions(builder):
    model = outline(builder, Attention("sb", positions=("expand", "project")))
    names = [layer.name for layer in model.layers if isinstance(layer, ShiftBalance)]
    assert {name.split("_")[-2] for name in names} == {"expand", "project"}


@pytest.mark.parametrize(
    ("builder", "kind", "blocks", "expected"),
    [
        (MobileNetV2, "sb", (17, 1), "1_depthwise 1_project 17_expand 17_depthwise 17_project"),
        (CifarMobileNetV2, "se", (2,), "2_expand 2_depthwise 2_project"),
        (MnasNet, "sb", (2,), "2_expand 2_depthwise 2_project"),
        (ShuffleNetV2, "sb", (6,), "stage3_unit2_expand stage3_unit2_depthwise stage3_unit2_project"),
        (MobileNetV2, "se-block", (1, 16), "1 16"),
    ],
)
def test_blocks(builder, kind, blocks, expected):
    model = outline(builder, Attention(kind, blocks=blocks))
    names = [layer.name.rpartition("_")[0] for layer in model.layers if isinstance(layer, ChannelAttention)]
    assert [name.removeprefix("block") for name in names] == expected.split()


@pytest.mark.parametrize(
    ("builder", "first", "last"),
    [(MobileNetV2, 1, 17), (CifarMobileNetV2, 1, 17), (MnasNet, 2, 17), (ShuffleNetV2, 1, 16)],
    ids=lambda b: getattr(b, "__name__", None),
)
def test_blocks_that_are_not_there(builder, first, last):
    for number in {first - 1, last + 1} - {0}:
        with pytest.raises(ValueError, match=rf"from {first} to {last}, .*: blocks=\({number},\)"):
            outline(builder, Attention("sb", blocks=(number,)))
        outline(builder, Attention("static", blocks=(number,)))  # of no effect


def test_attention_nowhere():
    """MobileNetV2's first block has no expand convolution."""
    with pytest.raises(ValueError, match=r"that the blocks \(1,\) have. Received: positions=\('expand',\)"):
        outline(MobileNetV2, Attention("sb", positions=("expand",), blocks=(1,)))
    model = outline(MobileNetV2, Attention("se-block", positions=("expand",), blocks=(1,)))
    assert [layer.name for layer in model.layers if isinstance(layer, ChannelAttention)] == ["block1_se"]


@pytest.mark.parametrize(
    ("builder", "blocks", "convs"),
    [
        (MobileNetV2, 17, 3 * 17 - 1),  # the first block has no expand convolution
        (CifarMobileNetV2, 17, 3 * 17),
        (MnasNet, 16, 3 * 16),
        (ShuffleNetV2, 16, 3 * 16 + 2 * 3),  # with the shortcuts of the three strided units
    ],
    ids=lambda b: getattr(b, "__name__", None),
)
def test_number_of_attention_layers(builder, blocks, convs):
    def count(kind, *classes):
        model = outline(builder, Attention(kind))
        return sum(isinstance(layer, classes) for layer in model.layers)

    assert count("sb", ShiftBalance) == convs
    assert count("se", SqueezeExcite) == convs
    assert count("se-block", SqueezeExcite) == blocks
    assert count("dyconv", DynamicConv2D, DynamicDepthwiseConv2D) == convs
    assert count("static", ShiftBalance, SqueezeExcite, DynamicConv2D, DynamicDepthwiseConv2D) == 0


@pytest.mark.parametrize("builder", [MobileNetV2, CifarMobileNetV2, MnasNet], ids=lambda b: b.__name__)
def test_block_wise_se_is_between_the_last_norm_and_the_sum(builder):
    model = outline(builder, Attention("se-block"))
    residual = 0
    for layer in model.layers:
        if isinstance(layer, SqueezeExcite):
            block = layer.name.removesuffix("_se")
            projected = model.get_layer(f"{block}_project_bn").output
            assert layer.input[0] is projected
            assert layer.input[1] is projected
            sums = [other for other in model.layers if other.name == f"{block}_add"]
            assert all(add.input[0] is layer.output for add in sums)
            residual += len(sums)
    assert residual > 5


def test_cifar_shortcuts():
    """Where a block keeps the resolution and changes the channels: a convolution without attention."""
    model = outline(CifarMobileNetV2, Attention("static"), width_multiplier=1.0)
    shortcuts = [layer.name for layer in model.layers if layer.name.endswith("_shortcut")]
    assert shortcuts == ["block2_shortcut", "block11_shortcut", "block17_shortcut"]


# Taps: where detectors look.


def on_every_path(model):
    """Names of the layers through which every path from the input to the output leads, in order."""
    graph = nodes(model)
    into = {id(model.input): 1}  # the number of paths from the input to a tensor
    for node in graph:
        for tensor in node.outputs:
            into.setdefault(id(tensor), sum(into[id(source)] for source in node.input_tensors))
    out_of = dict.fromkeys(into, 0) | {id(model.output): 1}  # and from it to the output
    for node in reversed(graph):
        for source in node.input_tensors:
            out_of[id(source)] += sum(out_of[id(tensor)] for tensor in node.outputs)
    paths = into[id(model.output)]
    return [n.operation.name for n in graph if into[id(n.outputs[0])] * out_of[id(n.outputs[0])] == paths]


@pytest.mark.parametrize(
    "attention",
    [*map(Attention, KINDS), Attention("sb", placement="norm")],
    ids=lambda a: f"{a.kind}-{a.placement}",
)
@pytest.mark.parametrize(("builder", "taps"), TAPS, ids=[b.__name__ for b, _ in TAPS])
def test_taps(builder, taps, attention):
    """A tap is the last feature map of its resolution that everything behind it is computed from."""
    model = outline(builder, attention)
    last = {}
    for name in on_every_path(model):
        shape = model.get_layer(name).output.shape
        if len(shape) == 4:
            last[64 // shape[1]] = name
    del last[1]  # the image
    assert last == taps
