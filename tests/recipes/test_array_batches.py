"""Tests of the batches for Keras's other backends, and of reading TFDS's files without TensorFlow."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from recipes.data import tf_batches, tfds_arrays
from recipes.data.array_batches import Arrays, pad_crop_flip
from recipes.registry import RECIPES

pytestmark = pytest.mark.long

COUNT = 23
RECIPE = RECIPES["digits-mobilenetv2-sb"].override(
    ["batch_size=5", "epochs=4", "data.flip=true", "data.pad=2"]
)


@pytest.fixture
def split(rng):
    """Images whose labels are their numbers."""
    return Arrays(rng.integers(1, 256, (COUNT, 32, 32, 3)).astype("uint8"), np.arange(COUNT, dtype="int32"))


def test_augmentation_is_a_crop_of_the_zero_padded_image_perhaps_mirrored(rng, split):
    """Each image on its own; every corner and both directions occur."""
    padded = np.pad(split.images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    seen = set()
    for _ in range(40):
        for number, image in enumerate(pad_crop_flip(split.images, rng, 2, True)):
            found = [
                (top, left, flipped)
                for top in range(5)
                for left in range(5)
                for flipped in (False, True)
                if np.array_equal(
                    image[:, ::-1] if flipped else image, padded[number, top : top + 32, left : left + 32]
                )
            ]
            assert len(found) == 1
            seen.update(found)
    assert len(seen) == 50
    np.testing.assert_array_equal(pad_crop_flip(split.images, rng, 0, False), split.images)


def test_training_batches(split):
    """Every image once an epoch, in another order each; the last batch is smaller."""
    whole = list(split.training_batches(RECIPE))
    epochs = [whole[start : start + 5] for start in range(0, 20, 5)]
    orders = [np.concatenate([labels for _, labels in epoch]) for epoch in epochs]
    for order in orders:
        assert sorted(order) == list(range(COUNT))
    assert len({tuple(order) for order in orders}) == 4
    assert [len(labels) for _, labels in epochs[0]] == [5, 5, 5, 5, 3]
    assert {images.dtype for images, _ in whole} == {np.dtype("float32")}


def test_images_stay_with_their_labels(split):
    recipe = RECIPE.override(["data.augmentation=none", "data.flip=false", "steps_per_epoch=2"])
    some = list(split.training_batches(recipe))
    assert len(some) == 8
    for images, labels in some:
        np.testing.assert_allclose(images, split.images[labels] / 127.5 - 1, atol=1e-6)  # float32


@pytest.mark.parametrize("first_step", [0, 2])
def test_going_on_gives_the_same_batches(split, first_step):
    whole = list(split.training_batches(RECIPE))
    rest = list(split.training_batches(RECIPE, 3, first_step))
    assert len(rest) == 5 - first_step
    for (images, labels), (others, other_labels) in zip(whole[first_step - 5 :], rest, strict=True):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)


def test_seeds_differ(split):
    (images, labels), *_ = split.training_batches(RECIPE)
    (others, other_labels), *_ = split.training_batches(RECIPE.override(["seed=1"]))
    assert not np.array_equal(labels, other_labels)
    assert not np.array_equal(images, others)


def test_evaluation_batches_are_those_of_tensorflow(split):
    ours = split.evaluation_batches(RECIPE.data, 10)
    theirs = list(
        tf_batches.Arrays(split.images, split.labels).evaluation_batches(RECIPE.data, 10).as_numpy_iterator()
    )
    assert len(ours) == len(theirs) == 3
    for (images, labels), (others, other_labels) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(images, others, atol=1e-6)  # float32's rounding at 1
        np.testing.assert_array_equal(labels, other_labels)


class Numbered(tfds.core.GeneratorBasedBuilder):
    """A data set of noise."""

    VERSION = tfds.core.Version("1.0.0")
    IMAGES = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3)).astype("uint8")

    def _info(self):
        image = tfds.features.Image(shape=(32, 32, 3), encoding_format="png")
        label = tfds.features.ClassLabel(names=["a", "b"])
        features = tfds.features.FeaturesDict({"image": image, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 5), "test": self._generate_examples(5, 7)}

    def _generate_examples(self, start, stop):
        for number in range(start, stop):
            yield number, {"image": self.IMAGES[number], "label": number % 2}


def test_tfds_without_tensorflow(tmp_path):
    """The same images with the same labels as `tfds.load`, and no file of TFDS's is touched."""
    loaded = tfds.load("numbered", data_dir=tmp_path, batch_size=-1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    classes, splits = tfds_arrays.load_arrays("numbered", tmp_path)
    assert classes == ("a", "b")
    for name, (images, labels) in splits.items():
        np.testing.assert_array_equal(images, loaded[name]["image"].numpy())
        np.testing.assert_array_equal(labels, loaded[name]["label"].numpy())
    assert sorted(map(len, splits["train"])) == [5, 5]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_cifar10(cifar10_or_none):
    if cifar10_or_none is None:
        pytest.skip("TFDS_DATA_DIR has no cifar10")
    classes, splits = tfds_arrays.load_arrays("cifar10", os.environ["TFDS_DATA_DIR"])
    assert classes == cifar10_or_none.classes
    for name in ("train", "test"):
        split = getattr(cifar10_or_none, name)
        np.testing.assert_array_equal(splits[name][0], split.images)
        np.testing.assert_array_equal(splits[name][1], split.labels)


def test_records(tmp_path):
    contents = [b"", b"one", bytes(range(256)) * 9]
    path = str(tmp_path / "x.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for content in contents:
            writer.write(content)
    assert list(tfds_arrays.tfrecords(path)) == contents
    whole = (tmp_path / "x.tfrecord").read_bytes()
    for length in (5, 13, len(whole) - 5, len(whole) - 1):
        (tmp_path / "x.tfrecord").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"x\.tfrecord is cut off"):
            list(tfds_arrays.tfrecords(path))
