"""Pruning and clustering, and what no compression takes; the command is in test_compress.py."""

import importlib
import importlib.util
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from compressed import FROZEN, is_depthwise, kernels

import sb_keras
from recipes.command import exit_code
from recipes.compression import Compression
from recipes.errors import UserError
from sb_keras import ShuffleNetV2
from sb_keras.layers import DynamicConv2D, ShiftBalance
from tflite.interpreter import open_content, predict

if not importlib.util.find_spec("tensorflow_model_optimization"):  # not importorskip: see tflite/tfmot.py
    pytest.skip("tensorflow-model-optimization is not installed", allow_module_level=True)

from tflite.compression import cluster, prune, quantization_aware

pytestmark = pytest.mark.long


def test_pruning_takes_the_smallest_weights_of_each_layer(compressible, colors):
    model = compressible()
    before, after = kernels(sb_keras.fold(model)), kernels(prune(model, colors, FROZEN))
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
def test_pruning_reaches_its_goal_however_long_it_takes(steps, colors):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(
        inputs, keras.layers.Conv2D(4, 1)(keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs))
    )
    batch = tf.data.Dataset.from_tensors(colors)
    kernel = prune(model, batch, Compression(epochs=steps, sparsity=0.75)).layers[-1].get_weights()[0]
    assert np.count_nonzero(kernel) == 3


def test_clusters(compressible, colors):
    model = compressible()
    before, after = kernels(sb_keras.fold(model)), kernels(cluster(model, colors, FROZEN))
    for name, kernel in before.items():
        if is_depthwise(name):
            np.testing.assert_array_equal(after[name], kernel)
            continue
        centroids = np.unique(after[name])
        assert len(centroids) <= 4
        nearest = centroids[np.abs(kernel[..., None] - centroids).argmin(-1)]
        np.testing.assert_allclose(after[name], nearest, rtol=0, atol=1e-7)


def test_few_weights_are_not_clustered(colors):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1)(inputs))
    after = cluster(model, colors, Compression(epochs=1, clusters=12, learning_rate=1e-9))
    np.testing.assert_allclose(after.get_weights()[0], model.get_weights()[0], rtol=0, atol=1e-6)
    assert len(np.unique(after.get_weights()[0])) == 12


@pytest.mark.parametrize("compress", [prune, cluster])
def test_fine_tuning_brings_back_the_answers(compress, compressible, colors):
    """The network with less in its weights comes closer to the answers it was to keep, by its own measure."""
    model = compressible()
    expected = np.array(model(colors))

    def divergence(compression):
        actual = np.array(compress(model, colors, compression)(colors))
        return np.mean(np.sum(expected * np.log(expected / actual), axis=-1))

    tuned = Compression(epochs=30, learning_rate=1e-3, sparsity=0.6, clusters=4)
    assert divergence(tuned) < divergence(FROZEN) / 2


def test_the_model_is_left_as_it_was(compressible, colors):
    model = compressible()
    before, outputs = model.get_weights(), model(colors)
    for compress in (prune, cluster, quantization_aware):
        compress(model, colors, Compression(epochs=1, learning_rate=0.01))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model(colors), outputs)


def test_labels_and_sequence(colors):
    """Images with labels, in batches, are the images; every step of every epoch is told."""
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1)(inputs))
    seen = []
    compression = Compression(epochs=3, steps_per_epoch=2, learning_rate=1e-3)
    labelled = tf.data.Dataset.from_tensor_slices((colors, np.zeros(64))).batch(16)
    with_labels = prune(model, labelled, compression, lambda done, steps: seen.append((done, steps)))
    without = prune(model, labelled.map(lambda x, y: x), compression)
    assert seen == [(n, 6) for n in range(1, 7)]
    np.testing.assert_array_equal(with_labels.get_weights()[0], without.get_weights()[0])


@pytest.mark.parametrize("compress", [prune, cluster, quantization_aware])
def test_a_keras_network_with_attention_added(compress, colors, randomize, rng):
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
    randomize(model, colors)
    expected = np.array(model(colors))
    spread = np.ptp(expected, axis=0).max()  # which constant answers would miss
    # So low a sparsity and more clusters than weights leave the weights as they are.
    compression = Compression(epochs=1, learning_rate=1e-12, sparsity=1e-6, clusters=999)
    compressed = compress(model, colors, compression)
    if compress is quantization_aware:
        # 2⁻⁹ in each weight and activation of some ten operators, which add up at random, and activations
        # beyond the range that they have on average, which are cut off: more in a few images.
        actual, tolerance = predict(open_content(compressed), colors), 0.02
    else:
        actual, tolerance = np.array(compressed(colors)), 1e-5
    assert np.sqrt(np.mean(np.square(actual - expected))) < tolerance * spread


# What is refused


def small(make):
    inputs = keras.Input((32, 32, 4), name="image")
    return keras.Model(inputs, make(inputs))


EVERY = (prune, cluster, quantization_aware)


@pytest.mark.usefixtures("networks_of_few_blocks")
@pytest.mark.parametrize("compress", EVERY)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(DynamicConv2D(4, 1, name="mixed")), "'mixed' is a dynamic convolution"),
        (lambda: ShuffleNetV2((32, 32, 3), 0.1), "Received: Split"),
    ],
)
def test_networks_that_cannot_be_compressed(compress, make, message):
    with pytest.raises(UserError, match=message) as caught:
        compress(make(), np.zeros((1, 32, 32, 4), "float32"))
    assert "\n" not in str(caught.value)


def test_no_images():
    with pytest.raises(UserError, match="needs images"):
        prune(small(keras.layers.Conv2D(2, 1)), np.zeros((0, 32, 32, 4), "float32"))


def test_divergence(rng):
    model = small(keras.layers.Conv2D(2, 1))
    colors = rng.normal(size=(8, 32, 32, 4)).astype("float32")
    with pytest.raises(UserError, match="diverged"):
        prune(model, colors * 1e20, Compression(epochs=1))


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


def test_without_the_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    for name in ("compression", "tfmot"):
        monkeypatch.delitem(sys.modules, f"tflite.{name}")
    assert exit_code(lambda: importlib.import_module("tflite.compression")) == 2
    message = "need tensorflow_model_optimization, which is not installed"
    assert message in capsys.readouterr().err.splitlines()[-1]
