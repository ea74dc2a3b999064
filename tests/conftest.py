"""Settings of every test: a quiet TensorFlow, and the same random numbers each time."""

import functools
import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from few_blocks import few_blocks

from sb_keras.graph import inner_layers
from sb_keras.models.stages import Stage, as_model, conv_norm_relu, image_input, inverted_residuals


def pytest_collection_modifyitems(items):
    """Files that take long come first, so that no worker begins one when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="module", autouse=True)
def frozen_imports():
    """Has the garbage collector leave alone what is there before a module's tests.

    These are the hundreds of thousands of objects of TensorFlow, JAX and PyTorch: `keras.utils.clear_session`
    has all of them looked at, which took a search of hyperparameters two seconds a trial.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def networks_of_few_blocks():
    """As `few_blocks`, for the tests of a module that ask for it, and those behind them."""
    with few_blocks():
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def ten_images(rng):
    """Images that differ in color, contrast and pattern: a network should tell them apart."""
    color, contrast = rng.normal(size=(10, 1, 1, 3)), rng.uniform(0.1, 3.0, size=(10, 1, 1, 3))
    return (2 * color + contrast * rng.normal(size=(10, 32, 32, 3))).astype("float32")


@pytest.fixture
def randomize(rng, monkeypatch):
    """A function that makes of a new network one worth comparing: see its docstring."""

    def randomize(model, x):
        """Draws every weight anew, γ of either sign, so that the outputs for the examples `x` differ.

        Plain random numbers would not do: in a deep network most of them leave an output that hardly
        depends on the input, or one that multiplies the rounding by thousands.
        """
        for weight in model.weights:
            value = rng.normal(size=weight.shape)
            if weight.name == "kernel":
                value /= np.sqrt(np.prod(weight.shape[:-1]))
            elif weight.name == "gamma":
                value = np.sign(value) * rng.uniform(0.5, 1.5, weight.shape)
            elif weight.name == "temperature":
                value = 1.0
            if weight.name in ("lambda", "bias") or "excite_bn/gamma" in weight.path:
                value /= 3
            elif weight.name == "beta":
                value = 1 + value / 2  # ReLU6 cuts off some; were it half of everything, rounding would grow
            weight.assign(value)
        for norm in inner_layers(model):
            if isinstance(norm, keras.layers.BatchNormalization):
                monkeypatch.setattr(norm, "call", functools.partial(call_with_new_statistics, norm))
        model(x)
        monkeypatch.undo()
        for outputs in map(keras.ops.convert_to_numpy, keras.tree.flatten(model(x))):
            spread = outputs.std(axis=0).mean() / np.abs(outputs).max()
            assert spread > 0.03, f"the outputs hardly depend on the input: {spread:.3f} of their size"

    def call_with_new_statistics(norm, inputs, training=None, mask=None):
        """Gives a normalization statistics like those of what arrives, but not the same."""
        axes = tuple(range(len(inputs.shape) - 1))
        mean, variance = np.mean(inputs, axes), np.var(inputs, axes)
        norm.moving_mean.assign(mean + 0.3 * np.sqrt(variance) * rng.normal(size=mean.shape))
        # The mean, since a channel that hardly varies would multiply the rounding.
        norm.moving_variance.assign(variance * rng.uniform(0.5, 2.0, mean.shape) + variance.mean() / 4)
        return type(norm).call(norm, inputs)

    return randomize


@pytest.fixture
def randomize_moderately(rng):
    """A function that gives a new network statistics at which depth does not multiply the rounding."""

    def randomize_moderately(model):
        for weight in model.weights:
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            elif weight.name in ("beta", "moving_mean", "bias"):
                weight.assign(rng.normal(0, 0.3, weight.shape))
            elif weight.name == "lambda":
                weight.assign(rng.normal(0, 0.2, weight.shape))
            elif "excitation" in weight.path:
                weight.assign(10 * weight)  # of N(0, 0.01): the branch's say in the outputs

    return randomize_moderately


@pytest.fixture(scope="session")
def two_blocks():
    """A function that builds a network with all that a MobileNetV2 has: see its docstring."""

    def two_blocks(attention, input_shape=(32, 32, 3)):
        """Five logits through strides, a residual, and attention at every position."""
        inputs = image_input(input_shape, 1.0)
        x = conv_norm_relu(inputs, 8, 3, 2, name="stem")
        stages = [Stage(expand_ratio=2, filters=8, repeats=1, strides=1), Stage(2, 12, 1, 2, kernel_size=5)]
        x = inverted_residuals(x, stages, attention)
        return as_model(inputs, conv_norm_relu(x, 16, 1, 1, name="head"), True, 5, None, 0.2, "two_blocks")

    return two_blocks
