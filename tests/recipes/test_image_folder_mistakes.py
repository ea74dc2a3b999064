"""Tests of folders of pictures that cannot be used as they are: damaged files, wrong layouts."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from folders import load, write_classes, write_picture

from recipes import data as data_sets
from recipes.errors import UserError
from recipes.settings import Data
from recipes.tasks import TASKS


def test_damaged_pictures_are_named(tmp_path):
    write_classes(tmp_path)
    whole = tf.io.encode_jpeg(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype("uint8")).numpy()
    (tmp_path / "cat" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "empty.png").write_bytes(b"")
    (tmp_path / "dog" / "text.png").write_text("no picture at all")
    with pytest.raises(UserError, match="there are pictures that cannot be read") as error:
        load(tmp_path)
    message = str(error.value)
    assert all(name in message for name in ("truncated.jpg", "empty.png", "text.png"))
    assert "0.png" not in message
    assert "\n" not in message


def test_of_many_damaged_pictures_five_are_named(tmp_path):
    write_classes(tmp_path)
    for number in range(8):
        (tmp_path / "cat" / f"bad{number}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"bad4.png .* and 3 more\. --set data\.skip_bad=true leaves"):
        load(tmp_path)


def test_damaged_pictures_are_left_out_if_asked_to(tmp_path, capsys):
    write_classes(tmp_path, count=5)
    (tmp_path / "cat" / "0.png").write_bytes(b"")
    (tmp_path / "dog" / "extra.jpg").write_text("no picture at all")
    dataset = load(tmp_path, skip_bad=True)
    assert len(dataset.train) + len(dataset.test) == 9
    assert sorted(np.concatenate([dataset.train.labels, dataset.test.labels]).tolist()) == [0] * 4 + [1] * 5
    assert "2 pictures that cannot be read were skipped" in capsys.readouterr().out


def test_a_class_of_damaged_pictures_only(tmp_path):
    write_classes(tmp_path, count=3)
    for path in (tmp_path / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="cat has no pictures"):
        load(tmp_path, skip_bad=True)


def test_no_directory():
    with pytest.raises(UserError, match=r"data\.directory=FOLDER"):
        data_sets.load(Data("image_folder"))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "at least two classes. Received: none"),
        (lambda root: write_classes(root, classes=("cat",)), "at least two classes. Received: cat"),
        (lambda root: write_picture(root / "loose.png"), "at least two classes"),
        (lambda root: (write_classes(root), (root / "eel").mkdir()), "eel has no pictures .*png"),
        (lambda root: write_classes(root, count=1), "class 'cat' has too few images .1."),
        (lambda root: write_classes(root / "train"), "has a 'train' folder but neither 'test' nor"),
        (
            lambda root: [write_classes(root / name) for name in ("train", "val", "validation")],
            "must have one folder of validation pictures. Received: val and validation",
        ),
        (
            lambda root: [write_classes(root / name) for name in ("Train", "test", "extra")],
            "not both. Received: Train, test, beside them extra",
        ),
        (
            lambda root: [write_classes(root / name) for name in ("test", "val")],
            "has val and test, with folders of their own, but no folder 'train'",
        ),
        (
            lambda root: (write_classes(root / "train"), write_classes(root / "test", ("cat", "dogs"))),
            r"test has classes that the training images lack: dogs\. Did you mean dog\?",
        ),
        (
            lambda root: (
                write_classes(root / "train", ("a", "b", "c")),
                write_classes(root / "test", ("a", "b")),
            ),
            "c has no pictures",
        ),
    ],
)
def test_refused_layouts(prepare, message, tmp_path):
    prepare(tmp_path)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_no_such_folder(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(UserError, match=f"(no such folder: |must be a folder; give that of ).*{name}"):
            load(tmp_path / name)


def test_a_model_of_other_classes_is_refused(tmp_path):
    write_classes(tmp_path)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(UserError, match="trained with 3 classes; the data have 2 now: cat, dog"):
        TASKS["classification"].check_classes(load(tmp_path), model, None)


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_names_of_classes_that_no_file_can_hold(name, tmp_path):
    write_classes(tmp_path)
    os.rename(tmp_path / "cat", os.path.join(os.fsencode(tmp_path), name))
    with pytest.raises(UserError, match=r"must be one line of UTF-8\. Received: '(caf|two)\S+', in "):
        load(tmp_path)
