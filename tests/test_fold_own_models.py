"""Tests of folding what a user's own model has: augmentation, heads, Lambda, LoRA, quantized layers."""

import keras
import numpy as np
import pytest

import sb_keras
from sb_keras.graph import inner_layers

# Sums of some ten products in float32, on numbers up to some ten.
TOLERANCE = 1e-4


def randomize(model, rng):
    for weight in model.weights:
        if "seed" not in weight.path:
            positive = weight.name in ("gamma", "moving_variance")
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(size=weight.shape))


def assert_folds(model, x):
    folded = sb_keras.fold(model)
    np.testing.assert_allclose(folded(x), model(x, training=False), rtol=TOLERANCE, atol=TOLERANCE)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in inner_layers(folded))
    return folded


def test_random_layers_go(rng):
    """As Dropout: at inference they give back what they are given."""
    layers = keras.layers
    random = [
        layers.RandomFlip(),
        layers.RandomRotation(0.2),
        layers.RandomZoom(0.2),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.3),
        layers.RandomBrightness(0.3),
        layers.RandomErasing(),
        layers.RandAugment((0, 255)),
        layers.GaussianDropout(0.3),
        layers.AlphaDropout(0.3),
    ]
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), *random, layers.Conv2D(4, 3), layers.BatchNormalization()]
    )
    randomize(model, rng)
    folded = assert_folds(model, rng.uniform(0, 255, size=(2, 16, 16, 3)).astype("float32"))
    assert [type(layer) for layer in folded.layers] == [layers.InputLayer, layers.Conv2D]


def test_what_is_not_idle_stays(rng):
    """A layer that changes its input at inference, or only some inputs, is none of these."""

    @keras.saving.register_keras_serializable(package="test_fold_own_models")
    class Clip(keras.layers.Layer):
        def call(self, inputs, training=None):
            return inputs if training else keras.ops.clip(inputs, -50, 50)

    model = keras.Sequential([keras.Input((8,)), Clip(), keras.layers.Dense(3)])
    x = np.full((2, 8), 70, "float32")
    folded = assert_folds(model, x)
    assert any(isinstance(layer, Clip) for layer in folded.layers)


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((6, 6, 3), lambda k: [k.GlobalAveragePooling2D(), k.BatchNormalization(), k.Dense(4)]),
        (
            (6, 6, 3),
            lambda k: [k.GlobalAveragePooling2D(), k.BatchNormalization(), k.Dropout(0.5), k.Dense(4)],
        ),
        ((5,), lambda k: [k.Dense(7, "relu"), k.BatchNormalization(), k.Dense(4, use_bias=False)]),
        ((5,), lambda k: [k.Dense(7, "relu"), k.BatchNormalization()]),
        ((5,), lambda k: [k.Dense(7), k.BatchNormalization(), k.ReLU()]),
        ((9, 3), lambda k: [k.Conv1D(4, 3, activation="relu"), k.BatchNormalization()]),
        ((4, 5, 6, 3), lambda k: [k.Conv3D(4, 2, activation="relu"), k.BatchNormalization(), k.ReLU()]),
    ],
)
def test_normalizations_of_every_rank(shape, layers, rng):
    model = keras.Sequential([keras.Input(shape), *layers(keras.layers)])
    randomize(model, rng)
    assert_folds(model, rng.normal(size=(3, *shape)).astype("float32"))


def test_a_lambda_of_a_live_model_is_used_as_it_is(rng):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x / 3), keras.layers.Conv2D(4, 3)]
    )
    assert_folds(model, rng.normal(size=(2, 8, 8, 3)).astype("float32"))


def test_low_rank_parts_are_added(rng):
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, name="a"), keras.layers.BatchNormalization()]
    )
    model.get_layer("a").enable_lora(2)
    randomize(model, rng)
    folded = assert_folds(model, rng.normal(size=(3, 6)).astype("float32"))
    assert [weight.shape for weight in folded.weights] == [(6, 5), (5,)]


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_integers_of_keras_are_refused_by_name(mode):
    inputs = keras.Input((8, 8, 3))
    trunk = keras.layers.Conv2D(16, 1)(inputs)
    model = keras.Model(inputs, sb_keras.layers.ShiftBalance(name="sb")([trunk, inputs]))
    model.quantize(mode)
    with pytest.raises(ValueError, match=rf"Cannot fold layer '\w+': .* quantized by `quantize\('{mode}'\)`"):
        sb_keras.fold(model)
