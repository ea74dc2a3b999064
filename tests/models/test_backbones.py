import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from few_blocks import few_blocks

from sb_keras import Attention, CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2
from sb_keras.attention import KINDS
from sb_keras.graph import nodes
from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D, ShiftBalance, SqueezeExcite
from sb_keras.models import MNASNET_TAPS, MOBILENET_V2_TAPS, SHUFFLENET_V2_TAPS

pytestmark = pytest.mark.long

BUILDERS = [MobileNetV2, CifarMobileNetV2, MnasNet, ShuffleNetV2]
TAPS = [(MobileNetV2, MOBILENET_V2_TAPS), (MnasNet, MNASNET_TAPS), (ShuffleNetV2, SHUFFLENET_V2_TAPS)]

every_builder = pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: b.__name__)


def build(builder, attention: str | Attention = "sb", **arguments):
    return builder(
        **{"input_shape": (64, 64, 3), "width_multiplier": 0.1, "classes": 5, **arguments},
        attention=attention,
    )


@functools.cache
def outline(builder, attention: Attention, **arguments):
    """As `build`, for tests that read a network's graph: they share it, and its weights have shapes alone."""
    with keras.StatelessScope(initialize_variables=False):
        model = build(builder, attention, **arguments)
    keras.utils.clear_session()  # the weights never will be drawn, which is most of the time
    return model


def shortened(*args, **kwargs):
    """As `build`, for what every block has or none: with one or two of a kind."""
    with few_blocks():
        return build(*args, **kwargs)


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 64, 64, 3)).astype("float32")


def assert_probabilities(y):
    assert y.shape == (3, 5)
    assert (y >= 0).all()
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-5)  # rounding of the softmax's sum


@pytest.mark.parametrize("kind", KINDS)
@every_builder
def test_gives_probabilities(builder, kind, x):
    model = shortened(builder, kind)
    assert_probabilities(model(x).numpy())
    assert model.name.endswith(kind)
    assert {layer.dtype_policy.name for layer in model.layers if layer.weights} == {"float32"}


@every_builder
def test_unknown_sizes_in_graph_mode_are_the_same_function(builder, x, randomize_moderately):
    known = shortened(builder)
    randomize_moderately(known)
    unknown = shortened(builder, input_shape=(None, None, 3))
    unknown.set_weights(known.get_weights())
    graph = tf.function(lambda x: unknown(x), input_signature=[tf.TensorSpec((None, None, None, 3))])
    # The rounding of some hundred layers; averages are summed in another order where the size is unknown.
    np.testing.assert_allclose(graph(x), known(x), atol=1e-5)
    assert_probabilities(graph(x[:, :37, :48]).numpy())
    assert graph(x[:1]).shape == (1, 5)


@every_builder
def test_without_top(builder):
    model = shortened(builder, "static", include_top=False)
    stride = 8 if builder is CifarMobileNetV2 else 32
    assert model.output_shape[1:3] == (64 // stride, 64 // stride)
    assert model.output is model.get_layer("head_relu").output


@every_builder
def test_options(builder, x):
    model = shortened(
        builder, "static", input_shape=(32, 32, 1), classifier_activation=None, dropout=0.5, name="mine"
    )
    assert model.name == "mine"
    assert model.get_layer("dropout").rate == 0.5
    logits = model(x[:, :32, :32, :1]).numpy()
    assert logits.shape == (3, 5)
    assert np.abs(logits.sum(-1) - 1).min() > 1e-3


@pytest.mark.parametrize(
    ("builder", "width"),
    [
        (MobileNetV2, 0.33),
        (CifarMobileNetV2, 1.4),
        (MnasNet, 0.33),
        (ShuffleNetV2, 0.33),
        (ShuffleNetV2, 1.4),
    ],
)
def test_other_widths(builder, width, x):
    model = shortened(builder, "static", width_multiplier=width, input_shape=(32, 32, 3))
    assert_probabilities(model(x[:, :32, :32]).numpy())


@pytest.mark.parametrize(
    ("build", "builder", "kind"),
    [
        (shortened, MobileNetV2, "sb"),
        (build, CifarMobileNetV2, "se-block"),  # with few blocks its outputs hardly depend on noise
        (shortened, MnasNet, "dyconv"),
        (shortened, ShuffleNetV2, "sb"),
    ],
)
def test_keras_file_round_trip(build, builder, kind, tmp_path, x, randomize):
    model = build(builder, kind)
    randomize(model, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


@every_builder
def test_in_bfloat16(builder, x):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = shortened(builder)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("head_relu").compute_dtype == "bfloat16"
    y = model(x)
    assert y.dtype == "float32"  # the classifier's
    assert_probabilities(y.numpy())


@every_builder
def test_images_are_channels_last_whatever_the_setting(builder, x, randomize):
    model = shortened(builder)
    randomize(model, x)
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        other = shortened(builder)
    finally:
        keras.config.set_image_data_format(before)
    # Nor do names depend on what was built before: weights are found by them.
    assert [w.path for w in other.weights] == [w.path for w in model.weights]
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other(x), model(x))


@pytest.mark.parametrize("kind", ["sb", "dyconv"])
@every_builder
def test_every_trainable_weight_has_a_gradient(builder, kind, x):
    model = shortened(builder, kind)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(tf.math.log(model(x)[:, 1]))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(g is not None and np.isfinite(g).all() for g in gradients)
    # The hidden units of so narrow a network, one to eight, may be dead for all three images.
    assert np.mean([(g.numpy() != 0).any() for g in gradients]) > 0.8


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


# Wrong arguments.

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention": "cbam"}, r"`kind` must be one of .* Received: kind='cbam'"),
        ({"attention": None}, r"`attention` must be an `Attention` or one of .* Received: attention=None"),
        ({"attention": 3}, r"`attention` must be an `Attention` or one of .* Received: attention=3"),
        ({"width_multiplier": 0}, r"`width_multiplier` must be a positive, finite number. .*=0$"),
        ({"width_multiplier": -1.0}, r"`width_multiplier` must be a positive, finite number. .*=-1.0"),
        ({"width_multiplier": NAN}, r"`width_multiplier` must be a positive, finite number. .*=nan"),
        ({"width_multiplier": INFINITY}, r"`width_multiplier` must be a positive, finite number. .*=inf"),
        ({"width_multiplier": "1"}, r"`width_multiplier` must be a positive, finite number. .*='1'"),
        ({"width_multiplier": [1]}, r"`width_multiplier` must be a positive, finite number. .*=\[1\]"),
        ({"input_shape": (16, 32, 3)}, r"`input_shape` must be .* at least 32 pixels.*=\(16, 32, 3\)"),
        ({"input_shape": (32, 32)}, r"`input_shape` must be \(height, width, channels\).*=\(32, 32\)"),
        ({"input_shape": (32, 32, None)}, r"`input_shape` must be .*=\(32, 32, None\)"),
        ({"input_shape": (32, 32, 0)}, r"`input_shape` must be .*=\(32, 32, 0\)"),
        ({"input_shape": (32.5, 32, 3)}, r"`input_shape` must be .*=\(32.5, 32, 3\)"),
        ({"input_shape": ("a", 32, 3)}, r"`input_shape` must be .*=\('a', 32, 3\)"),
        ({"input_shape": 32}, r"`input_shape` must be .*=32"),
        ({"classes": 0}, r"`classes` must be a positive integer. Received: classes=0"),
        ({"classes": 2.5}, r"`classes` must be a positive integer. Received: classes=2.5"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\). Received: dropout=1.0"),
        ({"dropout": NAN}, r"`dropout` must be a number in \[0, 1\). Received: dropout=nan"),
        ({"classifier_activation": "softmin"}, "softmin"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, message):
    for builder in (MobileNetV2, ShuffleNetV2) if "width" in message else (MobileNetV2,):
        with pytest.raises(ValueError, match=message):
            builder(**arguments)
