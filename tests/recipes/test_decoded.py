"""Tests of `data.cache`: training pictures that are decoded once."""

import dataclasses
import os
import shutil

import numpy as np
import PIL.Image
import pytest
from folders import load, write_classes

from recipes import show
from recipes.command import exit_code
from recipes.data.decoded import Store
from recipes.errors import CannotWrite
from recipes.registry import find
from recipes.train import main

pytestmark = pytest.mark.long

SIZE = 32


def recipe_of(folder, cache=None):
    settings = [f"data.directory={folder}", f"data.image_size={SIZE}", "batch_size=4", "epochs=2"]
    return find("photos-mobilenetv2-static").override([*settings, f"data.cache={cache or 'none'}"])


def write_noise(folder, suffix=".png", shape=(60, 80), count=8):
    """Two classes of pictures that differ in every pixel."""
    generator = np.random.default_rng(0)
    for number in range(2 * count):
        path = folder / ("cat", "dog")[number % 2] / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = PIL.Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype="uint8"))
        rough.resize(shape[::-1]).save(path)


def pictures(dataset, recipe):
    batches = dataset.train.training_batches(recipe).as_numpy_iterator()
    return np.concatenate([images for images, _ in batches])


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_the_same_pictures(tmp_path, place):
    """Pixels of a PNG are the same whether a part of it is decoded or all of it was."""
    write_noise(tmp_path / "pictures")
    recipe = recipe_of(tmp_path / "pictures")
    dataset = load(tmp_path / "pictures", image_size=SIZE)
    expected = pictures(dataset, recipe)
    cache = "memory" if place == "memory" else str(tmp_path / "cache")
    cached = recipe_of(tmp_path / "pictures", cache)
    np.testing.assert_array_equal(pictures(dataset, cached), expected)
    if place == "folder":
        kept = {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*.npy")}
        assert len(kept) == len(dataset.train)
        np.testing.assert_array_equal(
            pictures(load(tmp_path / "pictures", image_size=SIZE), cached), expected
        )
        assert kept == {
            path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*") if path.is_file()
        }
    else:  # the files are not needed any more, nor by what was selected of the split
        for path in dataset.train.paths:
            os.unlink(path)
        np.testing.assert_array_equal(pictures(dataset, cached), expected)
        some = dataclasses.replace(dataset, train=dataset.train.select(slice(8)))
        assert len(pictures(some, cached)) == 16


def test_a_picture_that_changes_is_read_again(tmp_path):
    write_classes(tmp_path / "pictures", count=4)
    recipe = recipe_of(tmp_path / "pictures", tmp_path / "cache")
    before = pictures(load(tmp_path / "pictures", image_size=SIZE), recipe)
    for number, path in enumerate((tmp_path / "pictures").rglob("*.*")):
        PIL.Image.new("RGB", (50, 40), (200, 200, 200 + number)).save(path)
    after = pictures(load(tmp_path / "pictures", image_size=SIZE), recipe)
    assert before.mean() < 100 / 127.5 - 1  # of 50 and 100
    assert after.min() > 150 / 127.5 - 1  # of 200, and colors are changed by a fifth


def test_large_pictures_are_made_smaller(tmp_path):
    """To four times what training sees: of 4:3 the smallest crop, 8 %, has the area of the whole then."""
    write_noise(tmp_path / "pictures", shape=(600, 800), count=4)
    recipe = recipe_of(tmp_path / "pictures", tmp_path / "cache")
    pictures(load(tmp_path / "pictures", image_size=SIZE), recipe)
    for path in (tmp_path / "cache").rglob("*.npy"):
        assert np.load(path).shape == (96, 128, 3)
    np.testing.assert_allclose(0.08 * 96 * 128, SIZE**2, rtol=0.05)


def test_what_is_damaged_or_cannot_be_written(tmp_path, capsys):
    write_noise(tmp_path / "pictures", ".jpg")
    dataset = load(tmp_path / "pictures", image_size=SIZE)
    recipe = recipe_of(tmp_path / "pictures", tmp_path / "cache")
    expected = pictures(dataset, recipe)
    for path in (tmp_path / "cache").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_array_equal(pictures(dataset, recipe), expected)
    shutil.rmtree(tmp_path / "cache")  # and in its place a file: the pictures are decoded each time
    (tmp_path / "cache").write_text("")
    capsys.readouterr()
    np.testing.assert_array_equal(pictures(dataset, recipe), expected)
    complaints = capsys.readouterr().err.splitlines()
    assert len([line for line in complaints if line.startswith("data.cache: cannot write to ")]) == 1
    with pytest.raises(CannotWrite, match=r"^data\.cache: cannot write to "):
        pictures(load(tmp_path / "pictures", image_size=SIZE), recipe)


def test_what_only_looks_does_not_write(tmp_path):
    write_noise(tmp_path / "pictures")
    settings = [f"data.directory={tmp_path / 'pictures'}", f"data.image_size={SIZE}", "batch_size=4"]
    settings += [f"data.cache={tmp_path / 'cache'}", "model.weights=none", "model.width_multiplier=0.1"]
    options = [part for setting in settings for part in ("--set", setting)]
    recipe = "photos-mobilenetv2-static"
    arguments = [recipe, *options, "--run-dir", str(tmp_path / "run"), "--dry-run"]
    assert exit_code(lambda: main(arguments)) == 0
    assert exit_code(lambda: show.main([recipe, *options, "--out", str(tmp_path / "shown.png")])) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "shown.png"]


def test_each_picture_is_decoded_once(tmp_path, monkeypatch):
    write_noise(tmp_path / "pictures")
    kept, original = [], Store._keep
    monkeypatch.setattr(
        Store, "_keep", lambda self, path, pixels: kept.append(path) or original(self, path, pixels)
    )
    dataset = load(tmp_path / "pictures", image_size=SIZE)
    recipe = recipe_of(tmp_path / "pictures", "memory")
    pictures(dataset, recipe)
    # Not the list: one that the second epoch asks for while the first decodes it is decoded twice.
    assert set(kept) == set(dataset.train.paths)
    kept.clear()
    pictures(dataset, recipe)
    assert kept == []


@pytest.mark.parametrize(
    ("recipe", "cache", "message"),
    [
        ("photos-mobilenetv2-static", __file__, "data.cache must be memory or a folder. Received: "),
        ("photos-mobilenetv2-static", "inside", "data.cache must not be in "),
        ("cifar10-mobilenetv2-sb", "memory", "data.cache has no effect where data.name is cifar10"),
        ("voc-ssdlite-mobilenetv2-sb", "memory", "data.cache has no effect where data.name is voc"),
    ],
)
def test_wrong_input(recipe, cache, message, tmp_path, capsys):
    write_classes(tmp_path / "pictures", count=4)
    cache = tmp_path / "pictures" / "cache" if cache == "inside" else cache
    options = ["--set", f"data.cache={cache}", "--run-dir", str(tmp_path / "run")]
    if recipe.startswith("photos"):
        options += ["--set", f"data.directory={tmp_path / 'pictures'}"]
    assert exit_code(lambda: main([recipe, *options])) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
