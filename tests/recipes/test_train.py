"""Tests of python -m recipes.train: what it writes, and what it refuses."""

import contextlib
import csv
import io
import json
import re

import keras
import matplotlib.image
import numpy as np
import pytest
import tiny
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import sb_keras
from recipes import data as data_sets
from recipes import registry, train
from recipes.run_directory import RunDirectory
from recipes.training.pace import duration

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


@pytest.fixture(scope="module")
def training(tmp_path_factory, tiny_network, run_train):
    """A finished run of two epochs, and what it printed."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run_train(path) == 0
    return RunDirectory(path), printed.getvalue()


@pytest.fixture(scope="module")
def finished(training):
    return training[0]


# What a finished run holds


def test_files(finished):
    names = {path.name for path in finished.path.iterdir()}
    written = "recipe.json classes.json pictures.json log.csv result.json best.keras final.keras curves.png"
    assert names == {*written.split(), "checkpoints", "tensorboard"}
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


def test_best_model_is_that_of_the_best_epoch(finished):
    log, result = finished.log, finished.result
    best = int(np.argmax([row["val_accuracy"] for row in log]))
    assert result["best_epoch"] == best + 1
    assert result["best_validation_accuracy"] == log[best]["val_accuracy"]
    data = finished.recipe.data
    validation = data_sets.load(data).validation.evaluation_batches(data, 100)
    _, accuracy = finished.load_model("best").evaluate(validation, verbose=0)
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
    assert len(names) == 3  # the block's convolutions
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


@pytest.mark.slow
def test_mirrored_strategy_on_two_devices(finished, tmp_path):
    two_devices = """
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    """
    process = tiny.start(two_devices, tmp_path / "run", options=("--strategy", "mirrored"))
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


def test_a_dry_run_writes_nothing(tmp_path, run_train, capsys):
    assert run_train(tmp_path / "run", options=("--dry-run",)) == 0
    out = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert "10 classes, 1295 training, 143 validation, 359 test pictures" in out
    assert re.search(r"[\d,]+ parameters, [\d.]+ M multiply-adds a picture", out)
    assert re.search(r"first step [\d.]+ s, then \d+ ms a step of 16: \d+ images/s", out)
    assert re.search(r"an epoch of 2 steps .* 2 epochs .*: until \d{4}-\d\d-\d\d \d\d:\d\d", out)


def test_how_a_training_gets_on(training):
    """The best epoch is the log's; nothing is left after the last."""
    run, out = training
    lines = re.findall(r"(\d+) images/s; (\d+) s left; best validation accuracy ([\d.]+), epoch (\d)", out)
    assert len(lines) == 2
    accuracies = [row["val_accuracy"] for row in run.log]
    for epoch, (_, _, best, where) in enumerate(lines, 1):
        assert float(best) == pytest.approx(max(accuracies[:epoch]), abs=5e-5)  # four digits
        assert int(where) == 1 + accuracies.index(max(accuracies[:epoch]))
    assert lines[-1][1] == "0"
    assert f"next: python -m recipes.evaluate {run.path}; python -m tflite.convert {run.path} --out" in out


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (99.4, "99 s"), (101, "2 min"), (5940, "99 min"), (6000, "1 h 40 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
