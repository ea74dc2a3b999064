"""Tests of python -m recipes.tune with real trainings: killed ones, and several processes."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
from searches import LAMBDA, read_trials, run_tune

from recipes import train, tune
from recipes.command import exit_code
from recipes.recipe import Recipe
from recipes.run_directory import RunDirectory

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


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


def tune_program(arguments, code=""):
    """Python code that runs `recipes.tune` with the tiny network, after some other code."""
    return f"""
import os, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import tiny
from recipes import train, tune
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
def killed(run, recipe, **options):
    trials.append(recipe)
    if len(trials) == 2:
        from recipes.training.monitoring import StopOnDivergence
        StopOnDivergence.on_epoch_begin = lambda self, epoch, logs=None: os.kill(os.getpid(), signal.SIGKILL)
    return train(run, recipe=recipe, **options)
tuner.train = killed
"""


def test_goes_on_after_sigkill(tmp_path):
    """Killed in its second trial, a search finishes that and the others; the first is not done again."""
    directory = tmp_path / "s"
    arguments = tiny.arguments(directory, "epochs=1", options=("--choice", f"{LAMBDA}=0.1,0.2,0.3"))
    process = subprocess.run(
        [sys.executable, "-c", tune_program(arguments, KILLED)], cwd=tiny.ROOT, check=False
    )
    assert process.returncode == -signal.SIGKILL
    (result,) = directory.glob("trials/*/seed-0/result.json")
    finished = result.stat().st_mtime_ns
    assert exit_code(lambda: tune.main(arguments)) == 0
    assert sorted(float(row[LAMBDA]) for row in read_trials(directory)) == [0.1, 0.2, 0.3]
    assert result.stat().st_mtime_ns == finished


def start_processes(names, arguments, port, code=""):
    """A search's processes, by name; the chief gives the others their trials."""
    return {
        name: subprocess.Popen(
            [sys.executable, "-c", tune_program(arguments, code)],
            cwd=tiny.ROOT,
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
        for name in names
    }


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def outputs_of(processes):
    outputs = {name: process.communicate(timeout=600) for name, process in processes.items()}
    codes = {name: process.returncode for name, process in processes.items()}
    assert codes == dict.fromkeys(processes, 0), outputs
    return {name: output for name, (output, _) in outputs.items()}


@pytest.mark.slow
def test_workers_share_a_search(port, tmp_path):
    """One chief and two workers, as processes: every trial is done once, and both workers do some."""
    arguments = tiny.arguments(tmp_path / "s", "epochs=1", options=("--space", "lambda"))
    outputs = outputs_of(start_processes(("chief", "tuner0", "tuner1"), arguments, port))
    rows = read_trials(tmp_path / "s")
    assert sorted(float(row[LAMBDA]) for row in rows) == [0.01, 0.05, 0.1, 0.5, 1.0]
    assert all("val_accuracy" in outputs[name] for name in ("tuner0", "tuner1"))


IMPATIENT = """
from recipes.search import sharing
sharing.BEAT, sharing.DEAD = 0.5, 5
"""
KILLED_AT_ONCE = """
from recipes.training.monitoring import StopOnDivergence
StopOnDivergence.on_epoch_begin = lambda self, epoch, logs=None: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_search_survives_its_processes(port, tmp_path):
    """A tuner is killed in a trial, and the chief behind the first result: the others do everything once."""
    directory = tmp_path / "s"
    arguments = tiny.arguments(directory, "epochs=2", options=("--space", "lambda"))
    processes = start_processes(("chief", "tuner1"), arguments, port, IMPATIENT)
    dying = start_processes(("tuner0",), arguments, port, IMPATIENT + KILLED_AT_ONCE)["tuner0"]
    dying.communicate(timeout=300)
    assert dying.returncode == -signal.SIGKILL
    while not (results := list(directory.glob("trials/*/seed-0/result.json"))):
        assert all(process.poll() is None for process in processes.values())
        time.sleep(0.1)
    processes["chief"].kill()
    before, _ = processes.pop("chief").communicate()
    finished = results[0].stat().st_mtime_ns
    processes |= start_processes(("chief",), arguments, port, IMPATIENT)
    outputs = outputs_of(processes)
    assert "tuner0 has not been heard of for 5 s; another one goes on with its trial" in (
        before + outputs["chief"]
    )
    rows = read_trials(directory)
    assert sorted(float(row[LAMBDA]) for row in rows) == [0.01, 0.05, 0.1, 0.5, 1.0]
    assert all(row["validation_accuracy"] for row in rows)
    assert results[0].stat().st_mtime_ns == finished  # nothing is done twice


@pytest.mark.slow
def test_hyperband_goes_on_from_fewer_epochs(tmp_path, run_train):
    """The best of five trainings of two epochs are trained for four, as if there had been no break."""
    directory = tmp_path / "s"
    options = ("--space", "attention", "--algorithm", "hyperband", "--trials", "7")
    assert run_tune(directory, *options, epochs=4) == 0
    runs = {path.name: RunDirectory(path / "seed-0") for path in (directory / "trials").iterdir()}
    assert sorted(len(run.log) for run in runs.values()) == [2] * 5 + [4] * 2
    for run in (run for run in runs.values() if len(run.log) == 4):
        first = [row["loss"] for row in run.log[:2]]
        assert sum(first == [row["loss"] for row in other.log] for other in runs.values()) == 1
        recipe = tmp_path / "recipe.json"
        recipe.write_text(dataclasses.replace(run.recipe, name="whole").to_json())
        whole = RunDirectory(tmp_path / run.path.parent.name)
        assert exit_code(lambda r=recipe, w=whole: train.main([str(r), "--run-dir", str(w.path)])) == 0
        for ours, theirs in zip(run.load_model().weights, whole.load_model().weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TUNER_ID": "chief"}, "Received: no KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT"),
        ({"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "2000"}, "Received: no KERASTUNER_TUNER_ID"),
        (
            {"TUNER_ID": "chief", "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "abc"},
            "KERASTUNER_ORACLE_PORT must be a port, from 1 to 65535. Received: abc",
        ),
    ],
)
def test_incomplete_variables_of_several_processes(variables, message, tmp_path, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    assert run_tune(tmp_path / "s", "--space", "lambda") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "s").exists()
