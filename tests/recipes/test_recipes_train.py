"""Tests that the network of each registered recipe trains; for wide ones, its narrow sibling does."""

import keras
import numpy as np
import pytest
from shapes import shapes

from recipes import data as data_sets
from recipes.registry import RECIPES
from recipes.tasks import task_of

NARROW = [name for name, recipe in RECIPES.items() if recipe.model.width_multiplier == 0.35]


@pytest.fixture(scope="module")
def images(cifar10_or_none):
    """Training images by data set; noise for CIFAR-10 where it is missing, which trains as well."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, size=(8, 32, 32, 3)), rng.integers(0, 10, size=8)
    noise = data_sets.Split(pixels.astype("uint8"), labels.astype("int32"))
    return {
        "digits": data_sets.load(RECIPES["digits-mobilenetv2-sb"].data).train,
        "cifar10": cifar10_or_none.train if cifar10_or_none else noise,
        "voc": shapes(),
    }


def test_every_data_set_and_kind_is_here():
    kinds = {(RECIPES[name].data.name, RECIPES[name].model.attention.kind) for name in NARROW}
    assert kinds == {(r.data.name, r.model.attention.kind) for r in RECIPES.values()}


@pytest.mark.parametrize("name", NARROW)
def test_trains(name, images):
    recipe = RECIPES[name].override(["batch_size=4", "steps_per_epoch=2", "epochs=1"])
    task = task_of(recipe)
    model = task.compiled_model(recipe, classes=10)
    model.run_eagerly = True  # compiling the graph takes longer than two steps without it
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    batches = task.training_batches(images[recipe.data.name], recipe)
    history = model.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for weight, old in zip(model.trainable_variables, before, strict=True):
        new = keras.ops.convert_to_numpy(weight)
        assert np.isfinite(new).all(), weight.path
        assert np.any(new != old) or not np.any(old), weight.path  # weight decay moves all but zeros
