"""Tests of python -m recipes.evaluate."""

import csv
import math

import numpy as np
import pytest

from recipes import evaluate
from recipes.command import exit_code
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from recipes.tasks.classification import Classification

pytestmark = pytest.mark.usefixtures("tiny_network", "eager_steps")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_network, eager_steps, run_train):
    path = tmp_path_factory.mktemp("runs") / "run"
    assert run_train(path, "epochs=1", recipe="digits-mobilenetv2-static") == 0
    return RunDirectory(path)


def run_evaluate(*arguments):
    return exit_code(lambda: evaluate.main([str(argument) for argument in arguments]))


@pytest.mark.parametrize("which", ["final", "best"])
def test_a_finished_run(which, run, capsys):
    assert run_evaluate(run.path, "--model", which) == 0
    lines = capsys.readouterr().out.splitlines()
    accuracy = run.result["test_accuracy"]  # with one epoch, the best model is the final one
    images = sum(int(line.split()[1]) for line in lines[2:12])
    assert lines[-1].startswith(f"test accuracy {accuracy:.4f}, expected calibration error 0.")
    assert lines[-1].endswith(f" ({images} images, {which} model of {run.path})")
    assert [line.split()[0] for line in lines[2:12]] == list("0123456789")


def test_csv(run, tmp_path):
    path = tmp_path / "classes.csv"
    assert run_evaluate(run.path, "--csv", path) == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    images, recalls = (np.array([float(row[key]) for row in rows]) for key in ("images", "recall"))
    # Recall, weighted by images, is the accuracy; 1e-6 since Keras's is a float32.
    assert np.average(recalls, weights=images) == pytest.approx(run.result["test_accuracy"], abs=1e-6)


def test_a_class_without_pictures_has_no_score(run, monkeypatch, tmp_path, capsys):
    rows = [("cat", 2, 0.5, 0.25), ("dog", 0, math.nan, 0.0), ("emu", 0, math.nan, math.nan)]
    head = ("class", "images", "recall", "precision")
    monkeypatch.setattr(Classification, "class_table", lambda *_, **__: (head, rows, "so much"))
    path = tmp_path / "classes.csv"
    assert run_evaluate(run.path, "--csv", path) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2:5] == [
        ["cat", "2", "0.5000", "0.2500"],
        ["dog", "0", "–", "0.0000"],
        ["emu", "0", "–", "–"],
    ]
    assert path.read_text().split() == [",".join(head), "cat,2,0.5,0.25", "dog,0,,0.0", "emu,0,,"]


def test_csv_is_not_overwritten(run, tmp_path, capsys):
    path = tmp_path / "classes.csv"
    path.write_text("mine")
    assert run_evaluate(run.path, "--csv", path) == 2
    captured = capsys.readouterr()
    assert "classes.csv exists; --overwrite replaces it" in captured.err
    assert captured.out == ""  # it is said before the work
    assert path.read_text() == "mine"


def test_an_unfinished_run(tmp_path, capsys):
    RunDirectory(tmp_path).claim(RECIPES["digits-mobilenetv2-sb"])
    assert run_evaluate(tmp_path) == 2
    error = capsys.readouterr().err
    assert "its training is unfinished" in error
    assert f"python -m recipes.train {tmp_path / 'recipe.json'} --run-dir {tmp_path}" in error


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_not_a_run(name, tmp_path, capsys):
    assert run_evaluate(tmp_path / name) == 2
    assert "is not a run directory" in capsys.readouterr().err
