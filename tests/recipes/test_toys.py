"""Tests that a data set and an attention kind are added by the files that CONTRIBUTING.md names alone."""

import sys
import types
from typing import Any

import keras
import numpy as np
import pytest

import sb_keras
from recipes.data.catalog import CATALOG, Entry
from recipes.data.split import Dataset
from recipes.data.tf_batches import Arrays
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from sb_keras import attention
from sb_keras.models import convolutions

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


# A data set: a module with a loader, and an entry in the catalog.


def load_stripes(data):
    """Vertical and horizontal stripes."""
    stripes = np.tile(np.arange(data.image_size) // 4 % 2 * 255, (data.image_size, 1)).astype("uint8")
    images = np.stack([stripes, stripes.T] * 40)[..., None].repeat(3, axis=-1)
    split = Arrays(images, np.tile(np.arange(2, dtype="int32"), 40))
    return Dataset(("vertical", "horizontal"), split, split, split)


@pytest.fixture
def stripes(monkeypatch):
    module: Any = types.ModuleType("recipes.data.stripes")
    module.load_stripes = load_stripes
    monkeypatch.setitem(sys.modules, "recipes.data.stripes", module)
    entry = Entry("recipes.data.stripes:load_stripes", "classification", ("pad_crop", "none"))
    monkeypatch.setitem(CATALOG, "stripes", entry)


def test_a_data_set(stripes, run_train, tmp_path):
    settings = ("data.name=stripes", "data.augmentation=none", "data.flip=false", "epochs=8")
    assert run_train(tmp_path / "run", *settings, "steps_per_epoch=4") == 0
    run = RunDirectory(tmp_path / "run")
    assert run.result["classes"] == ["vertical", "horizontal"]
    assert run.result["test_accuracy"] > 0.9


# An attention kind: its name and gate, its layer, and what the factory makes of it.


class Bias(keras.layers.Layer):
    """y = T(x) + b: a shift that does not look at the picture."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=(input_shape[0][-1],), initializer="ones", name="bias")

    def call(self, inputs):
        trunk, _ = inputs
        return trunk + self.bias

    def cost(self, input_shape):
        (_, height, width, channels), _ = input_shape
        return 0, height * width * channels, 0

    def fold(self, inputs, affine=None):
        trunk, _ = inputs
        scale = 1.0 if affine is None else affine.scale
        shift = keras.ops.reshape(keras.ops.convert_to_tensor(self.bias) * scale, (1, 1, 1, -1))
        return keras.layers.Rescaling(1.0, keras.ops.convert_to_numpy(shift), name=self.name)(trunk)


@pytest.fixture
def bias(monkeypatch):
    monkeypatch.setitem(attention._OWN_GATES, "bias", "linear")
    monkeypatch.setattr(attention, "KINDS", (*attention.KINDS, "bias"))
    monkeypatch.setitem(convolutions._ON_CONVOLUTIONS, "bias", lambda _, hidden_units, name: Bias(name=name))


def test_an_attention_kind(bias):
    recipe = RECIPES["digits-mobilenetv2-sb"].override(["model.attention.kind=bias"])
    model = recipe.model.build(32, 10)
    added = [layer for layer in model.layers if isinstance(layer, Bias)]
    assert len(added) == 3  # the block's convolutions
    static = sb_keras.profile(RECIPES["digits-mobilenetv2-static"].model.build(32, 10))
    costs = sb_keras.profile(model)
    channels = sum(layer.bias.shape[0] for layer in added)
    assert costs.total.parameters - static.total.parameters == channels
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    folded = sb_keras.fold(model)
    np.testing.assert_allclose(folded(images), model(images), atol=1e-5)  # float32 rounding
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
