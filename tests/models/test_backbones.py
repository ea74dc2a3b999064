import keras
import numpy as np
import pytest
import tensorflow as tf
from builders import build, every_builder
from few_blocks import few_blocks

from sb_keras import CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2
from sb_keras.attention import KINDS

pytestmark = pytest.mark.long


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
        with pytest.raises(ValueError, match=message), few_blocks():
            builder(**arguments)
