"""Tests of data sets in TFRecord files: on a small one, and on ImageNet's 300 pictures where they are."""

import dataclasses
import functools
import io
import itertools
import os
import pathlib

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from example_records import FEATURES, jpeg, write

from recipes import data as data_sets
from recipes.data import records
from recipes.data.records import Records
from recipes.errors import UserError
from recipes.registry import RECIPES

pytestmark = pytest.mark.long

COUNT = 60
RECIPE = RECIPES["imagenet-mobilenetv2-sb"].override(["batch_size=8", "epochs=4", "data.image_size=32"])


@pytest.fixture
def records_of(tmp_path):
    """A function that writes 60 examples in three files, with the given pictures."""

    def records_of(pictures=jpeg):
        paths = [tmp_path / f"part-{part}" for part in range(3)]
        for part, path in enumerate(paths):
            write(path, range(20 * part, 20 * part + 20), pictures)
        return Records(tuple(map(str, paths)), (20, 20, 20), FEATURES)

    return records_of


def labels(batches):
    return [y.tolist() for _, y in batches.as_numpy_iterator()]


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


def test_in_order(records_of):
    split = records_of()
    batches = list(split.evaluation_batches(RECIPE.data, 25).as_numpy_iterator())
    assert [len(y) for _, y in batches] == [25, 25, 10]
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), np.arange(COUNT))
    np.testing.assert_array_equal(split.labels, np.arange(COUNT))
    images = np.concatenate([x for x, _ in batches])
    assert images.shape == (COUNT, 32, 32, 3)
    expected = (4 * np.arange(COUNT)[:, None] / 255 - RECIPE.data.mean) / RECIPE.data.std
    # A JPEG of quality 100 is off by a pixel value or two: 2 / 255 / 0.224.
    np.testing.assert_allclose(images, np.broadcast_to(expected[:, None, None], images.shape), atol=0.036)


def test_every_example_once_an_epoch_in_another_order_each(records_of, monkeypatch):
    monkeypatch.setattr(records, "BLOCK", 16)
    split = records_of()
    batches = labels(split.training_batches(RECIPE))
    assert len(batches) == 4 * 8  # 60 examples in batches of 8
    epochs = [flat(batches[8 * epoch : 8 * epoch + 8]) for epoch in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(COUNT))
    assert len(set(map(tuple, epochs))) == 4
    # Read from three files at once: each contributes to the first block of 16.
    assert {label // 20 for label in epochs[0][:16]} == {0, 1, 2}


def test_a_seed_decides_order_and_pixels(records_of):
    split = records_of()
    both = [list(split.training_batches(RECIPE).as_numpy_iterator()) for _ in range(2)]
    for (x, y), (other_x, other_y) in zip(*both, strict=True):
        np.testing.assert_array_equal(y, other_y)
        np.testing.assert_array_equal(x, other_x)
    other = RECIPE.override(["seed=1"])
    assert labels(split.training_batches(other)) != [y.tolist() for _, y in both[0]]


@pytest.mark.parametrize("steps", [None, 3])
def test_going_on_at_an_epoch_gives_the_same_batches(steps, records_of):
    split, recipe = records_of(), RECIPE.override([f"steps_per_epoch={steps}"])
    whole = list(split.training_batches(recipe).as_numpy_iterator())
    rest = list(split.training_batches(recipe, first_epoch=2).as_numpy_iterator())
    assert len(whole) == 4 * (steps or 8)
    for (x, y), (other_x, other_y) in zip(whole[len(whole) // 2 :], rest, strict=True):
        np.testing.assert_array_equal(y, other_y)
        np.testing.assert_array_equal(x, other_x)
    rest = list(split.training_batches(recipe, first_epoch=2, first_step=2).as_numpy_iterator())
    for (x, y), (other_x, other_y) in zip(whole[len(whole) // 2 + 2 :], rest, strict=True):
        np.testing.assert_array_equal(y, other_y)
        np.testing.assert_array_equal(x, other_x)


def test_select(records_of):
    split = records_of()
    assert split.select(slice(5)).labels.tolist() == [0, 1, 2, 3, 4]
    some = split.select(np.array([3, 50, 17]))
    assert len(some) == 3
    assert some.labels.tolist() == [3, 17, 50]
    assert some.select(slice(1, None)).labels.tolist() == [17, 50]
    assert sorted(flat(labels(some.training_batches(RECIPE.override(["batch_size=3"]))))) == sorted(
        4 * [3, 17, 50]
    )


def damaged(number):
    """Every kind of picture that a data set may have; numbers 7 and 30 are no pictures, 45 is cut off."""
    if number in (7, 30):
        return b"no picture"
    if number == 45:
        return jpeg(number)[:200]
    return jpeg(number)


def test_pictures_that_cannot_be_decoded(records_of, capsys):
    split = records_of(damaged)
    assert records.bad_pictures(split) == ["7.jpg", "30.jpg", "45.jpg"]
    rest = records.without_bad(split)
    assert len(rest) == COUNT - 3
    assert "3 pictures that cannot be read were skipped: 7.jpg; 30.jpg; 45.jpg" in capsys.readouterr().out
    for batches in (
        labels(rest.evaluation_batches(RECIPE.data, 10)),
        labels(rest.training_batches(RECIPE.override(["epochs=1"]))),
    ):
        assert sorted(flat(batches)) == sorted(set(range(COUNT)) - {7, 30, 45})


def test_bad_pictures_of_a_training_are_named(records_of):
    split = records_of(damaged)
    expected = r"there are pictures that cannot be read: 7\.jpg; 30\.jpg; 45\.jpg\. --set data\.skip_bad=true"
    with pytest.raises(UserError, match=expected), split.errors_named():
        labels(split.training_batches(RECIPE))


def test_labels_out_of_range(records_of):
    """As in files that some other program wrote: TFDS itself refuses to write them."""
    fewer = tfds.features.FeaturesDict({**FEATURES, "label": tfds.features.ClassLabel(num_classes=40)})
    split = dataclasses.replace(records_of(), features=fewer)
    for batches in (
        split.evaluation_batches(RECIPE.data, 10),
        split.training_batches(RECIPE),
    ):
        expected = r"^labels must be from 0 to 39\. Received: [45]\d for [45]\d\.jpg$"
        with pytest.raises(UserError, match=expected), split.errors_named():
            labels(batches)


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
@pytest.mark.parametrize("augmentation", ["random_resized_crop", "none"])
def test_every_kind_of_jpeg(mode, augmentation, records_of, tmp_path):
    def picture(number):
        path = tmp_path / f"{mode}.jpg"
        color = {"CMYK": (0, 0, 0, 127), "L": 128, "RGB": (128, 128, 128)}[mode]
        PIL.Image.new(mode, (40, 48), color).save(path, quality=100)
        return path.read_bytes()

    recipe = RECIPE.override([f"data.augmentation={augmentation}", "epochs=1"])
    (images, _), *_ = records_of(picture).training_batches(recipe).as_numpy_iterator()
    pixels = data_sets.to_pixels(images, recipe.data.mean, recipe.data.std)
    np.testing.assert_allclose(pixels, 128, atol=2)  # what JPEG loses


def test_imagenet_without_the_data(tmp_path, monkeypatch):
    data = RECIPE.data
    with pytest.raises(UserError, match="no such folder"):
        data_sets.load(RECIPE.override([f"data.directory={tmp_path}/nowhere"]).data)
    with pytest.raises(UserError, match=r"does not hold imagenet2012 as .* there is no .*imagenet2012/5"):
        data_sets.load(RECIPE.override([f"data.directory={tmp_path}"]).data)
    assert not list(tmp_path.iterdir())
    elsewhere = functools.partial(tfds.builder, data_dir=tmp_path)
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: elsewhere(name))
    with pytest.raises(UserError, match=r"cannot load imagenet2012 .* \(AssertionError: Manual directory"):
        data_sets.load(data)
    with pytest.raises(UserError, match=r"validation_fraction must be 0\. Received: 0\.1"):
        data_sets.load(RECIPE.override(["data.validation_fraction=0.1"]).data)
    assert data.name == "imagenet2012"


# The real pictures


@pytest.fixture(scope="module")
def imagenet():
    if not pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nowhere"), "imagenet2012").is_dir():
        pytest.skip("TFDS_DATA_DIR has no imagenet2012")
    return data_sets.load(RECIPES["imagenet-mobilenetv2-sb"].data)


def test_imagenet(imagenet):
    assert len(imagenet.classes) == 1000
    assert len(imagenet.train) >= 200
    assert len(imagenet.test) >= 100
    recipe = RECIPES["imagenet-mobilenetv2-sb"].override(["batch_size=16", "steps_per_epoch=2", "epochs=1"])
    batches = list(imagenet.train.training_batches(recipe).as_numpy_iterator())
    assert [(x.shape, y.shape) for x, y in batches] == [((16, 224, 224, 3), (16,))] * 2
    images = np.concatenate([x for x, _ in batches])
    # Normalized with the statistics of the whole set: 32 pictures of it are near mean 0 and deviation 1.
    assert abs(images.mean()) < 0.5
    assert 0.7 < images.std() < 1.4


def test_test_pictures_are_resized_and_cropped_as_pil_does(imagenet):
    """The paper's words, by another library; they decode and resize with other roundings."""
    first = imagenet.test.select(slice(4))
    data = RECIPES["imagenet-mobilenetv2-sb"].data
    ((images, _),) = first.evaluation_batches(data, 4).as_numpy_iterator()
    for image, example in zip(images, first.examples().as_numpy_iterator(), strict=True):
        path = pathlib.Path(example["file_name"].decode())
        assert path.suffix.lower() == ".jpeg"
        with PIL.Image.open(io.BytesIO(example["image"])) as picture:
            whole = picture.convert("RGB").resize((256, 256), PIL.Image.Resampling.BILINEAR)
        expected = np.asarray(whole.crop((16, 16, 240, 240)), "float32")
        pixels = data_sets.to_pixels(image, data.mean, data.std)
        # Chroma is upsampled differently by the two decoders, which shows at edges.
        assert np.abs(pixels - expected).mean() < 2


def test_a_calibration_does_not_read_the_whole_set(imagenet):
    from tflite.export import sampled_pixels

    images = sampled_pixels(imagenet, RECIPES["imagenet-mobilenetv2-sb"], count=5)
    assert images.shape == (5, 224, 224, 3)
