"""The same models on the JAX and PyTorch backends: the same outputs, and the same training step."""

import importlib.util
import os
import pathlib
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import run_on_backend
from few_blocks import few_blocks

import sb_keras
from sb_keras import layers
from sb_keras.graph import inner_layers

pytestmark = pytest.mark.long

SCRIPT = pathlib.Path(run_on_backend.__file__)
CHANNELS = 6


def on(layer):
    """A model of one layer; SB and SE have a convolution of the input as their trunk."""
    inputs = keras.Input((8, 7, CHANNELS))
    if isinstance(layer, layers.ShiftBalance | layers.SqueezeExcite):
        trunk = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
        return keras.Model(inputs, layer([trunk, inputs]))
    return keras.Model(inputs, layer(inputs))


def backbone(builder, attention):
    """XLA takes most of the time of this file, and as long for the fifth block of a kind as for the first."""
    with few_blocks():
        return builder((32, 32, 3), width_multiplier=0.1, attention=attention, classes=5, dropout=0.0)


LAYERS = {
    "batch_norm": lambda: on(layers.BatchNormalization()),
    "channel_shuffle": lambda: on(layers.ChannelShuffle(3)),
    "dynamic_pointwise": lambda: on(layers.DynamicConv2D(8, 1, hidden_units=5)),
    "dynamic_conv": lambda: on(layers.DynamicConv2D(8, 3, strides=2, hidden_units=5)),
    "condconv_valid": lambda: on(layers.DynamicConv2D(8, 3, padding="valid", gate="sigmoid", hidden_units=5)),
    "dynamic_depthwise": lambda: on(layers.DynamicDepthwiseConv2D(3, strides=2, hidden_units=5)),
    "excitation": lambda: on(layers.Excitation(8, 5)),
    **{f"sb_{gate}": lambda gate=gate: on(layers.ShiftBalance(5, gate)) for gate in ("tanh", "softmax")},
    "se": lambda: on(layers.SqueezeExcite(5)),
}
BACKBONES = {
    "mobilenet_v2": lambda: backbone(sb_keras.MobileNetV2, "sb"),
    "cifar_mobilenet_v2": lambda: backbone(sb_keras.CifarMobileNetV2, "se-block"),
    "mnasnet": lambda: backbone(sb_keras.MnasNet, "se"),
    "shufflenet_v2": lambda: backbone(sb_keras.ShuffleNetV2, "dyconv"),
}
TRAINED = [*(name for name in LAYERS if name != "channel_shuffle"), "mobilenet_v2", "shufflenet_v2"]


def run(backend, folder):
    # XLA's optimizations take longer than what they would speed up.
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(SCRIPT.parents[1]),
        "XLA_FLAGS": flags,
    }
    subprocess.run([sys.executable, SCRIPT, folder], env=environment, check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The models and their data, and what TensorFlow makes of them."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    for name, make in (LAYERS | BACKBONES).items():
        model = make()
        x = images(rng, model.input_shape[1:])
        if name in LAYERS:
            for weight in model.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        else:
            use_statistics_of(model, x)
        data: dict[str, Any] = {"x": x}
        if name in TRAINED:
            data["y"] = rng.normal(size=(5, *model.output_shape[1:])).astype("float32")
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", **data)
        run_on_backend.run(folder / f"{name}.keras")
    return folder


def images(rng, shape):
    """Of different colors and contrasts: the pooled features of plain noise would hardly differ."""
    color, contrast = rng.normal(size=(5, 1, 1, shape[-1])), rng.uniform(0.3, 3.0, size=(5, 1, 1, 1))
    return (color + contrast * rng.normal(size=(5, *shape))).astype("float32")


def use_statistics_of(model, x):
    """As training would; a network with its initial statistics gives all images the same output."""
    norms = [layer for layer in inner_layers(model) if isinstance(layer, layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(x, training=True)
    for norm in norms:
        norm.momentum = 0.9
        # A channel that hardly varies would multiply the rounding.
        norm.moving_variance.assign(norm.moving_variance + keras.ops.mean(norm.moving_variance) / 4)
    assert np.ptp(model(x), axis=0).max() > 0.005


@pytest.fixture(scope="module", params=["jax", "torch"])
def backend(request, folder):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    run(request.param, folder)
    return request.param


def results(folder, backend, name):
    return [dict(np.load(folder / f"{name}.{b}.npz")) for b in ("tensorflow", backend)]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_tensorflows(folder, backend, name):
    """The output, the loss of a training step, and all weights after it."""
    expected, actual = results(folder, backend, name)
    assert set(actual) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(actual[key], value, rtol=1e-4, atol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_equal_tensorflows(folder, backend, name):
    expected, actual = results(folder, backend, name)
    # Rounding, through some hundred layers.
    np.testing.assert_allclose(actual["output"], expected["output"], rtol=1e-4, atol=1e-5)
    if name in TRAINED:
        # In training five images are normalized by their own statistics, on maps of one pixel in the end:
        # that multiplies the rounding in every layer, so that the weights after the step tell nothing.
        np.testing.assert_allclose(actual["loss"], expected["loss"], rtol=0.03)
        assert all(np.isfinite(value).all() for value in actual.values())
