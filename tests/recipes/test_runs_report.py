"""Tests of python -m recipes.report."""

import csv
import dataclasses
import pathlib
import shutil

import matplotlib.image
import numpy as np
import pytest

import sb_keras
from recipes import report
from recipes.command import exit_code
from recipes.files import distinct_labels
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from recipes.training.monitoring import StopOnDivergence

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network", "eager_steps")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_network, eager_steps, run_train):
    """SB with two seeds, a static one, and an SB run that was cut off after its first epoch."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        assert run_train(folder / f"sb-{seed}", f"seed={seed}") == 0
    assert run_train(folder / "static", recipe="digits-mobilenetv2-static") == 0

    def interrupted(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        self._epoch, self._first = epoch + 1, 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_epoch_begin", interrupted)
        assert run_train(folder / "cut", "seed=2") == 130
    return [folder / name for name in ("sb-0", "sb-1", "static", "cut")]


def run_report(*arguments):
    return exit_code(lambda: report.main([str(argument) for argument in arguments]))


def test_report(runs, tmp_path, capsys):
    assert run_report(*runs, "--csv", tmp_path / "r.csv", "--plot", tmp_path / "r.png") == 0
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["sb-0", "sb-1", "static", "cut"]
    assert [row["epochs"] for row in rows] == ["2/2", "2/2", "2/2", "1/2"]
    for row, path in zip(rows[:3], runs, strict=False):
        result, log = RunDirectory(path).result, RunDirectory(path).log
        total = sb_keras.profile(RunDirectory(path).load_model()).total
        assert (int(row["parameters"]), int(row["madds"])) == (result["parameters"], total.madds)
        assert float(row["test"]) == result["test_accuracy"]
        assert float(row["validation"]) == log[-1]["val_accuracy"]
        assert float(row["best_validation"]) == max(epoch["val_accuracy"] for epoch in log)
    assert rows[3]["test"] == ""
    assert rows[3]["parameters"] == rows[0]["parameters"]
    picture = matplotlib.image.imread(tmp_path / "r.png")
    assert picture.std() > 0.05  # something is drawn

    printed = capsys.readouterr().out.splitlines()
    tests = [100 * RunDirectory(path).result["test_accuracy"] for path in runs[:2]]
    mean, spread = np.mean(tests), abs(tests[0] - tests[1]) / np.sqrt(2)  # n − 1 of two numbers
    tiny = "width_multiplier=0.1, batch_size=16, steps_per_epoch=2"
    assert printed[-1] == f"digits-mobilenetv2-sb {tiny}, 2 epochs, 2 seeds: {mean:.2f} ± {spread:.2f} %"


def test_lambda_is_the_trained_networks(runs):
    run = report.read(runs[0], "x")
    layers = RunDirectory(runs[0]).load_model().layers
    lambdas = [each.lambda_.numpy() for each in layers if isinstance(each, sb_keras.layers.ShiftBalance)]
    assert len(lambdas) == 3  # the block's convolutions
    np.testing.assert_allclose(run.lambdas, [np.abs(each).mean() for each in lambdas], rtol=1e-6)
    assert report.read(runs[2], "x").lambdas == []


def test_runs_without_models(runs, tmp_path):
    """Costs are those of the recipe's network; there is no λ. What `--set` changed tells runs apart."""
    (tmp_path / "run").mkdir()
    for name in ("recipe.json", "log.csv", "result.json"):
        (tmp_path / "run" / name).write_bytes((runs[0] / name).read_bytes())
    whole, bare = report.read(runs[0], "x"), report.read(tmp_path / "run", "x")
    assert bare.row == whole.row
    assert bare.lambdas == []
    assert "seeds" not in report.table([whole, bare])  # the same one twice
    second = report.read(runs[1], "y")
    other = dataclasses.replace(second, recipe=second.recipe.override(["model.attention.lambda_init=1"]))
    assert "2 seeds" in report.table([whole, second])
    assert "seeds" not in report.table([whole, other])


def test_settings():
    """What differs from the recipe of that name; of a renamed one, from the other runs'."""
    recipe = RECIPES["digits-mobilenetv2-sb"]
    changed = recipe.override(["optimizer.learning_rate=0.2", "seed=3", "epochs=4"])
    assert report.settings(changed, [recipe]) == "optimizer.learning_rate=0.2"
    for key, text in (
        ("compression.learning_rate", "compression.learning_rate"),  # and not the training's
        ("compression.epochs", "compression.epochs"),
        ("model.dropout", "model.dropout"),
        ("model.attention.dropout", "attention.dropout"),
        ("model.attention.lambda_init", "lambda_init"),
    ):
        value = 2 if "epochs" in key else 0.2
        assert report.settings(recipe.override([f"{key}={value}"]), [recipe]) == f"{text}={value}"
    mine, other = (each.override(["name=mine"]) for each in (recipe, changed))
    assert report.settings(mine, [mine, other]) == "optimizer.learning_rate=0.05"
    assert report.settings(other, [mine, other]) == "optimizer.learning_rate=0.2"


def test_before_the_first_epoch(runs, tmp_path, capsys):
    run = RunDirectory(tmp_path / "new")
    run.claim(RunDirectory(runs[0]).recipe)
    assert run_report(run.path, "--plot", tmp_path / "r.png") == 0
    assert "0/2" in capsys.readouterr().out


def test_labels():
    def labels(*paths):
        return distinct_labels(map(pathlib.Path, paths))

    assert labels("/a/b/c", "/a/b/d") == ["c", "d"]
    assert labels("/a/b/c", "/a/d/c") == ["b/c", "d/c"]
    assert labels("/a") == ["a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{}/nothing",), "is not a run directory: it has no recipe.json"),
        (("{}/../sb-0", "--plot", "{}/p.jpg"), "--plot takes a name that ends in .png"),
        (("{}/../sb-0", "--csv", "{}/../sb-0/log.csv"), "log.csv exists; --overwrite replaces it"),
        (("{}/../sb-0", "--csv", "{}/p.png", "--plot", "{}/./p.png"), "every file needs a name of its own"),
    ],
)
def test_wrong_input(arguments, message, runs, capsys):
    folder = runs[0].parent / "sb-1"
    assert run_report(*(argument.format(folder) for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_damaged_files(runs, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    for name in ("recipe.json", "log.csv", "result.json", "final.keras"):
        (tmp_path / "run" / name).write_bytes((runs[0] / name).read_bytes())
    (tmp_path / "run" / "final.keras").write_bytes(b"PK")
    assert run_report(tmp_path / "run") == 2
    assert "final.keras is damaged, or not a .keras file" in capsys.readouterr().err
    for text in ("{", "[]", "{}", '{"test_accuracy": "high"}'):
        (tmp_path / "run" / "result.json").write_text(text)
        assert run_report(tmp_path / "run") == 2
        assert "result.json is damaged" in capsys.readouterr().err
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "log.csv").write_text("epoch,loss\nx,y\n")
    assert run_report(tmp_path / "run") == 2
    assert "log.csv is damaged" in capsys.readouterr().err


def test_a_log_without_the_epochs_that_are_done(runs, tmp_path, run_train, capsys):
    """Going on without them would replace best.keras by a worse one."""
    shutil.copytree(runs[3], tmp_path / "cut")
    (tmp_path / "cut" / "log.csv").write_text("")
    expected = "log.csv is damaged: it must have a row for each of 1 epochs"
    assert run_report(tmp_path / "cut") == 2
    assert expected in capsys.readouterr().err
    assert run_train(tmp_path / "cut", "seed=2") == 2
    assert expected in capsys.readouterr().err
