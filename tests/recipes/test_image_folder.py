"""Tests of the data set of users' own pictures: folders of PNG, JPEG and other files."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from folders import load, write_classes, write_picture

from recipes.recipe import Recipe
from recipes.settings import Data

pytestmark = pytest.mark.long

ROOT = pathlib.Path(__file__).parents[2]


def pixels(split, size=32):
    data = Data(image_size=size, mean=(0, 0, 0), std=(1, 1, 1))
    batches = split.evaluation_batches(data, 4).as_numpy_iterator()
    return np.concatenate([images for images, _ in batches]) * 255


def test_a_folder_a_class(tmp_path):
    write_classes(tmp_path)
    dataset = load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert (len(dataset.train), len(dataset.test)) == (16, 4)
    assert dataset.validation is dataset.test
    assert not set(dataset.train.paths) & set(dataset.test.paths)
    for split in (dataset.train, dataset.test):
        assert np.bincount(split.labels).tolist() == [len(split) / 2] * 2
        expected = np.broadcast_to(50 * (split.labels[:, None, None, None] + 1), (len(split), 32, 32, 3))
        np.testing.assert_allclose(pixels(split), expected, atol=1e-3)  # float32


def test_the_split_is_always_the_same(tmp_path):
    write_classes(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).test.paths, load(tmp_path).test.paths)


def test_validation_fraction(tmp_path):
    write_classes(tmp_path)
    dataset = load(tmp_path, validation_fraction=0.25)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [12, 4, 4]
    parts = [set(s.paths) for s in (dataset.train, dataset.validation, dataset.test)]
    assert len(set.union(*parts)) == 20


def test_train_validation_and_test_folders(tmp_path):
    for name, count in (("train", 3), ("validation", 2), ("test", 1)):
        write_classes(tmp_path / name, count=count)
    dataset = load(tmp_path)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [6, 4, 2]
    assert all(b"/validation/" in path for path in dataset.validation.paths)
    assert dataset.classes == ("cat", "dog")


def test_own_validation_pictures_are_used(tmp_path):
    """None are held out of the training then; without a test folder they are the test, and some are."""
    for name, count in (("train", 8), ("valid", 3), ("test", 2)):
        write_classes(tmp_path / "all" / name, count=count)
        write_classes(tmp_path / "two" / name, count=count)
    sizes = [len(split) for split in load(tmp_path / "all", validation_fraction=0.25).parts.values()]
    assert sizes == [16, 6, 4]
    shutil.rmtree(tmp_path / "two" / "test")
    sizes = [len(split) for split in load(tmp_path / "two", validation_fraction=0.25).parts.values()]
    assert sizes == [12, 4, 6]


def test_classes_that_are_nearly_the_same(tmp_path, capsys):
    write_classes(tmp_path, ("Cat", "cat", "dog"), count=4)
    assert load(tmp_path).classes == ("Cat", "cat", "dog")
    assert "though their names are nearly the same: Cat, cat" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["validation", "test"])
def test_one_of_validation_and_test_serves_for_both(name, tmp_path):
    write_classes(tmp_path / "train", count=3)
    write_classes(tmp_path / name, count=1)
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.validation.paths, dataset.test.paths)
    assert len(dataset.test) == 2


def test_every_kind_of_picture(tmp_path):
    """Grey, with alpha, of any size and shape, JPEG, with any name, in a folder within the folder."""
    write_classes(tmp_path, count=4)
    write_picture(tmp_path / "cat" / "grey.png", 50, channels=1)
    write_picture(tmp_path / "cat" / "alpha.png", 50, channels=4)
    write_picture(tmp_path / "cat" / "more" / "wide.jpg", 50, height=10, width=300)
    write_picture(tmp_path / "cat" / "GREY.JPEG", 50, channels=1)
    write_picture(tmp_path / "cat" / "Kätzchen 猫.png", 50)
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    (tmp_path / "cat" / "._0.png").write_text("macOS writes such files")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    dataset = load(tmp_path)
    assert len(dataset.train) + len(dataset.test) == 13
    for split in (dataset.train, dataset.test):
        images = pixels(split, size=48)
        assert images.shape[1:] == (48, 48, 3)
        expected = 50.0 * (split.labels[:, None, None, None] + 1)
        np.testing.assert_allclose(images, np.broadcast_to(expected, images.shape), atol=2)  # JPEG's rounding


def test_no_picture_is_left_out_in_silence(tmp_path, capsys):
    """Formats that TensorFlow lacks are pictures too; what is used and what is not is said in one line."""
    write_classes(tmp_path, count=4)
    image = PIL.Image.fromarray(np.full((40, 40, 3), 50, "uint8"))
    palette = image.quantize(4)
    palette.save(tmp_path / "cat" / "palette.bmp")
    for name in ("a.webp", "b.tif", "c.TIFF", "d.avif", "e.jfif"):
        image.save(tmp_path / "cat" / name, "JPEG" if name == "e.jfif" else None)
    for name in ("notes.txt", "labels.xml", "clip.mp4", "IMG_0001"):
        (tmp_path / "cat" / name).write_text("not a picture")
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "dog" / ".ipynb_checkpoints").mkdir()
    write_picture(tmp_path / "dog" / ".ipynb_checkpoints" / "0-checkpoint.png")
    write_picture(tmp_path / "loose.png")
    dataset = load(tmp_path)
    splits = (dataset.train, dataset.test)
    assert np.bincount(np.concatenate([split.labels for split in splits])).tolist() == [10, 4]
    for split in splits:
        images = pixels(split)
        expected = 50.0 * (split.labels[:, None, None, None] + 1)
        np.testing.assert_allclose(images, np.broadcast_to(expected, images.shape), atol=3)  # lossy formats
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"left out of {tmp_path}: ")
    assert "4 no pictures by their suffix (cat/" in line
    assert "2 hidden (__MACOSX, dog/.ipynb_checkpoints)" in line
    assert "1 outside the class folders (loose.png)" in line


def test_folders_that_are_links(tmp_path):
    """Pictures below a link count; a link to a folder above does not go on for ever."""
    write_classes(tmp_path / "data", count=4)
    write_picture(tmp_path / "elsewhere" / "more.png", 50)
    (tmp_path / "data" / "cat" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data" / "cat")
    dataset = load(tmp_path / "data")
    assert len(dataset.train) + len(dataset.test) == 9


def test_names_that_are_not_utf8(tmp_path, capsys):
    write_classes(tmp_path, count=4)
    strange = os.fsencode(tmp_path / "cat") + b"/\xe9t\xe9"
    os.rename(tmp_path / "cat" / "0.png", strange + b".png")
    os.rename(tmp_path / "cat" / "1.png", strange + b".txt")
    dataset = load(tmp_path)
    assert sum(len(pixels(split)) for split in (dataset.train, dataset.test)) == 7
    assert r"(cat/\xe9t\xe9.txt)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names",
    [("Train", "Test"), ("training", "testing"), ("TRAIN", "Valid", "Test"), ("train", "val", "test")],
)
def test_names_of_split_folders(names, tmp_path):
    for number, name in enumerate(names):
        write_classes(tmp_path / name, count=3 - number)
    dataset = load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) == 6
    assert all(f"/{names[-1]}/".encode() in path for path in dataset.test.paths)
    assert all(f"/{names[1]}/".encode() in path for path in dataset.validation.paths)


def test_folders_of_the_same_names_in_every_class_are_told(tmp_path, capsys):
    """`fold1/cat`, `fold1/dog`, `fold2/cat`, …: which are the classes?"""
    for name, count in (("fold1", 5), ("fold2", 9)):  # of those that are in both one is none
        write_classes(tmp_path / name, count=count)
    data = load(tmp_path)
    assert data.classes == ("fold1", "fold2")
    message = "the classes are fold1, fold2, though each of their folders holds cat, dog: if those are the"
    assert message in capsys.readouterr().out


def test_what_lies_beside_the_folders_of_splits_is_told(tmp_path, capsys):
    for name in ("train", "test"):
        write_classes(tmp_path / name)
    write_picture(tmp_path / "loose.png")
    load(tmp_path)
    assert "1 outside the class folders (loose.png)" in capsys.readouterr().out


def test_a_class_called_train(tmp_path):
    write_classes(tmp_path, ("bus", "test", "train"))
    assert load(tmp_path).classes == ("bus", "test", "train")


def test_training_batches(tmp_path):
    write_classes(tmp_path, count=5)
    data = Data("image_folder", directory=str(tmp_path), mean=(0, 0, 0), std=(1, 1, 1), pad=0)
    recipe = Recipe("test", data=data, batch_size=3, epochs=1)
    for images, labels in load(tmp_path).train.training_batches(recipe).as_numpy_iterator():
        np.testing.assert_allclose(images[:, 0, 0, 0] * 255, 50 * (labels + 1), atol=1e-3)


MILLION = """
import numpy as np
import tensorflow as tf
from recipes.data.image_folder import Files
from recipes.registry import find

def resident():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1000

tf.zeros(1)
recipe = find("photos-mobilenetv2-static").override(["data.directory=none"])
before = resident()
paths = np.array([b"/home/me/pictures/train/class-%04d/%08d.jpg" % (n % 1000, n) for n in range(1_000_000)])
split = Files(paths, np.arange(1_000_000, dtype="int32") % 1000)
batches = split.training_batches(recipe)
print(resident() - before)
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="the system has no /proc")
def test_a_million_pictures_take_less_than_200_megabytes():
    done = subprocess.run([sys.executable, "-c", MILLION], cwd=ROOT, capture_output=True, text=True)
    assert float(done.stdout) < 200, done.stderr


def test_random_resized_crop(tmp_path):
    """Of pictures of one color, every part is of that color; the same seed gives the same parts."""
    write_classes(tmp_path, count=5)
    settings = {"augmentation": "random_resized_crop", "mean": (0, 0, 0), "std": (1, 1, 1)}
    data = Data("image_folder", directory=str(tmp_path), **settings)
    recipe, split = Recipe("test", data=data, batch_size=3, epochs=1), load(tmp_path, **settings).train
    for images, labels in split.training_batches(recipe).as_numpy_iterator():
        assert images.shape[1:] == (32, 32, 3)
        expected = np.broadcast_to(50 * (labels[:, None, None, None] + 1), images.shape)
        np.testing.assert_allclose(images * 255, expected, atol=1e-3)  # float32
