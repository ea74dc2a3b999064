"""Tests of a detection recipe's pictures: checks of boxes, batches, VOC through tensorflow-datasets."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from recipes.data import load, objects
from recipes.data.catalog import CATALOG
from recipes.errors import UserError
from recipes.registry import RECIPES
from sb_keras import detection

pytestmark = pytest.mark.long

RECIPE = RECIPES["voc-ssdlite-mobilenetv2-sb"]
PLAIN = ["data.augmentation=none", "batch_size=2", "epochs=2"]


def png(rng, height=40, width=60):
    return tf.io.encode_png(rng.integers(0, 256, size=(height, width, 3)).astype("uint8")).numpy()


@pytest.fixture
def split(rng):
    boxes = [[(0.1, 0.2, 0.6, 0.8)], [], [(0, 0, 1, 1), (0.5, 0.5, 0.7, 0.9)]]
    return objects.objects_of(
        ["a.jpg", "b.jpg", "c.jpg"],
        [png(rng) for _ in boxes],
        boxes,
        [[3], [], [0, 19]],
        [[0], [], [1, 0]],
        20,
    )


def test_padding(split):
    assert len(split) == 3
    assert split.labels.tolist() == [[3, -1], [-1, -1], [0, 19]]
    assert split.difficult.tolist() == [[False, False], [False, False], [True, False]]
    np.testing.assert_allclose(split.boxes_yxyx[0], [[0.1, 0.2, 0.6, 0.8], [0, 0, 0, 0]])
    assert split.select(slice(1, 3)).names.tolist() == ["b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    ("box", "label", "message"),
    [
        ((0.1, np.nan, 0.5, 0.5), 0, "must be finite"),
        ((0.1, 0.1, 1.2, 0.5), 0, "must lie inside the picture"),
        ((-0.1, 0.1, 0.2, 0.5), 0, "must lie inside the picture"),
        ((0.5, 0.1, 0.5, 0.5), 0, "must have a width and a height above 0"),
        ((0.1, 0.5, 0.5, 0.1), 0, "must have a width and a height above 0"),
        ((1.0, 0.1, 1.005, 0.5), 0, "must overlap the picture, and lies outside of it"),
        ((0.1, 0.1, 0.5, 0.5), 20, "the label must be from 0 to 19"),
        ((0.1, 0.1, 0.5, 0.5), -1, "the label must be from 0 to 19"),
    ],
)
def test_bad_objects_are_named(box, label, message):
    with pytest.raises(UserError, match=rf"picture\.jpg, object 2 \(label {label}, box .*\): .*{message}"):
        objects.objects_of(["picture.jpg"], [b""], [[(0, 0, 1, 1), box]], [[0, label]], [[False, False]], 20)


def test_what_rounding_makes_stick_out_is_cut_off(capsys):
    boxes = [[(-0.005, 0, 1.005, 1), (0, 0, 0.5, 0.5)]]
    split = objects.objects_of(["a.jpg"], [b""], boxes, [[0, 1]], [[False, False]], 20)
    assert split.boxes_yxyx[0].tolist() == [[0, 0, 1, 1], [0, 0, 0.5, 0.5]]
    assert "stick out of their pictures were cut off there: 1 of 2\n" in capsys.readouterr().out


def test_training_batches(split):
    recipe = RECIPE.override(PLAIN)
    batches = list(split.training_batches(recipe).as_numpy_iterator())
    assert [len(images) for images, _ in batches] == [2, 1, 2, 1]
    images, targets = batches[0]
    assert images.shape == (2, 300, 300, 3)
    assert (targets["classes"].shape, targets["boxes"].shape) == ((2, 3000), (2, 3000, 5))
    found = [set(row[row > 0]) for _, each in batches for row in each["classes"]]
    # 4 is class 3, 20 class 19; the difficult object of class 0 is not learned.
    assert {frozenset(each) for each in found} == {frozenset(), frozenset({4}), frozenset({20})}


def test_pictures_of_another_size(split):
    data = RECIPE.override(["data.image_size=192"]).data
    ((images, targets),) = split.evaluation_batches(data, 3).as_numpy_iterator()
    anchors = detection.ssdlite_anchors((192, 192, 3))
    assert images.shape == (3, 192, 192, 3)
    expected = detection.match(split.boxes_yxyx[0], split.labels[0], anchors)
    np.testing.assert_array_equal(targets["classes"][0], expected["classes"])
    recipe = RECIPE.override(["data.image_size=192", "batch_size=3"])  # augmented
    images, targets = next(split.training_batches(recipe).as_numpy_iterator())
    assert images.shape == (3, 192, 192, 3)
    assert targets["boxes"].shape == (3, len(anchors), 5)


def test_the_recipes_sizes_are_the_detectors():
    for size in CATALOG["voc"].image_sizes or ():
        detection.ssdlite_anchors((size, size, 3))


def test_targets_are_those_of_the_boxes(split):
    ((_, targets),) = split.evaluation_batches(RECIPE.data, 3).as_numpy_iterator()
    expected = detection.match(split.boxes_yxyx[0], split.labels[0], detection.ssdlite_anchors())
    np.testing.assert_array_equal(targets["classes"][0], expected["classes"])
    np.testing.assert_allclose(targets["boxes"][0], expected["boxes"], atol=1e-5)  # a graph rounds otherwise


def test_images_are_resized_and_normalized(split):
    ((images, _),) = split.evaluation_batches(RECIPE.data, 3).as_numpy_iterator()
    pixels = tf.io.decode_png(split.images[1]).numpy().astype("float32")
    expected = (tf.image.resize(pixels, (300, 300)) - 127) / 128
    np.testing.assert_allclose(images[1], expected, atol=1e-5)  # float32


@pytest.mark.parametrize("augmentation", ["ssd", "none"])
def test_going_on_gives_the_same_batches(split, augmentation):
    recipe = RECIPE.override([*PLAIN, f"data.augmentation={augmentation}"])
    whole = list(split.training_batches(recipe).as_numpy_iterator())
    rest = list(split.training_batches(recipe, first_epoch=1, first_step=1).as_numpy_iterator())
    for (images, targets), (expected, expected_targets) in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(targets["boxes"], expected_targets["boxes"])


def test_what_voc_needs():
    data = RECIPE.override(["data.train_splits="]).data
    with pytest.raises(UserError, match=r"data\.train_splits must name splits"):
        load(data)
    names = "2007/train, 2007/validation, 2007/test, 2012/train, 2012/validation"
    for wrong in ("train", "2012/val", "2012/train+test", "2010/train"):
        data = RECIPE.override([f"data.train_splits={wrong}"]).data
        with pytest.raises(UserError) as error:
            load(data)
        assert str(error.value) == f"data.train_splits must be made of {names}. Received: {wrong}"


def test_voc_without_the_data(tmp_path, monkeypatch):
    """Nothing is written into a folder that is no data set's."""
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"does not hold voc/2007 as .* there is no .*voc/2007/"):
        load(RECIPE.override([f"data.directory={tmp_path}"]).data)
    assert [path.name for path in tmp_path.iterdir()] == ["cat"]
    monkeypatch.setattr("tensorflow_datasets.builder", lambda *_, **__: 1 / 0)
    with pytest.raises(
        UserError, match=r"cannot load voc/2007/train\+validation through tensorflow-datasets"
    ):
        load(RECIPE.override([f"data.directory={tmp_path}"]).data)
    with pytest.raises(UserError, match="no such folder"):
        load(RECIPE.override([f"data.directory={tmp_path / 'nowhere'}"]).data)


def test_pictures_that_cannot_be_decoded_are_named(split):
    split.images[1] = split.images[1][:100]
    with pytest.raises(UserError, match=r"there are pictures that cannot be read: b\.jpg"):
        objects.readable(split)
    good = objects.readable(split, skip_bad=True)
    assert good.names.tolist() == [name for name in split.names if name != "b.jpg"]


@pytest.fixture(scope="module")
def voc():
    directory = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nowhere"), "voc")
    if not directory.is_dir():
        pytest.skip("needs PASCAL VOC in TFDS_DATA_DIR")
    small = ["data.train_splits=2007/train+validation,2007/test[:2]", "data.test_splits=2007/test"]
    return RECIPE.override(small)


def test_voc(voc):
    dataset = load(voc.data)
    assert dataset.classes[:3] == ("aeroplane", "bicycle", "bird")
    assert len(dataset.classes) == 20
    assert dataset.validation is dataset.test
    labels, boxes = dataset.test.labels, dataset.test.boxes_yxyx[dataset.test.labels >= 0]
    assert np.all((labels >= -1) & (labels < 20))
    assert np.all(boxes[:, :2] < boxes[:, 2:])


def test_validation_pictures_are_held_out(voc):
    everything = load(voc.data)
    dataset = load(voc.override(["data.validation_fraction=0.3"]).data)
    names = [*dataset.train.names, *dataset.validation.names]
    assert len(dataset.validation) == round(0.3 * len(everything.train))
    assert sorted(names) == sorted(everything.train.names)
