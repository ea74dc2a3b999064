"""Pruning, clustering and quantization-aware training; the command is in test_compress.py."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import sb_keras
from recipes.errors import UserError
from recipes.settings import Compression
from sb_keras import ShuffleNetV2
from sb_keras.layers import BatchNormalization, DynamicConv2D, ShiftBalance, SqueezeExcite
from tflite.delegation import find_delegation
from tflite.interpreter import predict

if not importlib.util.find_spec("tensorflow_model_optimization"):  # not importorskip: see tflite/tfmot.py
    pytest.skip("tensorflow-model-optimization is not installed", allow_module_level=True)

from tflite.compression import cluster, prune, quantization_aware
from tflite.fake_quantization import KernelQuantizer, emulate_integers

pytestmark = pytest.mark.long

# So small a rate that the weights keep all digits that are compared.
FROZEN = Compression(epochs=1, learning_rate=1e-12, sparsity=0.6, clusters=4)


def attention_network(kind):
    """Every operator of a folded MobileNetV2 with attention, once."""
    x = inputs = keras.Input((16, 16, 3), name="image")
    stem = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")
    x = keras.layers.ReLU(6.0)(BatchNormalization()(stem(x)))
    trunk = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    if kind == "sb":
        trunk = ShiftBalance(lambda_init=0.5, name="attention")([trunk, x])
    elif kind == "se":
        trunk = SqueezeExcite(name="attention")([trunk, x])
    y = keras.layers.ReLU(6.0)(BatchNormalization()(trunk))
    y = keras.layers.Add()([x, BatchNormalization()(keras.layers.Conv2D(8, 1, name="project")(y))])
    y = keras.layers.GlobalAveragePooling2D()(y)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="classes")(y))


@pytest.fixture
def images(rng):
    color = rng.normal(size=(64, 1, 1, 3))
    return (color + rng.uniform(0.1, 2.0, (64, 1, 1, 1)) * rng.normal(size=(64, 16, 16, 3))).astype("float32")


@pytest.fixture
def network(randomize, images):
    def network(kind="sb"):
        model = attention_network(kind)
        randomize(model, images)
        return model

    return network


def kernels(model):
    """The kernels of a folded model by layer."""
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.weights}


def is_depthwise(name):
    return name == "depthwise" or name.endswith("_lambda")


# Pruning and clustering


def test_pruning_takes_the_smallest_weights_of_each_layer(network, images):
    model = network()
    before, after = kernels(sb_keras.fold(model)), kernels(prune(model, images, FROZEN))
    assert before.keys() == after.keys()
    for name, kernel in before.items():
        if is_depthwise(name):
            np.testing.assert_array_equal(after[name], kernel)
            continue
        kept = round(0.4 * kernel.size)
        threshold = np.sort(np.abs(kernel), axis=None)[-kept]
        expected = np.where(np.abs(kernel) >= threshold, kernel, 0)
        np.testing.assert_allclose(after[name], expected, rtol=0, atol=1e-9)
        assert np.count_nonzero(after[name]) == kept


@pytest.mark.parametrize("steps", [1, 2, 7, 230])
def test_pruning_reaches_its_goal_however_long_it_takes(steps, images):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(
        inputs, keras.layers.Conv2D(4, 1)(keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs))
    )
    batch = tf.data.Dataset.from_tensors(images)
    kernel = prune(model, batch, Compression(epochs=steps, sparsity=0.75)).layers[-1].get_weights()[0]
    assert np.count_nonzero(kernel) == 3


def test_clusters(network, images):
    model = network()
    before, after = kernels(sb_keras.fold(model)), kernels(cluster(model, images, FROZEN))
    for name, kernel in before.items():
        if is_depthwise(name):
            np.testing.assert_array_equal(after[name], kernel)
            continue
        centroids = np.unique(after[name])
        assert len(centroids) <= 4
        nearest = centroids[np.abs(kernel[..., None] - centroids).argmin(-1)]
        np.testing.assert_allclose(after[name], nearest, rtol=0, atol=1e-7)


def test_few_weights_are_not_clustered(images):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1)(inputs))
    after = cluster(model, images, Compression(epochs=1, clusters=12, learning_rate=1e-9))
    np.testing.assert_allclose(after.get_weights()[0], model.get_weights()[0], rtol=0, atol=1e-6)
    assert len(np.unique(after.get_weights()[0])) == 12


@pytest.mark.parametrize("compress", [prune, cluster])
def test_fine_tuning_brings_back_the_answers(compress, network, images):
    """The network with less in its weights comes closer to the answers it was to keep, by its own measure."""
    model = network()
    expected = model.predict(images, verbose=0)

    def divergence(compression):
        actual = compress(model, images, compression).predict(images, verbose=0)
        return np.mean(np.sum(expected * np.log(expected / actual), axis=-1))

    tuned = Compression(epochs=30, learning_rate=1e-3, sparsity=0.6, clusters=4)
    assert divergence(tuned) < divergence(FROZEN) / 2


def test_the_model_is_left_as_it_was(network, images):
    model = network()
    before, outputs = model.get_weights(), model(images)
    for compress in (prune, cluster, quantization_aware):
        compress(model, images, Compression(epochs=1, learning_rate=0.01))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model(images), outputs)


def test_labels_and_sequence(images):
    """Images with labels, in batches, are the images; every step of every epoch is told."""
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1)(inputs))
    seen = []
    compression = Compression(epochs=3, steps_per_epoch=2, learning_rate=1e-3)
    labelled = tf.data.Dataset.from_tensor_slices((images, np.zeros(64))).batch(16)
    with_labels = prune(model, labelled, compression, lambda done, steps: seen.append((done, steps)))
    without = prune(model, labelled.map(lambda x, y: x), compression)
    assert seen == [(n, 6) for n in range(1, 7)]
    np.testing.assert_array_equal(with_labels.get_weights()[0], without.get_weights()[0])


# Quantization-aware training


def opened(content):
    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=False)
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize("kind", ["static", "sb", "se"])
def test_integers_give_the_answers_of_the_floats(kind, network, images):
    model = network(kind)
    interpreter = opened(quantization_aware(model, images, Compression(epochs=2)))
    expected = model.predict(images, verbose=0)
    # 2⁻⁹ in each weight and activation of some ten operators, which add up at random.
    np.testing.assert_allclose(predict(interpreter, images), expected, rtol=0, atol=0.05)
    assert np.std(expected, axis=0).max() > 0.1  # what constant answers would miss
    types = {tensor["dtype"] for tensor in interpreter.get_tensor_details() if tensor["name"]}
    assert types == {np.int8, np.int32}
    (left,) = find_delegation(interpreter).left_out
    assert left.name == "SOFTMAX"  # XNNPACK has none in integers
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["classes"]}
    }


def test_kernels_in_the_file_have_a_scale_a_channel(network, images):
    model = network()
    interpreter = opened(quantization_aware(model, images, FROZEN))
    found = {
        tuple(tensor["shape"]): tensor
        for tensor in interpreter.get_tensor_details()
        if len(tensor["quantization_parameters"]["scales"]) > 1 and tensor["dtype"] == np.int8
    }
    folded = kernels(sb_keras.fold(model))
    # TFLite has (filters, height, width, channels), and (1, height, width, filters) for depthwise ones.
    for name, transposed in (("stem", (3, 0, 1, 2)), ("depthwise", (3, 0, 1, 2)), ("classes", (1, 0))):
        kernel = folded[name].transpose(transposed)
        axis = 3 if name == "depthwise" else 0
        others = tuple(each for each in range(kernel.ndim) if each != axis)
        scales = np.abs(kernel).max(axis=others) / 127
        tensor = found[kernel.shape]
        np.testing.assert_allclose(tensor["quantization_parameters"]["scales"], scales, rtol=1e-5)
        shape = [-1 if each == axis else 1 for each in range(kernel.ndim)]
        expected = np.round(kernel / scales.reshape(shape))
        # A value in the middle between two integers may go either way.
        assert np.abs(interpreter.get_tensor(tensor["index"]) - expected).max() <= 1
        assert np.mean(interpreter.get_tensor(tensor["index"]) == expected) > 0.98


def test_ranges_start_where_the_activations_are(network, images):
    model = network()
    batches = tf.data.Dataset.from_tensor_slices(images).batch(16)
    emulating = emulate_integers(sb_keras.fold(model), batches)
    added = next(layer for layer in model.layers if isinstance(layer, keras.layers.Add))
    outputs = keras.Model(model.input, added.output).predict(images, verbose=0).reshape(4, -1)
    ranges = emulating.get_layer(f"quant_{added.name}")._output_quantizer_vars
    np.testing.assert_allclose(ranges["max_var"], outputs.max(1).mean(), rtol=1e-4)
    np.testing.assert_allclose(ranges["min_var"], min(outputs.min(1).mean(), 0), rtol=1e-4)


def test_input_range_stays(network, images):
    model = network("static")
    content = quantization_aware(model, images, Compression(epochs=2), input_range=(-3.0, 252.0))
    (source,) = opened(content).get_input_details()
    assert source["quantization"] == (1.0, -125)


@pytest.mark.parametrize("attribute", ["kernel", "depthwise_kernel"])
def test_rounding_of_a_kernel(attribute, rng):
    kernel = rng.normal(size=(3, 3, 4, 1 if attribute == "depthwise_kernel" else 6)).astype("float32")
    kernel[:, :, 0] = 0
    axes = (0, 1) if attribute == "depthwise_kernel" else (0, 1, 2)
    scales = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True) / 127, 1e-12)
    quantizer = KernelQuantizer(attribute)
    rounded = quantizer(tf.constant(kernel), training=True, weights={})
    np.testing.assert_allclose(rounded, np.round(kernel / scales) * scales, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(quantizer(tf.constant(kernel), training=False, weights={}), kernel)


def test_the_older_fold_with_tanh(rng, images):
    """λ behind a tanh: the file's answers depend on the images as the network's do."""
    x = inputs = keras.Input((16, 16, 3))
    branch = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    branch = keras.layers.Conv2D(4, 1, activation="tanh")(branch)
    branch = keras.layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer="ones")(branch)
    y = keras.layers.Add()([keras.layers.Conv2D(4, 3, padding="same")(x), branch])
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(y))
    actual = predict(opened(quantization_aware(model, images, FROZEN)), images)
    expected = model.predict(images, verbose=0)
    spread = np.ptp(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.05 * spread)


@pytest.mark.parametrize("compress", [prune, cluster, quantization_aware])
def test_a_keras_network_with_attention_added(compress, images, randomize, rng):
    """`attach` to stock layers, then λ and branches as training would leave them; Keras's own answers."""
    layers = keras.layers
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="spatial")(x)
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, name="narrow")(x))
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(x))
    stock = keras.Model(inputs, layers.Dense(5)(x))
    model = sb_keras.attach(stock, "sb")
    assert sum(isinstance(layer, ShiftBalance) for layer in model.layers) == 2  # not on the stem
    randomize(model, images)
    expected = model.predict(images, verbose=0)
    spread = np.ptp(expected, axis=0).max()  # which constant answers would miss
    # So low a sparsity and more clusters than weights leave the weights as they are.
    compression = Compression(epochs=1, learning_rate=1e-12, sparsity=1e-6, clusters=999)
    compressed = compress(model, images, compression)
    if compress is quantization_aware:
        # 2⁻⁹ in each weight and activation of some ten operators, which add up at random, and activations
        # beyond the range that they have on average, which are cut off: more in a few images.
        actual, tolerance = predict(opened(compressed), images), 0.02
    else:
        actual, tolerance = compressed.predict(images, verbose=0), 1e-5
    assert np.sqrt(np.mean(np.square(actual - expected))) < tolerance * spread


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_swish_and_upsampling(interpolation, images):
    """The layers of other networks than ours; Keras's answers are the expected ones."""
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="swish")(x)
    x = keras.layers.UpSampling2D(2, interpolation=interpolation)(keras.layers.Conv2D(8, 1)(x))
    x = keras.layers.Activation("silu")(x)
    outputs = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    interpreter = opened(quantization_aware(model, images, FROZEN))
    expected = model.predict(images, verbose=0)
    actual = predict(interpreter, images)
    # As above, 2⁻⁹ in each of some ten operators.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.05 * np.ptp(expected))
    types = {tensor["dtype"] for tensor in interpreter.get_tensor_details() if tensor["name"]}
    assert np.float32 not in types


def test_outputs_that_are_no_probabilities(images):
    inputs = keras.Input((16, 16, 3), name="picture")
    x = keras.layers.Conv2D(4, 3)(inputs)
    heads = [
        keras.layers.Conv2D(2, 1, name="boxes")(x),
        keras.layers.Conv2D(3, 1, activation="sigmoid", name="scores")(x),
    ]
    model = keras.Model(inputs, heads)
    content = quantization_aware(model, images, Compression(epochs=1), output_names=["b", "s"])
    interpreter = opened(content)
    runner = interpreter.get_signature_runner()
    (source,) = interpreter.get_input_details()
    scale, zero_point = source["quantization"]
    integers = np.clip(np.round(images[:1] / scale + zero_point), -128, 127).astype("int8")
    outputs, details = runner(picture=integers), runner.get_output_details()
    for name, expected in zip("bs", model(images[:1]), strict=True):
        scale, zero_point = details[name]["quantization"]
        actual = scale * (outputs[name].astype("float32") - zero_point)
        np.testing.assert_allclose(actual, expected, atol=0.03 * np.ptp(expected))


# What is refused


def small(make):
    inputs = keras.Input((32, 32, 4), name="image")
    return keras.Model(inputs, make(inputs))


EVERY = (prune, cluster, quantization_aware)


@pytest.mark.parametrize("compress", EVERY)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(DynamicConv2D(4, 1, name="mixed")), "'mixed' is a dynamic convolution"),
        (lambda: ShuffleNetV2((32, 32, 3), 0.5), "Received: Split"),
    ],
)
def test_networks_that_cannot_be_compressed(compress, make, message):
    with pytest.raises(UserError, match=message) as caught:
        compress(make(), np.zeros((1, 32, 32, 4), "float32"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.LayerNormalization(name="odd"), "'odd' cannot be rounded .*LayerNormalization"),
        (keras.layers.Conv2D(2, 1, activation="gelu", name="odd"), "'odd_gelu' .*Activation 'gelu'"),
        (keras.layers.Activation("hard_swish", name="odd"), "'odd' .*Unknown activation function"),
    ],
)
def test_layers_that_cannot_be_rounded(layer, message):
    with pytest.raises(UserError, match=message):
        quantization_aware(small(layer), np.zeros((1, 32, 32, 4), "float32"))


def test_no_images():
    with pytest.raises(UserError, match="needs images"):
        prune(small(keras.layers.Conv2D(2, 1)), np.zeros((0, 32, 32, 4), "float32"))


def test_divergence(rng):
    model = small(keras.layers.Conv2D(2, 1))
    images = rng.normal(size=(8, 32, 32, 4)).astype("float32")
    with pytest.raises(UserError, match="diverged"):
        prune(model, images * 1e20, Compression(epochs=1))


def started(program):
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("before", [None, "0"])
def test_keras_stays_keras_3(before):
    """TFMOT sets TF_USE_LEGACY_KERAS when it is imported."""
    program = f"""
import os, json
if {before!r}: os.environ["TF_USE_LEGACY_KERAS"] = {before!r}
import tflite.compression, tensorflow, keras
same = tensorflow.keras.Model is keras.Model
print(json.dumps([os.environ.get("TF_USE_LEGACY_KERAS"), same, keras.__version__[0]]))
"""
    assert json.loads(started(program).stdout.splitlines()[-1]) == [before, True, "3"]


def test_without_the_package():
    program = """
import sys
sys.modules["tensorflow_model_optimization"] = None
from recipes.command import exit_code
def main():
    import tflite.compression
sys.exit(exit_code(main))
"""
    done = started(program)
    assert done.returncode == 2
    assert "need tensorflow_model_optimization, which is not installed" in done.stderr.splitlines()[-1]
