"""Tests of folding the networks of this package; other layers and models are in test_fold_layers.py."""

import keras
import numpy as np
import pytest
from few_blocks import few_blocks
from folding import (
    KINDS,
    SHALLOW,
    assert_kept_names,
    assert_same_feature_maps,
    assert_same_function,
    assert_stock,
)

from sb_keras import CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2, fold
from sb_keras.graph import inner_layers
from sb_keras.layers import BatchNormalization, ChannelShuffle, DynamicConv2D, DynamicDepthwiseConv2D

pytestmark = pytest.mark.long

SMALL = {"input_shape": (32, 32, 3), "width_multiplier": 0.1, "classes": 5, "classifier_activation": None}
# The bound of whole networks. In fifty layers without training the rounding grows: changing
# the images by one part in a million changes the outputs by up to fifty.
DEEP = 3e-4


@pytest.mark.parametrize("kind", KINDS)
def test_every_attention(two_blocks, kind, randomize, ten_images):
    model = two_blocks(KINDS[kind])
    randomize(model, ten_images)
    folded = fold(model)
    assert_same_function(folded, model, ten_images)
    assert_same_feature_maps(folded, model, ["block2_depthwise_relu"], ten_images, SHALLOW)
    assert_stock(folded, DynamicConv2D, DynamicDepthwiseConv2D)
    assert_kept_names(folded, model)
    assert folded.name == model.name


@pytest.mark.parametrize(
    ("builder", "kind"),
    [(MobileNetV2, "sb"), (CifarMobileNetV2, "sb"), (MnasNet, "se"), (ShuffleNetV2, "sb")],
)
def test_every_backbone(builder, kind, randomize, ten_images):
    """The outputs, and every feature map that a detector could take."""
    with few_blocks():
        model = builder(attention=kind, **SMALL)
    randomize(model, ten_images)
    folded = fold(model)
    maps = [layer.name for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
    assert "head_relu" in maps
    assert_same_feature_maps(folded, model, [*maps, "predictions"], ten_images, DEEP)
    assert_stock(folded, DynamicConv2D, DynamicDepthwiseConv2D)
    assert_kept_names(folded, model)


def test_all_blocks(randomize, ten_images):
    """Once the network as it is used, of 17 blocks: the tests around it have fewer."""
    model = MobileNetV2(attention="sb", **SMALL)
    randomize(model, ten_images)
    folded = fold(model)
    assert_same_feature_maps(folded, model, ["block17_depthwise_relu", "predictions"], ten_images, DEEP)
    assert_stock(folded)
    assert_kept_names(folded, model)


@pytest.mark.parametrize("builder", [MobileNetV2, CifarMobileNetV2, MnasNet, ShuffleNetV2])
def test_every_backbone_to_rounding(builder, randomize_moderately, ten_images):
    with few_blocks():
        model = builder(attention="sb", **SMALL)
    randomize_moderately(model)
    outputs = keras.ops.convert_to_numpy(model(ten_images))
    assert outputs.std(axis=0).mean() > 0.02 * np.abs(outputs).max()
    assert_same_function(fold(model), model, ten_images, SHALLOW)


def test_normalization_goes_into_the_convolutions(two_blocks):
    """... and not into a layer of its own, except where SE multiplies."""

    def depthwise(model):
        return {layer.name for layer in model.layers if type(layer) is keras.layers.DepthwiseConv2D}

    static = depthwise(two_blocks(KINDS["static"]))
    assert depthwise(fold(two_blocks(KINDS["static"]))) == static
    assert {name.removesuffix("_sb_lambda") for name in depthwise(fold(two_blocks(KINDS["sb tanh"])))} == {
        *(f"block{b}_{position}" for b in (1, 2) for position in ("expand", "depthwise", "project"))
    }
    assert depthwise(fold(two_blocks(KINDS["se after norm"]))) == static
    assert {name for name in depthwise(fold(two_blocks(KINDS["se"]))) if name.endswith("_bn")}


def test_the_model_is_left_as_it_was(two_blocks, randomize, ten_images):
    model = two_blocks(KINDS["sb tanh"])
    randomize(model, ten_images)
    config, weights, outputs = model.get_config(), model.get_weights(), model(ten_images)
    folded = fold(model)
    for weight in folded.weights:
        weight.assign(keras.ops.zeros_like(weight))
    np.testing.assert_array_equal(model(ten_images), outputs)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert model.get_config() == config
    assert not set(inner_layers(model)) & set(inner_layers(folded))
    assert not {id(w) for w in model.weights} & {id(w) for w in folded.weights}


@pytest.mark.parametrize("kind", ["sb tanh", "se", "dyconv"])
def test_keras_file_round_trip(two_blocks, kind, randomize, ten_images, tmp_path):
    model = two_blocks(KINDS[kind])
    randomize(model, ten_images)
    folded = fold(model)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(ten_images), folded(ten_images))


def test_folding_again_changes_nothing(two_blocks, randomize, ten_images):
    model = two_blocks(KINDS["sb tanh"])
    randomize(model, ten_images)
    folded = fold(model)
    again = fold(folded)
    np.testing.assert_array_equal(again(ten_images), folded(ten_images))
    assert [layer.name for layer in again.layers] == [layer.name for layer in folded.layers]


def test_compiled_model_and_its_custom_loss(two_blocks, ten_images):
    model = two_blocks(KINDS["static"])
    model.compile("adam", loss=lambda y, p: keras.ops.mean(p))
    folded = fold(model)
    assert not folded.compiled
    assert_same_function(folded, model, ten_images)


@pytest.mark.parametrize("kind", ["sb tanh", "se", "dyconv"])
def test_unknown_image_size(two_blocks, kind, randomize, ten_images):
    inputs = keras.Input((None, None, 3))
    x = two_blocks(KINDS[kind], (None, None, 3))(inputs)
    x = ChannelShuffle()(keras.layers.Conv2D(6, 1)(keras.layers.Reshape((1, 1, 5))(x)))
    model = keras.Model(inputs, [x, ChannelShuffle(3)(inputs)])
    randomize(model, ten_images)
    folded = fold(model)
    assert_same_function(folded, model, ten_images)
    assert_same_function(folded, model, ten_images[:, :20].repeat(2, axis=2))
    assert_stock(folded, ChannelShuffle, DynamicConv2D, DynamicDepthwiseConv2D)


@pytest.mark.parametrize("kind", ["sb tanh", "se", "dyconv"])
def test_mixed_precision_becomes_single(two_blocks, kind, randomize, ten_images):
    """The folded network has the full precision of the weights, also while the policy is still set."""

    def make():
        inputs = keras.Input((None, None, 3))
        norm = BatchNormalization()(ChannelShuffle(3)(inputs))
        x = two_blocks(KINDS[kind], (None, None, 3))(norm)
        return keras.Model(inputs, x)

    single = make()
    randomize(single, ten_images)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = make()
        mixed.set_weights(single.get_weights())
        folded = fold(mixed)
    finally:
        keras.config.set_dtype_policy(before)
    assert_same_function(folded, single, ten_images)
