"""Tests that what an earlier version wrote still loads: run directories, checkpoints, .keras files.

The files in `earlier` are those of version 0.1.0 before its modules were moved: a finished and an unfinished
training of the tiny network, a model with every layer, loss and optimizer of the package, and its answers.
"""

import pathlib
import shutil

import keras
import numpy as np
import pytest

import sb_keras
from recipes.errors import UserError
from recipes.keras_file import load_model
from recipes.run_directory import RunDirectory
from sb_keras.graph import inner_layers

pytestmark = pytest.mark.long

EARLIER = pathlib.Path(__file__).parent / "earlier"
SETTINGS = ("model.attention.dropout=0.2", "optimizer.ema_momentum=0.9")


def test_a_finished_run(run_train, capsys):
    run = RunDirectory(EARLIER / "finished")
    assert run.recipe.name == "digits-mobilenetv2-sb"
    assert len(run.rows_until(2)) == 2
    assert run_train(run.path, *SETTINGS) == 0
    assert f"finished already: test accuracy {run.result['test_accuracy']:.4f}" in capsys.readouterr().out
    model = run.load_model()
    assert sb_keras.profile(model).total.parameters == run.result["parameters"]


def test_an_unfinished_run_goes_on(run_train, tmp_path, capsys):
    """Its second epoch ends with the loss of the earlier version's own; processors round differently."""
    shutil.copytree(EARLIER / "unfinished", tmp_path / "run")
    assert run_train(tmp_path / "run", *SETTINGS) == 0
    assert "after epoch 1 of 2" in capsys.readouterr().out
    ours, theirs = RunDirectory(tmp_path / "run"), RunDirectory(EARLIER / "finished")
    assert [row["epoch"] for row in ours.log] == [1, 2]
    for key in ("loss", "val_loss"):
        assert ours.log[1][key] == pytest.approx(theirs.log[1][key], rel=1e-3)


def test_a_deleted_final_model_is_written_again(run_train, tmp_path, capsys):
    """From the last checkpoint; where there is none either, nothing is trained anew over what is there."""
    run = RunDirectory(shutil.copytree(EARLIER / "finished", tmp_path / "run"))
    run.final_file.unlink()
    with pytest.raises(
        UserError, match=r"its training is finished: it was deleted\. .*from the last checkpoint"
    ):
        run.load_model()
    assert run_train(run.path, *SETTINGS) == 0
    assert "finished already" in capsys.readouterr().out
    shutil.copytree(EARLIER / "unfinished" / "checkpoints", run.path / "checkpoints")
    assert run_train(run.path, *SETTINGS) == 0
    assert "after epoch 1 of 2" in capsys.readouterr().out
    assert sb_keras.profile(run.load_model()).total.parameters == run.result["parameters"]


def test_every_layer():
    """The answers are those of then: float32 rounding, of another processor perhaps."""
    model = load_model(EARLIER / "every_layer.keras")
    data = np.load(EARLIER / "every_layer.npz")
    np.testing.assert_allclose(model(data["images"]), data["outputs"], atol=1e-5)
    assert isinstance(model.optimizer, sb_keras.optimizers.SGD)
    assert isinstance(model.loss, sb_keras.losses.SmoothedCrossentropy)
    found = {type(layer) for layer in inner_layers(model)}
    public = {
        kind for name in dir(sb_keras.layers) if isinstance(kind := getattr(sb_keras.layers, name), type)
    }
    abstract = {sb_keras.layers.DynamicConv}
    assert {kind for kind in public if issubclass(kind, keras.layers.Layer)} - abstract <= found


def test_the_losses_of_detectors():
    model = load_model(EARLIER / "detector_losses.keras")
    assert isinstance(model.loss["classes"], sb_keras.detection.ClassLoss)
    assert isinstance(model.loss["boxes"], sb_keras.detection.BoxLoss)
