"""Tests of the recipes for one's own photographs, from a folder and a weight file to a classifier."""

import dataclasses

import keras
import numpy as np
import PIL.Image
import pytest

import sb_keras
from recipes import train
from recipes.command import exit_code
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from sb_keras.models import mobilenet_v2

pytestmark = pytest.mark.long

CLASSES = {"blue": (20, 40, 200), "red": (200, 40, 20)}


@pytest.fixture
def folder(tmp_path, rng):
    """Twenty noisy pictures a class, but ten of the last one."""
    for number, (name, color) in enumerate(CLASSES.items(), 1):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(20 // number):
            pixels = np.clip(rng.normal(color, 40, size=(50, 60, 3)), 0, 255).astype("uint8")
            PIL.Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A run directory of a network with other classes and one block a stage."""
    stages = tuple(dataclasses.replace(stage, repeats=1) for stage in mobilenet_v2.STAGES)
    monkeypatch.setattr(mobilenet_v2, "STAGES", stages)
    (tmp_path / "trained").mkdir()
    sb_keras.MobileNetV2((32, 32, 3), 0.1, classes=7).save(tmp_path / "trained" / "best.keras")
    recipe = RECIPES["photos-mobilenetv2-static"].override(["data.mean=0.4,0.5,0.6"])
    (tmp_path / "trained" / "recipe.json").write_text(recipe.to_json())
    return tmp_path / "trained"


def run(recipe, folder, weights, directory, *settings):
    settings = (
        f"data.directory={folder}",
        f"model.weights={weights}",
        "model.width_multiplier=0.1",
        *settings,
    )
    settings = ("data.image_size=32", "batch_size=8", "epochs=2", *settings)
    arguments = [recipe, "--run-dir", str(directory), *(x for each in settings for x in ("--set", each))]
    return exit_code(lambda: train.main(arguments))


def test_photos(folder, weights, tmp_path, capsys):
    assert (
        run(
            "photos-mobilenetv2-sb",
            folder,
            weights,
            tmp_path / "run",
            "data.random_erasing=0.2",
            "data.rand_augment=9",
            "data.mixup=0.2",
        )
        == 0
    )
    result = RunDirectory(tmp_path / "run")
    assert result.result["classes"] == list(CLASSES)
    assert result.recipe.data.mean == (0.4, 0.5, 0.6)  # that of the weights
    lambdas = [
        layer.lambda_
        for layer in result.load_model().layers
        if isinstance(layer, sb_keras.layers.ShiftBalance)
    ]
    assert lambdas
    assert all(0 < np.abs(each).max() < 0.1 for each in lambdas)  # from 0, by a few steps of AdamW
    # Every normalization outside of the attention is frozen: two weights a channel.
    model = result.load_model()
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    frozen, whole = 2 * sum(norm.gamma.shape[0] for norm in norms), sb_keras.profile(model).total.parameters
    assert f"\n{whole - frozen:,} of {whole:,} parameters learn\n" in capsys.readouterr().out


def test_wrong_weights(folder, weights, tmp_path, capsys):
    """In one line, and before anything is written."""
    assert (
        run("photos-mobilenetv2-static", folder, weights, tmp_path / "run", "model.width_multiplier=0.2") == 2
    )
    assert "does not fit mobilenet_v2_static: layer 'block4_project'" in capsys.readouterr().err
    assert run("photos-mobilenetv2-static", folder, weights, tmp_path / "run", "data.mean=0.1,0.1,0.1") == 2
    assert "were trained with other pictures: add --set data.mean=0.4,0.5,0.6" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
