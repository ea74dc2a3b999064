"""Tests that a training on TensorFlow's batches is the same on Keras's other backends: it can go on there."""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tiny
from few_blocks import few_blocks
from labelled import CLASSES, picture, write_coco

from recipes import train
from recipes.command import exit_code
from recipes.run_directory import RunDirectory

pytestmark = pytest.mark.long

# Without random numbers of Keras's own, which every backend draws otherwise.
SETTINGS = ("epochs=2", "steps_per_epoch=2", "batch_size=4", "model.width_multiplier=0.1", "model.dropout=0")
BOXES = (
    *("model.weights=none", "data.name=coco", "data.image_size=160"),
    *("data.mean=0.5,0.5,0.5", "data.std=0.5,0.5,0.5"),
)
PROGRAM = f"""
import sys
sys.path[:0] = [{str(tiny.ROOT)!r}, {str(tiny.ROOT / "tests")!r}, {str(tiny.ROOT / "tests" / "recipes")!r}]
from test_other_backends import small_networks
from recipes import evaluate, train
from recipes.command import exit_code
arguments = sys.argv[1:]
with small_networks(arguments[0]):
    code = exit_code(lambda: train.main(arguments)) or exit_code(lambda: evaluate.main([arguments[-1]]))
sys.exit(code)
"""


@contextlib.contextmanager
def small_networks(recipe):
    """Of a detector's network all kinds of blocks are needed, of a classifier's one."""
    with few_blocks() if recipe.startswith("boxes") else pytest.MonkeyPatch.context() as patch:
        if patch:
            tiny.shrink(patch.setattr)
        yield


def pictures_of_noise(folder):
    rng = np.random.default_rng(0)
    for number in range(20):
        path = folder / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype("uint8")).save(path)
    settings = ("data.name=image_folder", f"data.directory={folder}", "class_weights=balanced")
    augmentation = ("data.random_erasing=0.3", "data.color_jitter=0.2", "data.mixup=0.2")
    return "digits-mobilenetv2-sb", (*SETTINGS, *settings, *augmentation)


def pictures_with_boxes(folder):
    rng = np.random.default_rng(0)
    pictures = [
        picture(
            "x" * n + ".png",
            [(y, x, y + 15, x + 15, n % 3, 0) for y, x in rng.integers(0, 20, (n, 2)).tolist()],
        )
        for n in range(1, 11)
    ]
    write_coco(folder, {"train": pictures, "val": pictures[:4]}, CLASSES)
    return "boxes-ssdlite-mobilenetv2-static", (*SETTINGS, *BOXES, f"data.directory={folder}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains on TensorFlow, once for each kind of pictures: the command line, and the run."""
    found = {}

    def trained(make):
        if make not in found:
            folder = tmp_path_factory.mktemp("tensorflow")
            recipe, settings = make(folder / "pictures")
            arguments = [recipe, *(word for setting in settings for word in ("--set", setting)), "--run-dir"]
            with small_networks(recipe):
                assert exit_code(lambda: train.main([*arguments, str(folder / "run")])) == 0
            found[make] = arguments, RunDirectory(folder / "run")
        return found[make]

    return trained


@pytest.mark.parametrize(
    ("backend", "make"),
    [
        ("jax", pictures_of_noise),
        *(
            pytest.param("torch", make, marks=pytest.mark.slow)
            for make in (pictures_of_noise, pictures_with_boxes)
        ),
        pytest.param("jax", pictures_with_boxes, marks=pytest.mark.slow),
    ],
)
def test_a_training_goes_on_on_another_backend(backend, make, trained, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    arguments, whole = trained(make)
    run = RunDirectory(tmp_path / "run")
    for name in ("recipe.json", "classes.json", "checkpoints/epoch-0001.keras"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole.path / name, run.path / name)
    run.write_log(whole.log[:1])
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, str(run.path)],
        env={**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert "after epoch 1 of 2" in process.stdout
    assert backend in json.loads(run.result_file.read_text())["versions"]
    for key in ("loss", "val_loss"):
        # Two steps of float32, whose sums each backend orders otherwise.
        np.testing.assert_allclose(run.log[1][key], whole.log[1][key], rtol=2e-3, err_msg=key)
