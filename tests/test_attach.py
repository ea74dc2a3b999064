"""Tests that attention on a trained network leaves its function what it was, and that it can be trained."""

import keras
import numpy as np
import pytest

import sb_keras
from sb_keras.graph import inner_layers
from sb_keras.layers import DynamicConv, ShiftBalance
from tflite.convert import convert
from tflite.interpreter import open_content, predict

# DyConv's kernel is a sum of n equal ones, with coefficients whose sum is 1 but for rounding; through some
# ten layers that is a few units in the last place of what goes in.
ROUNDING = 1e-5


@pytest.fixture
def x(rng):
    return rng.normal(size=(4, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def trained():
    """A network of stock layers: activations inside, groups, dilation, a branch of Squeeze-and-Excite."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((32, 32, 3), name="photo")
    x = layers.Rescaling(1 / 2)(inputs)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(x)
    x = layers.Conv2D(24, 1, use_bias=False, name="wide")(x)
    x = layers.BatchNormalization(name="wide_bn")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, 2, padding="same", activation="swish", name="spatial")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(6, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(24, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Conv2D(16, 1, name="narrow")(x) + 0.5
    x = layers.Conv2D(16, 3, groups=4, padding="valid", dilation_rate=2, name="grouped")(x)
    x = layers.SeparableConv2D(12, 3, name="separable")(x)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, {"logits": layers.Dense(5, name="logits")(x)}, name="trained")
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" not in weight.path:
            positive = weight.name in ("gamma", "moving_variance")
            value = rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.3, weight.shape)
            weight.assign(value)
    return model


def attended(model, kind=ShiftBalance):
    return [layer.name.removesuffix("_sb") for layer in inner_layers(model) if isinstance(layer, kind)]


def largest_difference(ours, theirs):
    pairs = zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


@pytest.mark.parametrize("placement", ["conv", "norm"])
def test_nothing_changes(trained, x, placement):
    """To the last bit: eagerly, in a graph, and in a training step's forward pass (up to the dropout)."""
    model = sb_keras.attach(trained, sb_keras.Attention("sb", placement=placement, lambda_init=0.0))
    assert attended(model) == ["wide", "spatial", "narrow", "grouped", "separable"]
    assert largest_difference(model(x), trained(x)) == 0
    assert largest_difference(model.predict(x, verbose=0), trained.predict(x, verbose=0)) == 0
    ours, theirs = (
        keras.Model(m.input, m.get_layer("separable_sb" if m is model else "separable").output)
        for m in (model, trained)
    )
    assert largest_difference(ours(x, training=True), theirs(x, training=True)) == 0
    for layer in trained.layers:
        copy = model.get_layer(layer.name)
        assert type(copy) is type(layer)
        assert all(a is not b for a, b in zip(copy.weights, layer.weights, strict=True))
    assert model.input.name == "photo"


def test_hidden_units_are_the_papers(trained):
    """Output channels for a pointwise convolution, a sixth of them for a depthwise one (section 5.1)."""
    model = sb_keras.attach(trained, sb_keras.Attention("sb", hidden_multiplier=2))
    units = {name: model.get_layer(f"{name}_sb").hidden_units for name in attended(model)}
    assert units == {"wide": 48, "spatial": 8, "narrow": 32, "grouped": 32, "separable": 24}


def test_blocks_are_those_of_builders(trained):
    with pytest.raises(ValueError, match=r"`attention\.blocks` must be None.*`layers`.* Received: \(2,\)"):
        sb_keras.attach(trained, sb_keras.Attention("sb", blocks=(2,)))


def test_dynamic_convolutions_begin_as_the_trained_ones(trained, x):
    model = sb_keras.attach(trained, "dyconv")
    assert attended(model, DynamicConv) == ["wide", "spatial", "narrow"]
    assert largest_difference(model(x), trained(x)) < ROUNDING * np.abs(trained(x)["logits"]).max()
    with pytest.raises(ValueError, match=r"to layer 'grouped': dynamic convolutions have neither"):
        sb_keras.attach(trained, "dyconv", layers=["grouped"])


def test_it_trains(trained, x):
    """λ moves in the first step already, and every weight of the branches in the second."""
    model = sb_keras.attach(trained)
    layer, before = model.get_layer("narrow_sb"), trained(x)["logits"]
    start = [weight.numpy() for weight in layer.trainable_weights]
    model.compile(keras.optimizers.SGD(0.1), {"logits": "mse"})
    targets = {"logits": np.ones((4, 5), "float32")}
    model.train_on_batch(x, targets)
    assert np.all(layer.lambda_.numpy() != 0)
    model.train_on_batch(x, targets)
    for weight, value in zip(layer.trainable_weights, start, strict=True):
        assert np.any(weight.numpy() != value), weight.path
    np.testing.assert_array_equal(trained(x)["logits"], before)  # the weights were copies


def test_what_comes_after_training(trained, x, tmp_path):
    """A file, the fold into stock layers, the costs and the .tflite file of a network whose λ has moved."""
    model = sb_keras.attach(trained, sb_keras.Attention("sb", lambda_init=0.3))
    for weight in model.weights:
        if "excitation" in weight.path and weight.name == "kernel":
            weight.assign(30 * weight)  # of N(0, 0.01): the branch's say in the outputs
    outputs = model(x)["logits"].numpy()
    assert largest_difference(outputs, trained(x)["logits"]) > 0.01
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x)["logits"], outputs)
    folded = sb_keras.fold(model)
    assert not any(type(layer).__module__.startswith("sb_keras") for layer in inner_layers(folded))
    np.testing.assert_allclose(folded(x)["logits"], outputs, atol=1e-5)  # a dozen layers in float32
    assert sb_keras.profile(model).total.parameters > sb_keras.profile(trained).total.parameters
    (output,) = keras.tree.flatten(
        predict(open_content(convert(keras.Model(model.input, model.output["logits"]))), x)
    )
    np.testing.assert_allclose(output, outputs, atol=1e-5)


def test_models_within_models_and_shared_layers(x, rng):
    inner = keras.Sequential(
        [keras.layers.Conv2D(6, 3, padding="same", name="a"), keras.layers.Conv2D(6, 1, name="b")],
        name="inner",
    )
    inputs = keras.Input((32, 32, 3))
    first = keras.layers.Conv2D(3, 3, padding="same", name="stem")(inputs)
    shared = keras.layers.Conv2D(3, 1, name="shared")
    shared_twice = shared(shared(first))
    model = keras.Model(inputs, keras.layers.Concatenate()([inner(inputs), inner(shared_twice)]))
    result = sb_keras.attach(model)
    # `a` sees the image as well as feature maps: it is a stem; `shared` has one attention, called twice.
    assert sorted(attended(result)) == ["b", "shared"]
    assert largest_difference(result(x), model(x)) == 0
    result.get_layer("shared_sb").lambda_.assign([1.0, 1.0, 1.0])
    assert largest_difference(result(x), model(x)) > 0


def test_frozen_layers_stay_frozen_and_policies_are_kept(x):
    inputs = keras.Input((32, 32, 3))
    y = keras.layers.Conv2D(8, 3, name="stem")(inputs)
    y = keras.layers.Conv2D(8, 1, name="frozen", trainable=False)(y)
    y = keras.layers.Conv2D(8, 1, name="half", dtype="mixed_float16")(y)
    model = keras.Model(inputs, keras.layers.BatchNormalization(trainable=False)(y))
    result = sb_keras.attach(model)
    assert [layer.trainable for layer in result.layers if layer.name in ("frozen", "half")] == [False, True]
    assert not result.layers[-1].trainable
    assert not result.get_layer("frozen").trainable_weights
    assert result.get_layer("frozen_sb").trainable_weights
    with pytest.raises(ValueError, match=r"by their kernels.*these are frozen: frozen\. Set"):
        sb_keras.attach(model, "dyconv")
    dynamic = sb_keras.attach(model, "dyconv", layers=["half"])
    assert dynamic.get_layer("half").routing_network.trainable_weights
    assert result.get_layer("half_sb").compute_dtype == "float16"
    assert largest_difference(result(x), model(x)) == 0


def test_which_layers(trained):
    pointwise = sb_keras.Attention("sb", positions=("expand",), lambda_init=0.0)
    assert attended(sb_keras.attach(trained, pointwise)) == ["wide"]
    assert attended(sb_keras.attach(trained, layers=["stem", "narrow"])) == ["stem", "narrow"]
    assert attended(sb_keras.attach(trained, layers=(name for name in ("stem",)))) == ["stem"]
    only_separable = sb_keras.attach(trained, layers=lambda layer: layer.name.startswith("sep"))
    assert attended(only_separable) == ["separable"]
    with pytest.raises(ValueError, match=r"Received: 'narow'; did you mean 'narrow'\?"):
        sb_keras.attach(trained, layers="narow")
    with pytest.raises(ValueError, match=r"to layer 'squeeze': it sees maps of 1×1"):
        sb_keras.attach(trained, layers=["squeeze"])
    with pytest.raises(ValueError, match=r"'wide': it has attention already"):
        sb_keras.attach(sb_keras.attach(trained), layers=["wide"])
    with pytest.raises(ValueError, match=r"Received: 'stem': it is the stem; .* and 3 more"):
        sb_keras.attach(sb_keras.attach(trained))
    with pytest.raises(ValueError, match=r"there is a layer 'wide_context' already, .* before `fold`"):
        sb_keras.attach(sb_keras.fold(sb_keras.attach(trained)), layers=["wide"])
    with pytest.raises(ValueError, match=r"`layers` must be names, or a function of a layer. Received: 3"):
        sb_keras.attach(trained, layers=3)
    with pytest.raises(ValueError, match=r"`layers` must choose convolutions of the model"):
        sb_keras.attach(trained, layers=[])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("se", "½"), ("se-block", "½"), ("condconv", "do not sum"), ("static", "no attention")],
)
def test_kinds_that_would_change_the_function(trained, kind, reason):
    with pytest.raises(ValueError, match=f"{kind!r}; .*{reason}"):
        sb_keras.attach(trained, kind)


def test_models_that_cannot_be():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="Expected a functional Keras model"):
        sb_keras.attach(Subclassed())
    inputs = keras.Input((3, 32, 32))
    x = keras.layers.Conv2D(4, 1, data_format="channels_first", name="first")(inputs)
    with pytest.raises(ValueError, match=r"layer 'first': its data_format is 'channels_first'"):
        sb_keras.attach(keras.Model(inputs, x))
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="Received: no convolutions"):
        sb_keras.attach(dense)


APPLICATIONS = {
    "MobileNet": {"alpha": 0.25, "input_shape": (32, 32, 3)},
    "MobileNetV2": {"alpha": 0.35, "input_shape": (32, 32, 3)},
    "MobileNetV3Small": {"alpha": 0.75, "minimalistic": False, "input_shape": (32, 32, 3)},
    "MobileNetV3Large": {"alpha": 0.75, "input_shape": (32, 32, 3)},
    "EfficientNetV2B0": {"input_shape": (32, 32, 3)},
    "ResNet50V2": {"input_shape": (32, 32, 3)},
    "DenseNet121": {"input_shape": (32, 32, 3)},
    "NASNetMobile": {"input_shape": (224, 224, 3)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_networks_of_keras(name, rng):
    """With random weights and statistics: nothing changes, but for rounding neither folded nor as a file."""
    network = getattr(keras.applications, name)(weights=None, classes=5, **APPLICATIONS[name])
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.8, 1.2, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    x = rng.uniform(0, 255, size=(2, *network.input_shape[1:])).astype("float32")
    model = sb_keras.attach(network)
    assert len(attended(model)) > 10
    assert {layer.name for layer in network.layers} <= {layer.name for layer in model.layers}
    expected = np.array(network(x))
    np.testing.assert_array_equal(model(x), expected)
    # Probabilities behind up to some hundred layers in float32.
    np.testing.assert_allclose(sb_keras.fold(model)(x), expected, atol=1e-4)
    (output,) = keras.tree.flatten(predict(open_content(convert(model)), x))
    np.testing.assert_allclose(output, expected, atol=1e-4)
