"""Tests that the network of each registered recipe trains; for wide ones, its narrow sibling does."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from shapes import shapes

from recipes import data as data_sets
from recipes import train
from recipes.command import exit_code
from recipes.data.records import Records
from recipes.data.tf_batches import Arrays
from recipes.own import boxes, photos
from recipes.registry import RECIPES
from recipes.tasks import task_of

pytestmark = pytest.mark.long

# MnasNet and ShuffleNetV2 are there at ×0.5 only, and Tiny-ImageNet's are ImageNet's.
NARROW = [
    name
    for name, recipe in RECIPES.items()
    if recipe.model.width_multiplier == 0.35
    or (recipe.model.builder in ("MnasNet", "ShuffleNetV2") and recipe.data.name == "imagenet2012")
]
# They begin with ImageNet's weights: see test_photos.py.
# Those for one's own pictures have tests of their own.
OWN = [recipe.name for recipe in (*photos.RECIPES, *boxes.RECIPES)]
IMAGENET = [name for name, recipe in RECIPES.items() if recipe.data.name == "imagenet2012"]


def as_records(path, images):
    """The images as JPEG files in a TFRecord file, as TFDS has ImageNet."""
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=10),
            "file_name": tfds.features.Text(),
        }
    )
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, image in enumerate(images.astype("uint8")):
            example = {"image": image, "label": number, "file_name": f"{number}.jpg"}
            writer.write(features.serialize_example(example))
    return Records((str(path),), (len(images),), features)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Training images by data set; noise for CIFAR-10, which trains as well."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, size=(8, 32, 32, 3)), rng.integers(0, 10, size=8)
    noise = Arrays(pixels.astype("uint8"), labels.astype("int32"))
    return {
        "digits": data_sets.load(RECIPES["digits-mobilenetv2-sb"].data).train,
        "cifar10": noise,
        "tiny_imagenet": Arrays(pixels.astype("uint8").repeat(2, 1).repeat(2, 2), noise.labels),
        "voc": shapes(),
        "imagenet2012": as_records(tmp_path_factory.mktemp("records") / "eight", pixels),
    }


def test_every_data_set_and_kind_is_here():
    kinds = {(RECIPES[name].data.name, RECIPES[name].model.attention.kind) for name in NARROW}
    others = [recipe for name, recipe in RECIPES.items() if name not in OWN]
    assert kinds == {(recipe.data.name, recipe.model.attention.kind) for recipe in others}


def same_network_is_tried(recipe):
    """CIFAR-10's networks are the digits', Tiny-ImageNet's are ImageNet's: of each data set, SB suffices."""
    return recipe.data.name in ("cifar10", "tiny_imagenet") and recipe.model.attention.kind != "sb"


@pytest.mark.usefixtures("networks_of_few_blocks")  # parameters are counted elsewhere
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if same_network_is_tried(RECIPES[name]) else [])
        for name in NARROW
    ],
)
def test_trains(name, images):
    recipe = RECIPES[name].override(["batch_size=4", "steps_per_epoch=2", "epochs=1"])
    smaller = {"imagenet2012": "data.image_size=64", "voc": "data.image_size=160"}
    if recipe.data.name in smaller:
        recipe = recipe.override([smaller[recipe.data.name]])
    task = task_of(recipe)
    model = task.compiled_model(recipe, classes=10)
    model.run_eagerly = True  # compiling the graph takes longer than two steps without it
    before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    batches = images[recipe.data.name].training_batches(recipe)
    history = model.fit(batches, steps_per_epoch=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for weight, old in zip(model.trainable_variables, before, strict=True):
        new = keras.ops.convert_to_numpy(weight)
        assert np.isfinite(new).all(), weight.path
        assert np.any(new != old) or not np.any(old), weight.path  # weight decay moves all but zeros


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGENET)
def test_imagenet_from_end_to_end(name, tmp_path):
    """Twenty steps of eight of the pictures at hand, and all test pictures, through the program itself."""
    if not pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nowhere"), "imagenet2012").is_dir():
        pytest.skip("TFDS_DATA_DIR has no imagenet2012")
    settings = ("epochs=1", "steps_per_epoch=20", "batch_size=8")
    arguments = [name, "--run-dir", str(tmp_path / "run"), *(x for s in settings for x in ("--set", s))]
    assert exit_code(lambda: train.main(arguments)) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["classes"]) == 1000
    assert 0 <= result["test_accuracy"] <= 1
    assert np.isfinite(result["test_loss"])
