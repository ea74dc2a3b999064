"""Tests of attaching attention to what users' own networks have: shared encoders, LoRA, regularizers."""

import keras
import numpy as np
import pytest

import sb_keras
from sb_keras.graph import inner_layers
from sb_keras.layers import DynamicConv, ShiftBalance

# Kernels mixed of four equal ones, through two layers.
ROUNDING = 1e-5


def attended(model):
    return {
        layer.name.removesuffix("_sb") for layer in inner_layers(model) if isinstance(layer, ShiftBalance)
    }


def network(*layers, shape=(16, 16, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


def conv(filters, name, **kwargs):
    return keras.layers.Conv2D(filters, 3, name=name, **kwargs)


def test_low_rank_parts_are_in_the_dynamic_kernels(rng):
    model = network(conv(8, "stem"), conv(8, "c"))
    model.get_layer("c").enable_lora(2)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(2, 16, 16, 3)).astype("float32")
    expected = np.asarray(model(x))
    for kind in ("sb", "dyconv"):
        actual = sb_keras.attach(model, kind)(x)
        np.testing.assert_allclose(actual, expected, atol=ROUNDING * np.abs(expected).max())


def test_regularizers_and_constraints(rng):
    options = {"kernel_regularizer": "l2", "bias_regularizer": "l1", "bias_constraint": "non_neg"}
    depthwise = keras.layers.DepthwiseConv2D(3, depthwise_regularizer="l2", name="d")
    model = network(conv(8, "stem"), conv(8, "c", **options), depthwise)
    dynamic = sb_keras.attach(model, "dyconv")
    for name in ("c", "d"):
        layer, trained = dynamic.get_layer(name), model.get_layer(name)
        assert isinstance(layer, DynamicConv)
        kernel = "depthwise" if name == "d" else "kernel"
        assert layer.kernel_regularizer is getattr(trained, f"{kernel}_regularizer")
        assert layer.bias_regularizer is trained.bias_regularizer
        assert layer.bias_constraint is trained.bias_constraint
    assert len(dynamic.losses) == len(model.losses) == 3
    # Each kernel is constrained alone; of a depthwise one the axes are others.
    constrained = network(conv(8, "stem"), conv(8, "c", kernel_constraint="max_norm"))
    layer = sb_keras.attach(constrained, "dyconv").get_layer("c")
    assert layer.kernel_constraint is constrained.get_layer("c").kernel_constraint
    constrained = network(conv(8, "stem"), keras.layers.DepthwiseConv2D(3, depthwise_constraint="max_norm"))
    with pytest.raises(ValueError, match="': the kernels of a dynamic depthwise convolution have other axes"):
        sb_keras.attach(constrained, "dyconv")
    assert len(attended(sb_keras.attach(constrained))) == 1


def test_a_regularizer_of_activity_is_behind_the_activation(rng):
    regularized = {"activity_regularizer": keras.regularizers.L2(0.1)}
    model = network(
        conv(8, "stem"), conv(8, "c", activation="relu", **regularized), conv(8, "l", **regularized)
    )
    ours, x = sb_keras.attach(model), rng.normal(size=(2, 16, 16, 3)).astype("float32")
    for each in (model, ours):
        each(x)
    np.testing.assert_allclose(sum(ours.losses), sum(model.losses), rtol=1e-6)


@pytest.mark.parametrize("activation", [keras.layers.LeakyReLU(0.1), keras.layers.PReLU()])
@pytest.mark.parametrize("kind", ["sb", "dyconv"])
def test_activations_that_are_layers(activation, kind, rng):
    """PReLU has weights, which the copy has of its own."""
    activation = type(activation).from_config(activation.get_config())
    model = network(conv(8, "stem"), conv(8, "c", activation=activation))
    sb_keras.attach(model, kind)  # before the first call PReLU has no weights
    x = rng.normal(size=(2, 16, 16, 3)).astype("float32")
    model(x)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    expected, ours = np.asarray(model(x)), sb_keras.attach(model, kind)
    np.testing.assert_allclose(ours(x), expected, atol=ROUNDING * np.abs(expected).max())
    behind = ours.get_layer("c_activation")
    assert type(behind) is type(activation)
    for weight in behind.weights:
        weight.assign(weight + 1)
    np.testing.assert_array_equal(model(x), expected)


def test_what_two_models_share_stays_shared(rng):
    """A pair of networks on one encoder, which learns from both."""
    encoder = network(conv(8, "stem"), conv(8, "c"))
    inputs = keras.Input((16, 16, 3))
    first, second = (
        keras.Model(inputs, keras.layers.Conv2D(4, 1, name=name)(encoder(inputs)), name=f"{name}_model")
        for name in ("first", "second")
    )
    model = keras.Model(inputs, [first(inputs), second(inputs)])
    ours = sb_keras.attach(model, layers=["c"])
    names = [layer.name for layer in inner_layers(ours)]
    assert names.count("c") == names.count("c_sb") == 1
    assert sb_keras.profile(model).total.parameters == sb_keras.profile(first).total.parameters + 8 * 4 + 4
    x = rng.normal(size=(2, 16, 16, 3)).astype("float32")
    for actual, expected in zip(ours(x), model(x), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_convolution_that_two_models_normalize_is_refused():
    """Each would have attention behind a normalization of its own."""
    shared, inputs = conv(8, "c"), keras.Input((16, 16, 3))
    maps = conv(8, "stem")(inputs)
    first, second = (normalized(shared, maps.shape[1:], name) for name in ("first", "second"))
    model = keras.Model(inputs, [first(maps), second(maps)])
    with pytest.raises(ValueError, match="behind the normalization of 'c', which is shared"):
        sb_keras.attach(model, sb_keras.Attention("sb", placement="norm"))
    assert attended(sb_keras.attach(model)) == {"c"}


def normalized(layer, shape, name):
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.BatchNormalization()(layer(inputs)), name=name)


def test_attention_behind_the_normalization_is_there_already():
    attention = sb_keras.Attention("sb", placement="norm")
    network = sb_keras.CifarMobileNetV2(width_multiplier=0.1, attention=attention)
    new = attended(sb_keras.attach(network)) - attended(network)
    assert {name.partition("_")[2] for name in new} == {"", "shortcut"}  # the head and shortcuts had none
    with pytest.raises(ValueError, match="'block2_expand': it has attention already"):
        sb_keras.attach(network, layers=["block2_expand"])
    # Squeeze-and-Excite of blocks is behind the last convolution, and is not the convolution's.
    ours = sb_keras.attach(sb_keras.CifarMobileNetV2(width_multiplier=0.1, attention="se-block"))
    assert {"block2_expand", "block2_project"} <= attended(ours)


class Standardized(keras.layers.Conv2D):
    """A convolution of a user's class."""


def augmented(inputs):
    steps = [keras.layers.RandomFlip(), keras.layers.Rescaling(1 / 255)]
    return keras.Sequential(steps, name="augmentation")(inputs)


@pytest.mark.parametrize(
    "stem",
    [
        lambda x: conv(8, "stem")(augmented(x)),
        lambda x: conv(8, "stem")(keras.layers.Normalization(mean=[1, 2, 3], variance=[1, 1, 1])(x)),
        lambda x: conv(8, "stem")(keras.layers.BatchNormalization()(x)),
        lambda x: Standardized(8, 3, name="stem")(x),
        lambda x: keras.layers.SpectralNormalization(conv(8, "stem"))(x),
        lambda x: keras.Sequential([conv(8, "stem"), keras.layers.ReLU()])(x),
    ],
)
def test_the_stem_is_found(stem):
    inputs = keras.Input((32, 32, 3))
    x = conv(8, "third")(conv(8, "second")(stem(inputs)))
    assert attended(sb_keras.attach(keras.Model(inputs, x))) == {"second", "third"}
