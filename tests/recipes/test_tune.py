"""Tests of python -m recipes.tune."""

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

from recipes import tune
from recipes.command import exit_code
from recipes.data import Dataset
from recipes.data.objects import Objects
from recipes.errors import CannotWrite
from recipes.recipe import Recipe
from recipes.search import tuner

# keras-tuner 1.4.8 uses a name that Python deprecates.
pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("tiny_network"),
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]
LAMBDA, RATE = "model.attention.lambda_init", "optimizer.learning_rate"
ROOT = tiny.ROOT


def run_tune(directory, *options, epochs=1):
    arguments = tiny.arguments(directory, f"epochs={epochs}", options=options)
    return exit_code(lambda: tune.main(arguments))


def read_trials(directory):
    with (directory / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def trained(monkeypatch):
    """A training that takes no time: its accuracy is a function of the recipe, and it counts its calls."""
    calls = []

    def train(run, recipe):
        calls.append(recipe)
        if recipe.optimizer.learning_rate > 1:
            raise tuner.Diverged("the loss is nan in epoch 1")
        run.claim(recipe)
        accuracy = 0.9 - recipe.model.attention.lambda_init + 0.01 * recipe.seed
        run.write_result({"validation_accuracy": accuracy})
        return run.result

    monkeypatch.setattr(tuner, "train", train)
    return calls


@pytest.mark.slow
def test_search_with_training(tmp_path, capsys):
    directory = tmp_path / "search"
    assert run_tune(directory, "--choice", f"{LAMBDA}=0.1,0.5") == 0
    rows = read_trials(directory)
    assert {row[LAMBDA] for row in rows} == {"0.1", "0.5"}
    for row in rows:
        run = directory / "trials" / row["trial"] / "seed-0"
        assert json.loads((run / "recipe.json").read_text())["model"]["attention"]["lambda_init"] == float(
            row[LAMBDA]
        )
        result = json.loads((run / "result.json").read_text())
        assert result["validation_accuracy"] == float(row["validation_accuracy"])
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    recipe = Recipe.read(directory / "best.json")
    assert recipe.model.attention.lambda_init == float(best[LAMBDA])
    assert (directory / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert f"best: trial {best['trial']}" in capsys.readouterr().out


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

    def interrupted(run, recipe):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return original(run, recipe)

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


def tune_program(arguments, code=""):
    """Python code that runs `recipes.tune` with the tiny network, after some other code."""
    return f"""
import os, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import tiny
from recipes import tune
from recipes.data import Dataset
from recipes.command import exit_code
from recipes.errors import CannotWrite
tiny.shrink()
{code}
sys.exit(exit_code(lambda: tune.main({arguments!r})))
"""


KILLED = """
from recipes.search import tuner
train, trials = tuner.train, []
def killed(run, recipe):
    trials.append(recipe)
    if len(trials) == 2:
        from recipes.training.monitoring import StopOnDivergence
        StopOnDivergence.on_epoch_begin = lambda self, epoch, logs=None: os.kill(os.getpid(), signal.SIGKILL)
    return train(run, recipe=recipe)
tuner.train = killed
"""


def test_goes_on_after_sigkill(tmp_path):
    """Killed in its second trial, a search finishes that and the others; the first is not done again."""
    directory = tmp_path / "s"
    arguments = tiny.arguments(directory, "epochs=1", options=("--choice", f"{LAMBDA}=0.1,0.2,0.3"))
    process = subprocess.run([sys.executable, "-c", tune_program(arguments, KILLED)], cwd=ROOT, check=False)
    assert process.returncode == -signal.SIGKILL
    (result,) = directory.glob("trials/*/seed-0/result.json")
    finished = result.stat().st_mtime_ns
    assert exit_code(lambda: tune.main(arguments)) == 0
    assert sorted(float(row[LAMBDA]) for row in read_trials(directory)) == [0.1, 0.2, 0.3]
    assert result.stat().st_mtime_ns == finished


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

    def train(run, recipe):
        if recipe.model.attention.lambda_init == 0.2:
            raise error
        return original(run, recipe)

    monkeypatch.setattr(tuner, "train", train)
    assert run_tune(tmp_path / "s", "--choice", f"{LAMBDA}=0.1,0.2,0.3") == 0
    reasons = {row[LAMBDA]: row["reason"] for row in read_trials(tmp_path / "s")}
    assert reasons == {"0.1": "", "0.2": reason, "0.3": ""}


def test_a_full_disk_ends_the_search(trained, tmp_path, monkeypatch, capsys):
    """It is no trial's failure: the same command goes on with the same trial."""
    original = tuner.train

    def train(run, recipe):
        if recipe.model.attention.lambda_init == 0.2:
            raise CannotWrite(f"cannot write {run.path}: No space left on device")
        return original(run, recipe)

    monkeypatch.setattr(tuner, "train", train)
    assert run_tune(tmp_path / "s", "--choice", f"{LAMBDA}=0.1,0.2,0.3") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: cannot write ")
    monkeypatch.setattr(tuner, "train", original)
    assert run_tune(tmp_path / "s", "--choice", f"{LAMBDA}=0.1,0.2,0.3") == 0
    assert [recipe.model.attention.lambda_init for recipe in trained] == [0.1, 0.2, 0.3]


def test_a_detector(tmp_path, monkeypatch):
    """The objective is the recipe's own: mean average precision."""

    def train(run, recipe):
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


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband"])
def test_algorithms(algorithm, trained, tmp_path):
    options = ("--space", "attention", "--algorithm", algorithm, "--trials", "4")
    assert run_tune(tmp_path / "s", *options, epochs=4) == 0
    rows = read_trials(tmp_path / "s")
    assert 0 < len(rows) <= 4
    for recipe in trained:
        assert recipe.epochs <= 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--choice", "model.depth=1,2"), "unknown key 'model.depth' in --choice."),
        (("--choice", f"{LAMBDA}=a,b"), LAMBDA),
        (("--choice", LAMBDA), "--choice takes KEY=VALUE,VALUE,… Received: 'model.attention.lambda_init'"),
        (("--choice", f"{LAMBDA}=1", "--choice", f"{LAMBDA}=2"), f"Received: {LAMBDA} several times"),
        (("--algorithm", "hyperband", "--choice", "epochs=1,2"), "hyperband chooses the epochs itself"),
        (("--set", "model.attention.kind=static"), "it has no attention whose values could be searched for"),
        (("--set", "data.name=image_folder"), "image_folder needs --set data.directory"),
        (("--choice", "epochs=1,2,1"), "--choice takes every value of a key once. Received: epochs=1,2,1"),
        (("--choice", "model.attention.experts=2,8"), "model.attention.experts has no effect where"),
        (("--trials", "0"), "--trials must be at least 1. Received: 0"),
        (("--seeds", "0"), "--seeds must be at least 1. Received: 0"),
    ],
)
def test_wrong_input(options, message, trained, tmp_path, capsys):
    assert run_tune(tmp_path / "s", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "s").exists()
    assert not trained


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


@pytest.mark.slow
def test_workers_share_a_search(tmp_path):
    """One chief and two workers, as processes: every trial is done once, and both workers do some."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = tiny.arguments(tmp_path / "s", "epochs=1", options=("--space", "lambda"))
    program = tune_program(arguments)
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "KERASTUNER_TUNER_ID": name,
                "KERASTUNER_ORACLE_IP": "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": str(port),
            },
        )
        for name in ("chief", "tuner0", "tuner1")
    }
    outputs = {name: process.communicate(timeout=600) for name, process in processes.items()}
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(processes, 0), (
        outputs
    )
    rows = read_trials(tmp_path / "s")
    assert sorted(float(row[LAMBDA]) for row in rows) == [0.01, 0.05, 0.1, 0.5, 1.0]
    assert all("val_accuracy" in outputs[name][0] for name in ("tuner0", "tuner1"))
