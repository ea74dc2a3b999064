"""Tests of folding the layers and models that users build."""

import keras
import numpy as np
import pytest
from folding import KINDS, assert_kept_names, assert_same_function, assert_stock, leaves

from sb_keras import fold, profile
from sb_keras.graph import inner_layers
from sb_keras.layers import (
    BatchNormalization,
    DynamicConv2D,
    DynamicDepthwiseConv2D,
    ShiftBalance,
    SqueezeExcite,
)

pytestmark = pytest.mark.long


def conv(filters=6, **arguments):
    return keras.layers.Conv2D(filters, 3, **arguments)


def check(outputs, inputs, randomize, x, normalizations_left_as_convolutions=0):
    """Folds the model between two tensors and compares; returns the folded model."""
    model = keras.Model(inputs, outputs)
    randomize(model, x)
    folded = fold(model)
    assert_same_function(folded, model, x)
    assert_stock(folded)
    norms = {layer.name for layer in leaves(model) if isinstance(layer, keras.layers.BatchNormalization)}
    left = norms & {layer.name for layer in leaves(folded)}
    assert len(left) == normalizations_left_as_convolutions
    return folded


@pytest.fixture
def image():
    return keras.Input((32, 32, 3), name="image")


ABSORBING = {
    "conv": lambda: conv(use_bias=False),
    "conv with bias": lambda: conv(),
    "grouped conv": lambda: conv(groups=3),
    "strided conv": lambda: conv(strides=2, padding="same"),
    "dilated conv": lambda: conv(dilation_rate=2),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3, use_bias=False),
    "depthwise, multiplier 2": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
    "dense on a map": lambda: keras.layers.Dense(6),
}


@pytest.mark.parametrize("layer", ABSORBING)
def test_layers_that_a_normalization_goes_into(layer, image, randomize, ten_images):
    check(BatchNormalization()(ABSORBING[layer]()(image)), image, randomize, ten_images)


@pytest.mark.parametrize("arguments", [{"scale": False}, {"center": False}, {"epsilon": 0.5}])
def test_options_of_the_normalization(arguments, image, randomize, ten_images):
    check(keras.layers.BatchNormalization(**arguments)(conv()(image)), image, randomize, ten_images)


class Doubled(keras.layers.Conv2D):
    """A user's layer that is a Conv2D and does something else."""

    def call(self, inputs):
        return 2 * super().call(inputs) + 1


FALLBACK = {
    "input": lambda x: x,
    "activation": lambda x: conv(activation="relu")(x),
    "sum": lambda x: keras.layers.Add()([conv()(x), conv()(x)]),
    "operator": lambda x: conv()(x) + 1,
    "concatenation": lambda x: keras.layers.Concatenate()([conv()(x), conv()(x)]),
    "transposed conv": lambda x: keras.layers.Conv2DTranspose(6, 3)(x),
    "separable conv": lambda x: keras.layers.SeparableConv2D(6, 3)(x),
    "another normalization": lambda x: keras.layers.BatchNormalization()(keras.layers.ReLU()(x)),
    "squeeze-excite": lambda x: SqueezeExcite()([conv()(x), x]),
    "usual squeeze-excite": lambda x: SqueezeExcite(use_bias=True, normalize=False)([conv()(x), x]),
    "shift-balance of two readers": lambda x: ShiftBalance()([x, x]),
    "shift-balance of a normalization": lambda x: ShiftBalance()([keras.layers.ReLU()(conv()(x)), x]),
}


@pytest.mark.parametrize("before", FALLBACK)
def test_behind_anything_else_it_becomes_a_depthwise_convolution(before, image, randomize, ten_images):
    x = keras.layers.BatchNormalization(name="last")(FALLBACK[before](image))
    norms = 2 if before == "another normalization" else 1
    folded = check(conv()(keras.layers.ReLU()(x)), image, randomize, ten_images, norms)
    assert type(folded.get_layer("last")) is keras.layers.DepthwiseConv2D


def test_class_derived_from_a_convolution_is_not_taken_for_one(image, randomize, ten_images):
    model = keras.Model(image, keras.layers.BatchNormalization()(Doubled(6, 3)(image)))
    randomize(model, ten_images)
    assert_same_function(fold(model), model, ten_images)


def test_convolution_that_is_also_an_output(image, randomize, ten_images):
    x = conv(name="conv")(image)
    norm = keras.layers.BatchNormalization(name="norm")(x)
    folded = check({"norm": norm, "conv": x}, image, randomize, ten_images, 1)
    assert set(folded(ten_images)) == {"norm", "conv"}


def test_convolution_with_two_readers(image, randomize, ten_images):
    x = conv()(image)
    check(keras.layers.Add()([keras.layers.BatchNormalization()(x), x]), image, randomize, ten_images, 1)


def test_convolution_that_two_normalizations_read(image, randomize, ten_images):
    x = conv()(image)
    norms = [keras.layers.BatchNormalization()(x) for _ in range(2)]
    check(keras.layers.Multiply()(norms), image, randomize, ten_images, 2)


def test_shift_balance_whose_trunk_has_two_readers(image, randomize, ten_images):
    x = conv()(image)
    y = keras.layers.BatchNormalization()(ShiftBalance()([x, image]))
    check(keras.layers.Add()([x, y]), image, randomize, ten_images, 1)


@pytest.mark.parametrize("normalize", [False, True])
def test_shift_balance_with_biases(normalize, image, randomize, ten_images):
    """Their adds are free, as those of every bias."""
    options = {"use_bias": True, "normalize": normalize}
    x = ShiftBalance(**options)([conv()(image), image])
    check(keras.layers.BatchNormalization()(x), image, randomize, ten_images)
    costs = [profile(keras.Model(image, y)).total for y in (x, ShiftBalance()([conv()(image), image]))]
    assert costs[0].madds == costs[1].madds
    # Two biases, of 6 hidden units and 6 outputs; a scale and a shift for each where it is normalized.
    assert costs[0].parameters - costs[1].parameters == 12 - (0 if normalize else 24)


@pytest.mark.parametrize(
    "layer", [lambda **k: DynamicConv2D(6, 3, **k), lambda **k: DynamicDepthwiseConv2D(3, **k)]
)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_dynamic_convolutions_with_options(layer, activation, image, randomize, ten_images):
    """A normalization does not go through an activation."""
    x = layer(dilation_rate=2, activation=activation, kernel_initializer="ones")(image)
    model = keras.Model(image, keras.layers.BatchNormalization(name="last")(x))
    randomize(model, ten_images)
    folded = fold(model)
    assert_same_function(folded, model, ten_images)
    assert ("last" in {layer.name for layer in folded.layers}) == (activation is not None)


def test_nested_shift_balance(image, randomize, ten_images):
    """The map goes through both sums."""
    x = ShiftBalance(name="outer")([ShiftBalance(name="inner")([conv()(image), image]), image])
    check(keras.layers.BatchNormalization()(x), image, randomize, ten_images)


def test_dense_layers(randomize, rng):
    x = inputs = keras.Input((7,))
    for units in (6, 5):
        x = keras.layers.Dense(units, use_bias=units == 5)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    check(keras.layers.Dense(3)(x), inputs, randomize, rng.normal(size=(20, 7)).astype("float32"))


def test_one_dimensional_convolutions(randomize, rng):
    inputs = keras.Input((12, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv1D(6, 3)(inputs))
    x = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv1D(3, depth_multiplier=2)(x))
    check(x, inputs, randomize, rng.normal(size=(20, 12, 3)).astype("float32"))


def test_shared_layers(image, randomize, ten_images):
    """A detector's head: the same layers on feature maps of two sizes."""
    shared_conv, shared_norm = conv(), keras.layers.BatchNormalization(name="norm")
    own_norms = [keras.layers.BatchNormalization() for _ in range(2)]
    shared_sb = ShiftBalance(name="sb")
    heads = []
    for x, own_norm in zip([image, keras.layers.MaxPooling2D()(image)], own_norms, strict=True):
        y = own_norm(shared_sb([shared_conv(x), x]))
        heads.append(keras.layers.Flatten()(shared_norm(keras.layers.ReLU()(y))))
    folded = check(keras.layers.Concatenate()(heads), image, randomize, ten_images, 3)
    assert sum(type(layer) is keras.layers.Conv2D for layer in folded.layers) == 1


def test_model_within_a_model(two_blocks, image, randomize, ten_images):
    """A backbone under a user's head, called a second time on the mirrored image."""
    backbone = two_blocks(KINDS["sb tanh"])
    backbone = keras.Model(backbone.input, backbone.get_layer("head_relu").output, name="backbone")
    x = keras.layers.Concatenate()([backbone(image), backbone(keras.ops.flip(image, 2), training=False)])
    x = keras.layers.BatchNormalization()(keras.layers.Dense(9)(keras.layers.GlobalMaxPooling2D()(x)))
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.Dropout(0.5)(x)))
    randomize(model, ten_images)
    folded = fold(model)
    assert_same_function(folded, model, ten_images)
    assert_stock(folded)
    assert_kept_names(folded.get_layer(backbone.name), backbone)
    assert not set(inner_layers(model)) & set(inner_layers(folded))


def test_same_layer_name_in_two_models(image, randomize, ten_images):
    def part(activation, name):
        inputs = keras.Input((None, None, 3))
        x = keras.layers.BatchNormalization(name="bn")(conv(activation=activation, name="conv")(inputs))
        return keras.Model(inputs, x, name=name)

    x = [part("linear", "one")(image), part("relu", "two")(image)]
    x = conv(activation="tanh", name="conv")(keras.layers.Concatenate()(x))
    check(keras.layers.BatchNormalization(name="bn")(x), image, randomize, ten_images, 1)


def test_sequential_models(image, randomize, ten_images):
    inner = keras.Sequential([conv(), keras.layers.BatchNormalization(), keras.layers.ReLU()], name="inner")
    model = keras.Sequential([keras.Input((32, 32, 3)), inner, conv(), keras.layers.BatchNormalization()])
    folded = check(model(image), image, randomize, ten_images)
    assert_same_function(fold(model), model, ten_images)
    assert folded.count_params() == model.count_params() - 4 * (6 + 6)


def test_part_of_a_model(image, randomize, ten_images):
    """A model between two tensors of another, where Keras copies the graph's nodes."""
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(conv()(image)))
    y = keras.layers.BatchNormalization()(ShiftBalance()([conv()(x), x]))
    check(keras.layers.ReLU()(y), image, randomize, ten_images)
    part = keras.Model(x, y)
    features = keras.Model(image, x)(ten_images)
    assert_same_function(fold(part), part, features)


def test_model_of_several_inputs(randomize, rng):
    inputs = {"a": keras.Input((8, 8, 3), name="a"), "b": keras.Input((8, 8, 3), name="b")}
    x = keras.layers.Concatenate()([keras.layers.BatchNormalization()(conv()(t)) for t in inputs.values()])
    x = {name: rng.normal(size=(9, 8, 8, 3)).astype("float32") for name in inputs}, x
    check(x[1], inputs, randomize, x[0])


def test_adapted_preprocessing(image, randomize, ten_images):
    normalization = keras.layers.Normalization()
    normalization.adapt(3 * ten_images + 5)
    model = keras.Model(image, keras.layers.BatchNormalization()(conv()(normalization(image))))
    statistics = normalization.get_weights()
    randomize(model, ten_images)
    normalization.set_weights(statistics)
    assert_same_function(fold(model), model, ten_images)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([conv(activation="relu", data_format="channels_last"), {"axis": 1}], r"axis=1"),
        ([conv(), {"renorm": True}], r"renorm=True"),
    ],
)
def test_normalization_that_cannot_be_folded(layers, message, image):
    layer, arguments = layers
    norm = keras.layers.BatchNormalization(name="this_one", **arguments)
    with pytest.raises(ValueError, match=f"Cannot fold layer 'this_one': .*{message}"):
        fold(keras.Model(image, norm(layer(image))))


def test_normalization_of_each_batch_cannot_be_folded(image):
    norm = keras.layers.BatchNormalization(name="this_one")
    with pytest.raises(ValueError, match=r"Cannot fold layer 'this_one': .*training=True"):
        fold(keras.Model(image, norm(conv()(image), training=True)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.parametrize("built", [False, True])
def test_model_without_a_graph(built):
    model = Subclassed()
    if built:
        model(np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"Expected a functional.* Received: 'mine' of type Subclassed"):
        fold(model)
    inputs = keras.Input((2,))
    with pytest.raises(ValueError, match=r"Expected a functional.* Received: 'mine' of type Subclassed"):
        fold(keras.Model(inputs, model(inputs)))


def test_model_that_is_not_built():
    with pytest.raises(ValueError, match=r"that is built\. Received: 'new' of type Sequential"):
        fold(keras.Sequential([keras.layers.Dense(3)], name="new"))


def test_something_else():
    with pytest.raises(ValueError, match=r"Expected a functional.* Received: 3 of type int"):
        fold(3)
