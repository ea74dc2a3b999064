import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from few_blocks import few_blocks

import sb_keras
from sb_keras import Attention, CifarMobileNetV2, MnasNet, ShuffleNetV2, fold
from sb_keras.tf_keras_bridge import to_tf_keras

tf_keras = pytest.importorskip("tf_keras")

# The same TensorFlow operations in the same order, but Keras 3 and 2 may group the sums of a pooling or a
# softmax differently: rounding is 6e-8, summed over some hundred values.
TOLERANCE = 1e-5


def assert_same_function(model, x):
    legacy = to_tf_keras(model)
    expected, actual = model(x), legacy(x)
    keras.tree.assert_same_structure(expected, actual)
    for a, e in zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=0, atol=TOLERANCE * np.abs(e).max())
    return legacy


layers = keras.layers
LAYERS = {
    "conv": lambda: layers.Conv2D(6, 3, strides=2, padding="same", activation="relu6"),
    "grouped conv": lambda: layers.Conv2D(6, 3, groups=3, dilation_rate=2, use_bias=False),
    "regularized conv": lambda: layers.Conv2D(
        6, 3, kernel_regularizer="l2", kernel_constraint="non_neg", kernel_initializer="he_normal"
    ),
    "transposed conv": lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh"),
    "separable": lambda: layers.SeparableConv2D(5, 3, activation="sigmoid"),
    "dense": lambda: layers.Dense(7, activation="softmax"),
    "batch norm": lambda: layers.BatchNormalization(epsilon=0.01),
    "layer norm": lambda: layers.LayerNormalization(),
    "relu": lambda: layers.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.2),
    "softmax": lambda: layers.Softmax(axis=-1),
    "activation": lambda: layers.Activation("gelu"),
    "dropout": lambda: layers.Dropout(0.5),
    "average pooling": lambda: layers.AveragePooling2D(3, strides=2, padding="same"),
    "max pooling": lambda: layers.MaxPooling2D(3, strides=2, padding="same"),
    "global average": lambda: layers.GlobalAveragePooling2D(keepdims=True),
    "global maximum": lambda: layers.GlobalMaxPooling2D(),
    "flatten": lambda: layers.Flatten(),
    "reshape": lambda: layers.Reshape((-1, 3, 2)),
    "permute": lambda: layers.Permute((2, 3, 1)),
    "zero padding": lambda: layers.ZeroPadding2D(((1, 2), (0, 3))),
    "cropping": lambda: layers.Cropping2D(((1, 2), (0, 3))),
    "upsampling": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "rescaling": lambda: layers.Rescaling(2.0, offset=-1.0),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer, rng):
    inputs = keras.Input((8, 10, 6))
    model = keras.Model(inputs, LAYERS[layer]()(inputs))
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1.0, weight.shape))  # a variance is positive
    legacy = assert_same_function(model, rng.normal(size=(3, 8, 10, 6)).astype("float32"))
    assert [each.name for each in legacy.layers] == [each.name for each in model.layers]


@pytest.mark.parametrize(
    "merge", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]
)
def test_merging_layers(merge, rng):
    inputs = [keras.Input((4, 4, 3)), keras.Input((4, 4, 3))]
    model = keras.Model(inputs, getattr(layers, merge)()(inputs))
    assert_same_function(model, [rng.normal(size=(2, 4, 4, 3)).astype("float32") for _ in range(2)])


KINDS = {
    **{kind: Attention(kind) for kind in ("static", "se-block", "se", "sb")},
    "sb with softmax": Attention("sb", gate="softmax", placement="norm"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_folded_networks(two_blocks, kind, randomize, ten_images):
    model = two_blocks(KINDS[kind])
    randomize(model, ten_images)
    folded = fold(model)
    legacy = assert_same_function(folded, ten_images)
    assert [layer.name for layer in legacy.layers] == [layer.name for layer in folded.layers]


@pytest.mark.parametrize("builder", [CifarMobileNetV2, MnasNet])
def test_networks(builder, ten_images):
    with few_blocks():
        model = builder((32, 32, 3), 0.35, "static", classes=5)
    assert_same_function(fold(model), ten_images)


def test_the_older_fold_with_tanh(rng):
    """λ as a depthwise convolution without bias, behind a tanh."""
    x = inputs = keras.Input((8, 8, 4))
    branch = layers.GlobalAveragePooling2D(keepdims=True)(x)
    branch = layers.Conv2D(4, 1, activation="tanh")(branch)
    branch = layers.DepthwiseConv2D(1, use_bias=False)(branch)
    model = keras.Model(inputs, layers.Add()([layers.Conv2D(4, 3, padding="same")(x), branch]))
    assert_same_function(model, rng.normal(size=(2, 8, 8, 4)).astype("float32"))


def test_shared_layers_and_structures(rng):
    """A layer called twice, a model within the model called twice, inputs and outputs in a dictionary."""
    image = keras.Input((None, None, 3))
    inner = keras.Model(image, layers.Conv2D(3, 3, padding="same", name="inner_conv")(image), name="inner")
    inputs = {"left": keras.Input((8, 8, 3), name="left"), "right": keras.Input((8, 8, 3), name="right")}
    conv = layers.Conv2D(3, 1, name="conv")
    left, right = (conv(inner(inputs[key])) for key in ("left", "right"))
    model = keras.Model(inputs, {"sum": layers.Add()([left, right]), "maps": [left, right]})
    x = {key: rng.normal(size=(2, 8, 8, 3)).astype("float32") for key in inputs}
    legacy = assert_same_function(model, x)
    assert legacy.count_params() == model.count_params()


def test_sequential_model(rng):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3), layers.Dense(2)])
    assert_same_function(model, rng.normal(size=(4, 5)).astype("float32"))


def test_unknown_image_size_and_fixed_batch(rng):
    x = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    for shape in ((None, None, None, 3), (2, 8, 8, 3)):
        inputs = keras.Input(batch_shape=shape)
        legacy = assert_same_function(keras.Model(inputs, layers.Conv2D(2, 3)(inputs)), x)
        assert tuple(legacy.input.shape) == shape


def test_half_precision(rng):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, dtype="mixed_bfloat16")(inputs)
    legacy = to_tf_keras(keras.Model(inputs, layers.Activation("linear", dtype="float32")(x)))
    assert legacy.layers[1].compute_dtype == "bfloat16"
    assert legacy.layers[1].dtype == "float32"


def test_weights_are_copied(rng):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3)])
    legacy = to_tf_keras(model)
    before = model.get_weights()
    legacy.set_weights([np.zeros_like(w) for w in legacy.get_weights()])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def last(make):
    inputs = keras.Input((8, 8, 4))
    return keras.Model(inputs, make(inputs))


class Doubled(layers.Conv2D):
    pass


@pytest.mark.usefixtures("networks_of_few_blocks")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fold(last(sb_keras.layers.DynamicConv2D(4, 1, name="mixed"))), r"'mixed' .*: DynamicConv2D"),
        (lambda: last(Doubled(2, 3, name="mine")), r"'mine' .* stock layer .* Received: Doubled"),
        (lambda: last(layers.Activation("sparse_sigmoid", name="odd")), r"'odd' \(Activation\)"),
        (
            lambda: last(layers.Conv2D(2, 1, activation="hard_sigmoid", name="odd")),
            r"'odd' .*another function",
        ),
        (lambda: last(layers.LeakyReLU(0.2, name="leaky")), r"'leaky' .*negative_slope"),
        (lambda: fold(ShuffleNetV2((32, 32, 3), 0.5, "static")), r"layer '.*' .* Received: Split"),
        (lambda: keras.Sequential([layers.Dense(2)]), r"that is built"),
    ],
)
def test_what_it_cannot_carry(make, message):
    with pytest.raises(ValueError, match=message):
        to_tf_keras(make())


@pytest.mark.long
def test_the_library_does_without_it():
    program = (
        "import json, sys, sb_keras.tf_keras_bridge; from sb_keras import *;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    root = pathlib.Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert not {"tf_keras", "tensorflow_model_optimization"} & set(json.loads(done.stdout))


def test_an_argument_of_zero_that_tf_keras_calls_otherwise():
    """Its LeakyReLU would have the slope of 0.3 that is its default."""
    model = keras.Sequential([keras.Input((4,)), layers.LeakyReLU(negative_slope=0.0)])
    with pytest.raises(ValueError, match=r"tf_keras does not know {'negative_slope': 0\.0}"):
        to_tf_keras(model)
