"""Tests of python -m recipes.tune."""

import csv
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from folders import write_classes
from searches import BLOCKS, LAMBDA, RATE, read_trials, run_tune

from recipes import tune
from recipes.command import exit_code
from recipes.data import Dataset
from recipes.data.objects import Objects
from recipes.errors import CannotWrite
from recipes.recipe import Recipe
from recipes.search import tuner
from recipes.tasks import task_of

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


def test_grid_with_seeds(trained, tmp_path, capsys):
    assert run_tune(tmp_path / "s", "--space", "lambda", "--seeds", "3") == 0
    assert len(trained) == 15
    assert {recipe.seed for recipe in trained} == {0, 1, 2}
    rows = read_trials(tmp_path / "s")
    scores = [float(row["validation_accuracy"]) for row in rows if row[LAMBDA] == "0.01"]
    np.testing.assert_allclose(scores, [0.89, 0.90, 0.91])
    first = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(first) if line.startswith("trial ")) + 2
    # Mean and standard deviation, with n − 1, of 89, 90 and 91 %.
    assert first[start].split()[1:5] == ["0.01", "1", "90.00", "1.00"]
    assert Recipe.read(tmp_path / "s" / "best.json").model.attention.lambda_init == 0.01


def test_goes_on_without_repeating(trained, tmp_path, monkeypatch, capsys):
    directory, count = tmp_path / "s", 0
    original = tuner.train

    def interrupted(run, recipe, **options):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return original(run, recipe, **options)

    monkeypatch.setattr(tuner, "train", interrupted)
    assert run_tune(directory, "--space", "lambda") == 130
    expected = f"interrupted. To go on: python -m recipes.tune digits-mobilenetv2-sb --run-dir {directory} "
    assert expected in capsys.readouterr().err
    assert len(trained) == 2
    monkeypatch.setattr(tuner, "train", original)
    assert run_tune(directory, "--space", "lambda") == 0
    tried = [recipe.model.attention.lambda_init for recipe in trained]
    assert sorted(tried) == [0.01, 0.05, 0.1, 0.5, 1.0]
    assert run_tune(directory, "--space", "lambda") == 0  # nothing is left to do
    assert len(trained) == 5


def test_a_damaged_state_of_the_search(trained, tmp_path, capsys):
    """What a kill in the middle of keras-tuner's own writing leaves."""
    assert run_tune(tmp_path / "s", "--space", "lambda") == 0
    oracle = tmp_path / "s" / "keras-tuner" / "oracle.json"
    oracle.write_text(oracle.read_text()[:50])
    assert run_tune(tmp_path / "s", "--space", "lambda") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a file of keras-tuner is damaged (")
    assert f"Delete {oracle.parent}: " in line
    shutil.rmtree(oracle.parent)
    assert run_tune(tmp_path / "s", "--space", "lambda") == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), "out of memory"),
        (ZeroDivisionError("division by zero\nmore"), "ZeroDivisionError: division by zero"),
    ],
)
def test_what_fails_is_recorded(error, reason, trained, tmp_path, monkeypatch):
    original = tuner.train

    def train(run, recipe, **options):
        if recipe.model.attention.lambda_init == 0.2:
            raise error
        return original(run, recipe, **options)

    monkeypatch.setattr(tuner, "train", train)
    assert run_tune(tmp_path / "s", "--choice", f"{LAMBDA}=0.1,0.2,0.3") == 0
    reasons = {row[LAMBDA]: row["reason"] for row in read_trials(tmp_path / "s")}
    assert reasons == {"0.1": "", "0.2": reason, "0.3": ""}


def test_a_full_disk_ends_the_search(trained, tmp_path, monkeypatch, capsys):
    """It is no trial's failure: the same command goes on with the same trial."""
    original = tuner.train

    def train(run, recipe, **options):
        if recipe.model.attention.lambda_init == 0.2:
            raise CannotWrite(f"cannot write {run.path}: No space left on device")
        return original(run, recipe, **options)

    monkeypatch.setattr(tuner, "train", train)
    assert run_tune(tmp_path / "s", "--choice", f"{LAMBDA}=0.1,0.2,0.3") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: cannot write ")
    monkeypatch.setattr(tuner, "train", original)
    assert run_tune(tmp_path / "s", "--choice", f"{LAMBDA}=0.1,0.2,0.3") == 0
    assert [recipe.model.attention.lambda_init for recipe in trained] == [0.1, 0.2, 0.3]


def test_a_detector(tmp_path, monkeypatch):
    """The objective is the recipe's own: mean average precision."""

    def train(run, recipe, **options):
        run.claim(recipe)
        run.write_result({"validation_mean_average_precision": recipe.model.attention.lambda_init})
        return run.result

    monkeypatch.setattr(tuner, "train", train)
    rows = np.zeros(1000)
    pictures = Objects(rows, rows, rows, rows.astype(int), difficult=rows.astype(bool))
    dataset = Dataset(("object",), pictures, pictures, pictures)
    monkeypatch.setattr("recipes.data.voc.load_voc", lambda data: dataset)
    arguments = ["voc-ssdlite-mobilenetv2-sb", "--run-dir", str(tmp_path / "s")]
    assert exit_code(lambda: tune.main([*arguments, "--choice", f"{LAMBDA}=0.1,0.3"])) == 0
    scores = {row[LAMBDA]: row["validation_mean_average_precision"] for row in read_trials(tmp_path / "s")}
    assert scores == {"0.1": "0.1", "0.3": "0.3"}
    assert Recipe.read(tmp_path / "s" / "best.json").model.attention.lambda_init == 0.3


def test_networks_are_measured_with_their_classes(trained, tmp_path):
    """A third class has a weight more for each feature, and a weight of `predictions` is one product."""
    counts, built = {}, {}
    for classes in (("cat", "dog"), ("cat", "dog", "emu")):
        folder = tmp_path / str(len(classes))
        write_classes(folder / "pictures", classes, count=20)
        data = (f"data.directory={folder / 'pictures'}", "data.name=image_folder")
        options = [part for setting in data for part in ("--set", setting)]
        options += ["--choice", f"{LAMBDA}=0.1", "--front", "madds"]
        assert run_tune(folder / "s", *options) == 0
        with (folder / "s" / "front.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        counts[len(classes)] = int(row["madds"])
        model = task_of(trained[-1]).compiled_model(trained[-1], len(classes))
        built[len(classes)] = model.get_layer("predictions").kernel.shape[0]
        refusing = (*options[:-2], "--max-madds", str(counts[len(classes)] - 1))
        assert run_tune(folder / "refused", *refusing) == 1
    assert counts[3] - counts[2] == built[2]


def test_trials_that_fail(trained, tmp_path, capsys):
    options = ("--choice", f"{RATE}=0.1,100,0.05", "--choice", "model.width_multiplier=0.1,1.0")
    assert run_tune(tmp_path / "s", *options, "--max-madds", "1000000") == 0
    rows = read_trials(tmp_path / "s")
    assert len(rows) == 6
    for row in rows:
        if row["model.width_multiplier"] == "1.0":
            assert row["reason"].endswith("multiply-adds; at most 1,000,000 are allowed")
        elif row[RATE] == "100":
            assert row["reason"] == "the loss is nan in epoch 1"
        else:
            assert row["reason"] == ""
            assert row["validation_accuracy"]
    printed = capsys.readouterr()
    assert "the loss is nan in epoch 1" in printed.out
    assert re.search(r"^trial \d+ failed: the loss is nan in epoch 1$", printed.err, re.M)
    assert "Traceback" not in printed.out + printed.err


def test_every_trial_fails(trained, tmp_path, capsys):
    assert run_tune(tmp_path / "s", "--choice", f"{RATE}=50,100") == 1
    assert "error: every trial failed" in capsys.readouterr().err
    assert not (tmp_path / "s" / "best.json").exists()


def test_lists(trained, tmp_path):
    """Between lists stands a semicolon; one behind a list alone says that it is one."""
    assert run_tune(tmp_path / "a", "--choice", f"{BLOCKS}=1,2;3;none") == 0
    assert [recipe.model.attention.blocks for recipe in trained] == [(1, 2), (3,), None]
    trained.clear()
    assert run_tune(tmp_path / "b", "--choice", f"{BLOCKS}=1,2;", "--choice", f"{LAMBDA}=0.1,0.2") == 0
    assert [recipe.model.attention.blocks for recipe in trained] == [(1, 2), (1, 2)]


def test_epochs(trained, tmp_path, capsys):
    """What a trial was trained for, once; not the recipe's own number beside it."""
    assert run_tune(tmp_path / "s", "--choice", "epochs=2,3") == 0
    assert [recipe.epochs for recipe in trained] == [2, 3]
    assert (tmp_path / "s" / "trials.csv").read_text().splitlines()[0].split(",").count("epochs") == 1
    assert [row["epochs"] for row in read_trials(tmp_path / "s")] == ["2", "3"]
    assert "trial  epochs  accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband"])
def test_algorithms(algorithm, trained, tmp_path):
    options = ("--space", "attention", "--algorithm", algorithm, "--trials", "4")
    assert run_tune(tmp_path / "s", *options, epochs=4) == 0
    rows = read_trials(tmp_path / "s")
    assert 0 < len(rows) <= 4
    for recipe in trained:
        assert recipe.epochs <= 4


def test_kinds_of_attention_need_not_have_all_the_values(trained, tmp_path):
    """λ with static is trained as what it is; the table shows both."""
    kinds = ("--choice", "model.attention.kind=static,sb", "--choice", f"{LAMBDA}=0.1,0.5")
    assert run_tune(tmp_path / "s", *kinds) == 0
    assert {recipe.model.attention.kind for recipe in trained} == {"static", "sb"}
    assert len(read_trials(tmp_path / "s")) == 4


@pytest.mark.parametrize(
    "algorithm",
    ["grid", *(pytest.param(each, marks=pytest.mark.slow) for each in ("random", "bayesian", "hyperband"))],
)
def test_more_trials(algorithm, trained, tmp_path, capsys):
    """They go on where fewer ended: the trials are those of a search of all of them; fewer are refused."""

    def search(directory, trials):
        options = ("--space", "attention", "--algorithm", algorithm, "--trials", str(trials))
        return run_tune(directory, *options, epochs=4)

    assert search(tmp_path / "whole", 4) == 0
    whole = [recipe.to_json() for recipe in trained]
    trained.clear()
    assert search(tmp_path / "s", 2) == 0
    assert len(trained) == 2
    assert search(tmp_path / "s", 4) == 0
    assert [recipe.to_json() for recipe in trained] == whole
    assert len(read_trials(tmp_path / "s")) == 4
    capsys.readouterr()
    assert search(tmp_path / "s", 3) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 's'} has 4 trials already. Received: --trials 3\n"


def test_directory_of_another_search(trained, tmp_path, monkeypatch, capsys):
    assert run_tune(tmp_path / "s", "--space", "lambda") == 0
    monkeypatch.setattr(tune, "start_keras", None)  # answered before it
    assert run_tune(tmp_path / "s", "--space", "hidden") == 2
    assert "belongs to another search: space is {" in capsys.readouterr().err
    assert run_tune(tmp_path / "s", "--space", "lambda", "--set", "seed=7") == 2
    assert "belongs to a search with another recipe: seed is 0 there, 7 here" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert run_tune(tmp_path / "other", "--space", "lambda") == 2
    assert "is not empty and has no search.json" in capsys.readouterr().err
