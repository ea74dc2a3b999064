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


@pytest.mark.parametrize("name", ["Resizing", "CenterCrop"])
def test_layers_that_give_back_one_size_stay_where_the_size_is_unknown(name, rng):
    """On a picture of 32×32 they change nothing: what the CIFAR networks take."""
    layer = getattr(keras.layers, name)(32, 32)
    pooled = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((None, None, 3)), layer, *pooled])
    folded = assert_folds(model, rng.normal(size=(2, 50, 70, 3)).astype("float32"))
    assert name in [type(each).__name__ for each in folded.layers]


def test_random_layers_of_mixed_precision_go(rng):
    layers = keras.layers
    common = {"dtype": "mixed_bfloat16"}
    network = [
        layers.Conv2D(4, 3, **common),
        layers.Dropout(0.5, **common),
        layers.BatchNormalization(**common),
    ]
    model = keras.Sequential([keras.Input((8, 8, 3)), *network])
    assert [type(each) for each in sb_keras.fold(model).layers] == [layers.InputLayer, layers.Conv2D]


def test_calls_by_keyword_and_masks(rng):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(inputs=inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(inputs=x))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inputs=x))
    randomize(model, rng)
    assert_folds(model, rng.normal(size=(2, 8, 8, 3)).astype("float32"))
    words = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(9, 4, mask_zero=True)(words)
    model = keras.Model(words, keras.layers.BatchNormalization()(x))
    randomize(model, rng)
    with pytest.warns(UserWarning, match="will therefore destroy the mask"):  # Keras's, of the convolution
        assert_folds(model, rng.integers(0, 9, size=(2, 5)))


def test_a_class_with_a_call_of_its_own_is_refused():
    """Its graph does not say what it computes."""

    class Doubled(keras.Model):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training=training)

    inputs = keras.Input((8, 8, 3))
    model = Doubled(inputs, keras.layers.Conv2D(4, 3)(inputs), name="doubled")
    for function in (sb_keras.fold, sb_keras.attach, sb_keras.profile):
        with pytest.raises(
            ValueError, match=r"functional .* 'doubled' of type Doubled, whose `call` is its own"
        ):
            function(model)


# Attention where nothing but the layers' documentation says how they are used.


def attention(shared, rng):
    """An average of Keras's own, and one of `GlobalContext` that other layers read too."""
    inputs = keras.Input((8, 8, 4))
    if shared:
        x, average = sb_keras.layers.GlobalContext()(inputs)
    else:
        x, average = inputs, keras.layers.GlobalAveragePooling2D()(inputs)
    y = sb_keras.layers.ShiftBalance(lambda_init=0.5)([keras.layers.Conv2D(4, 3)(x), average])
    y = sb_keras.layers.SqueezeExcite()([y, average])
    outputs = [y, keras.layers.Dense(3)(average), keras.layers.Add()([average, average])]
    outputs.append(keras.layers.Concatenate()([average, keras.layers.GlobalAveragePooling2D()(y)]))
    model = keras.Model(inputs, [*outputs, average])
    randomize(model, rng)
    return model


def test_own_layers_that_are_called_by_keyword_or_twice(rng):
    inputs = keras.Input((8, 8, 4))
    x = sb_keras.layers.ChannelShuffle(2)(inputs=inputs)
    x = sb_keras.layers.DynamicConv2D(4, 3)(inputs=x)
    attend = sb_keras.layers.ShiftBalance(lambda_init=0.5)
    for average in (keras.layers.GlobalAveragePooling2D(), keras.layers.GlobalMaxPooling2D()):
        x = attend([x, average(x)])
    model = keras.Model(inputs, x)
    randomize(model, rng)
    assert_folds(model, rng.normal(size=(2, 8, 8, 4)).astype("float32"))


def test_a_layer_that_refuses_sizes_is_not_idle(rng):
    @keras.saving.register_keras_serializable(package="test_fold_own_models")
    class Even(keras.layers.Layer):
        def call(self, inputs, training=None):
            if inputs.shape[1] is not None and inputs.shape[1] % 2:
                raise ValueError("odd size")
            return inputs

    pooled = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential([keras.Input((None, None, 3)), Even(), pooled])
    assert_folds(model, rng.normal(size=(2, 8, 8, 3)).astype("float32"))
    model = keras.Sequential([keras.Input((None, None, None, None, 3)), keras.layers.Dropout(0.5)])
    assert len(sb_keras.fold(model).layers) == 1


@pytest.mark.parametrize("shared", [False, True])
def test_averages_that_others_read(shared, rng):
    model, x = attention(shared, rng), rng.normal(size=(2, 8, 8, 4)).astype("float32")
    folded = sb_keras.fold(model)
    for ours, theirs in zip(folded(x), model(x), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_context_that_is_shared_by_two_maps(rng):
    """As `attach` makes it of a convolution that is called twice, one after the other and side by side."""
    inputs = keras.Input((8, 8, 4))
    convolution = keras.layers.Conv2D(4, 3, padding="same", name="c")
    stem = keras.layers.Conv2D(4, 3, name="stem")(inputs)
    x = convolution(keras.layers.ReLU()(convolution(stem)))
    y = convolution(keras.layers.MaxPooling2D()(stem))
    model = sb_keras.attach(keras.Model(inputs, [x, y]), sb_keras.Attention("sb", lambda_init=0.3))
    randomize(model, rng)
    images = rng.normal(size=(2, 8, 8, 4)).astype("float32")
    for ours, theirs in zip(sb_keras.fold(model)(images), model(images), strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE * scale)
