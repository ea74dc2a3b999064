"""Tests of python -m recipes.train: what it writes, where it goes on, what it refuses."""

import csv
import json
import pathlib
import signal
import subprocess
import sys
import textwrap

import keras
import matplotlib.image
import numpy as np
import pytest
import tiny
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import sb_keras
from recipes import data as data_sets
from recipes import registry, train
from recipes.monitoring import StopOnDivergence
from recipes.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("tiny_network")

DROPOUT = ("epochs=3", "model.dropout=0.2", "model.attention.dropout=0.2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_network, run_train):
    """A finished run of two epochs."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    assert run_train(path) == 0
    return RunDirectory(path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_network, run_train):
    """A run of three epochs with dropout in the attention and before the classifier."""
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert run_train(path, *DROPOUT) == 0
    return RunDirectory(path)


def assert_same_training(run, other):
    """The weights, the optimizer's state and the log are equal to the bit; but the seconds are not."""
    for which in ("final", "best"):
        model, expected = run.load_model(which), other.load_model(which)
        for ours, theirs in zip(model.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{which}: {ours.path}")
        for ours, theirs in zip(model.optimizer.variables, expected.optimizer.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{which}: {ours.path}")
    rows, expected_rows = ([{**row, "seconds": None} for row in r.log] for r in (run, other))
    assert rows == expected_rows
    assert {**run.result, "seconds": None} == {**other.result, "seconds": None}


# What a finished run holds


def test_files(finished):
    names = {path.name for path in finished.path.iterdir()}
    expected = "recipe.json log.csv result.json best.keras final.keras curves.png checkpoints tensorboard"
    assert names == set(expected.split())
    checkpoints = sorted(path.name for path in (finished.path / "checkpoints").iterdir())
    assert checkpoints == ["epoch-0001.keras", "epoch-0002.keras"]


def test_recipe_json(finished):
    recipe = registry.find("digits-mobilenetv2-sb")
    assert finished.recipe.differences(recipe) == [
        ("model.width_multiplier", 0.1, 0.35),
        ("batch_size", 16, 32),
        ("epochs", 2, 10),
        ("steps_per_epoch", 2, None),
    ]


def test_log(finished):
    with finished.log_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "seconds",
    ]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    # 0.05 · (1 + cos(π · epoch / 2)) / 2, in float32
    np.testing.assert_allclose([float(row["learning_rate"]) for row in rows], [0.05, 0.025], rtol=1e-6)
    for row in finished.log:
        assert 0 <= row["accuracy"] <= 1
        assert 0 <= row["val_accuracy"] <= 1
        assert np.isfinite([row["loss"], row["val_loss"]]).all()
        assert row["seconds"] > 0


def test_result(finished):
    result = json.loads(finished.result_file.read_text())
    log = finished.log
    assert set(result["versions"]) == {"python", "tensorflow", "keras", "sb_keras"}
    assert result["versions"]["keras"] == keras.__version__
    assert result["versions"]["sb_keras"] == sb_keras.__version__
    assert result["recipe"] == "digits-mobilenetv2-sb"
    assert result["epochs"] == 2
    assert result["classes"] == list("0123456789")
    assert result["seconds"] == pytest.approx(sum(row["seconds"] for row in log), abs=0.1)  # rounded to 0.1
    assert result["validation_accuracy"] == log[-1]["val_accuracy"]
    model = finished.load_model()
    assert result["parameters"] == sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_the_test_accuracy_is_that_of_the_saved_model(finished):
    data = finished.recipe.data
    test = data_sets.load(data).test
    pixels = (test.images / 255 - np.array(data.mean)) / np.array(data.std)
    predicted = finished.load_model().predict(pixels.astype("float32"), verbose=0).argmax(axis=-1)
    # 1e-6: Keras's metric is a float32.
    assert finished.result["test_accuracy"] == pytest.approx(np.mean(predicted == test.labels), abs=1e-6)


def test_best_model_is_that_of_the_best_epoch(undisturbed):
    log, result = undisturbed.log, undisturbed.result
    best = int(np.argmax([row["val_accuracy"] for row in log]))
    assert result["best_epoch"] == best + 1
    assert result["best_validation_accuracy"] == log[best]["val_accuracy"]
    data = undisturbed.recipe.data
    validation = data_sets.evaluation_batches(data_sets.load(data).validation, data, 100)
    _, accuracy = undisturbed.load_model("best").evaluate(validation, verbose=0)
    assert accuracy == pytest.approx(log[best]["val_accuracy"], abs=1e-6)  # float32, other batches


def test_checkpoints_hold_the_optimizer(finished):
    path, epoch = finished.latest_checkpoint()
    optimizer = keras.saving.load_model(path).optimizer
    assert epoch == 2
    assert int(optimizer.iterations) == 4
    assert isinstance(optimizer, sb_keras.optimizers.SGD)
    assert any(np.any(momentum) for momentum in optimizer.variables[2:])


def test_tensorboard_holds_histograms_of_every_lambda(finished):
    steps, scalars = {}, set()
    for path in (finished.path / "tensorboard" / "train").iterdir():
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "histograms":
                    steps.setdefault(value.tag, []).append(event.step)
                scalars.add(value.tag)
    layers = finished.load_model().layers
    names = {layer.name for layer in layers if isinstance(layer, sb_keras.layers.ShiftBalance)}
    assert len(names) == 6  # three convolutions in each of two blocks
    assert steps == {f"lambda/{name}": [0, 1] for name in names}
    assert {"epoch_loss", "epoch_accuracy", "epoch_learning_rate"} <= scalars


def test_curves_are_a_picture(finished):
    height, width, _ = matplotlib.image.imread(finished.curves_file).shape
    assert height > 300
    assert width > 600


# Starting again


def contents(run):
    files = [path for path in run.path.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_finished_run_is_left_alone(finished, run_train, capsys):
    before = contents(finished)
    assert run_train(finished.path) == 0
    assert "is finished already" in capsys.readouterr().out
    assert contents(finished) == before


def test_a_run_of_another_recipe_is_refused(finished, run_train, capsys):
    before = contents(finished)
    assert run_train(finished.path, "seed=7") == 2
    assert "belongs to another recipe: seed is 0 there, 7 here" in capsys.readouterr().err
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [(StopOnDivergence, "on_train_batch_end", 4), (RunDirectory, "save_checkpoint", 2)],
    ids=["within an epoch", "before the checkpoint"],
)
def test_going_on_after_an_interruption(
    owner, method, calls, undisturbed, tmp_path, run_train, monkeypatch, capsys
):
    """Bit for bit the undisturbed run, dropout included."""
    original = getattr(owner, method)

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls -= 1
        if not calls:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, interrupted)
        assert run_train(tmp_path / "run", *DROPOUT) == 130
    run = RunDirectory(tmp_path / "run")
    assert run.result is None
    assert run_train(run.path, *DROPOUT) == 0
    assert f"going on with {run.path} after epoch 1 of 3" in capsys.readouterr().out
    assert_same_training(run, undisturbed)


@pytest.mark.slow
def test_going_on_with_an_annealed_temperature(tmp_path, run_train, monkeypatch):
    settings = ("epochs=3", "temperature_epochs=2", "model.attention.temperature=20", *DROPOUT)
    assert run_train(tmp_path / "whole", *settings, recipe="digits-mobilenetv2-dyconv") == 0

    def interrupted(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_epoch_begin", interrupted)
        patch.setattr(StopOnDivergence, "on_train_batch_end", lambda *_, **__: None)
        assert run_train(tmp_path / "parts", *settings, recipe="digits-mobilenetv2-dyconv") == 130
    run = RunDirectory(tmp_path / "parts")
    first = keras.saving.load_model(run.latest_checkpoint()[0])
    assert temperatures(first) == {20.0}
    assert run_train(run.path, *settings, recipe="digits-mobilenetv2-dyconv") == 0
    assert temperatures(run.load_model()) == {1.0}
    assert_same_training(run, RunDirectory(tmp_path / "whole"))


def temperatures(model):
    return {float(weight) for weight in model.weights if weight.name == "temperature"}


def test_going_on_from_the_checkpoint_before_a_damaged_one(
    undisturbed, tmp_path, run_train, monkeypatch, capsys
):
    """The epoch that was lost is trained again, and the same again."""

    def interrupted(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        self._epoch = epoch + 1

    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_epoch_begin", interrupted)
        assert run_train(tmp_path / "run", *DROPOUT) == 130
    run = RunDirectory(tmp_path / "run")
    path, _ = run.latest_checkpoint()
    path.write_bytes(path.read_bytes()[:-100])
    assert run_train(run.path, *DROPOUT) == 0
    captured = capsys.readouterr()
    assert f"warning: {path} is damaged" in captured.err
    assert "after epoch 1 of 3" in captured.out
    assert_same_training(run, undisturbed)


# In a process of its own


def start(code, *args, **kwargs):
    """Runs `recipes.train` with the tiny network, after some other code, in a new process."""
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import tiny
from recipes import train
from recipes.errors import exit_code
from recipes.monitoring import StopOnDivergence
tiny.shrink()
{textwrap.dedent(code)}
sys.exit(exit_code(lambda: train.main({tiny.arguments(*args, **kwargs)!r})))
"""
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=500
    )


SIGNAL = """
def send(self, batch, logs=None):
    if self._epoch == 2 and batch == 0:
        os.kill(os.getpid(), signal.{})

StopOnDivergence.on_train_batch_end = send
"""


def test_going_on_after_sigkill(undisturbed, tmp_path, run_train):
    process = start(SIGNAL.format("SIGKILL"), tmp_path / "run", *DROPOUT)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert run_train(tmp_path / "run", *DROPOUT) == 0
    assert_same_training(RunDirectory(tmp_path / "run"), undisturbed)


def test_ctrl_c_ends_with_a_line(tmp_path):
    process = start(SIGNAL.format("SIGINT"), tmp_path / "run")
    assert process.returncode == 130
    assert process.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in process.stderr
    assert RunDirectory(tmp_path / "run").latest_checkpoint()[1] == 1


def test_mirrored_strategy_on_two_devices(finished, tmp_path):
    two_devices = """
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    """
    process = start(two_devices, tmp_path / "run", options=("--strategy", "mirrored"))
    assert process.returncode == 0, process.stderr
    run = RunDirectory(tmp_path / "run")
    assert {path.name for path in run.path.iterdir()} == {path.name for path in finished.path.iterdir()}
    # Each device normalizes its 8 images by their own statistics, not by those of all 16: the networks are
    # not the same. The classifier's bias hardly notices, since its gradient, p - y, has p near 0.1 at
    # first: 1 % here. Summed instead of averaged gradients, or other images, would be far off.
    bias, expected = (r.load_model().get_layer("predictions").bias.numpy() for r in (run, finished))
    assert np.linalg.norm(bias - expected) < 0.05 * np.linalg.norm(expected)
    losses, expected = ([row["loss"] for row in r.log] for r in (run, finished))
    np.testing.assert_allclose(losses, expected, rtol=0.01)  # both are near ln 10


# Settings


def test_mixed_precision(tmp_path, run_train):
    assert run_train(tmp_path / "run", "precision=mixed_bfloat16", "epochs=1") == 0
    model = RunDirectory(tmp_path / "run").load_model()
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    assert model.get_layer("stem").compute_dtype == "bfloat16"


def test_a_recipe_of_ones_own(tmp_path, run_train):
    recipe = registry.find("digits-mobilenetv2-static").override(["name=mine", "epochs=1"])
    (tmp_path / "mine.json").write_text(recipe.to_json())
    assert run_train(tmp_path / "run", "epochs=1", recipe=str(tmp_path / "mine.json")) == 0
    assert RunDirectory(tmp_path / "run").result["recipe"] == "mine"


def test_divergence(tmp_path, run_train, capsys):
    assert run_train(tmp_path / "run", "optimizer.learning_rate=1e30") == 1
    error = capsys.readouterr().err
    assert "the loss is nan in epoch 1, step 2" in error
    assert "learning_rate" in error
    run = RunDirectory(tmp_path / "run")
    assert run.result is None
    assert run.log == []
    assert run.latest_checkpoint() == (None, 0)


def test_divergence_in_the_last_step_of_an_epoch(tmp_path, run_train, capsys):
    """No loss shows it, yet no checkpoint holds it."""
    settings = ("optimizer.learning_rate=1e30", "steps_per_epoch=1")
    assert run_train(tmp_path / "run", *settings) == 1
    assert "in epoch 1, step 1" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob("*.keras"))


# Mistakes: a line, exit code 2, and nothing is made


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epoch=3"], "unknown key 'epoch'"),
        (["steps_per_epoch=1000"], "steps_per_epoch must be at most 81: 12"),
        (["data.name=image_folder"], "data.directory"),
        (["data.name=image_folder", "data.directory=/no/such/folder"], "no such folder: /no/such/folder"),
        (["model.builder=ResNet"], "model.builder must be one of"),
    ],
)
def test_mistakes(settings, message, tmp_path, run_train, capsys):
    assert run_train(tmp_path / "run", *settings) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "run").exists()


def test_unknown_recipe(tmp_path, run_train, capsys):
    assert run_train(tmp_path / "run", recipe="digits-resnet") == 2
    assert "unknown recipe 'digits-resnet'" in capsys.readouterr().err


def test_without_a_run_directory(capsys):
    with pytest.raises(SystemExit) as exit_info:
        train.main(["digits-mobilenetv2-sb"])
    assert exit_info.value.code == 2
    assert "--run-dir" in capsys.readouterr().err
