"""Tests of python -m recipes.tune with real trainings: killed ones, and several processes."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
import tiny
from searches import LAMBDA, read_trials, run_tune

from recipes import tune
from recipes.command import exit_code
from recipes.recipe import Recipe

# keras-tuner 1.4.8 uses a name that Python deprecates.
pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("tiny_network"),
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]


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
    process = subprocess.run(
        [sys.executable, "-c", tune_program(arguments, KILLED)], cwd=tiny.ROOT, check=False
    )
    assert process.returncode == -signal.SIGKILL
    (result,) = directory.glob("trials/*/seed-0/result.json")
    finished = result.stat().st_mtime_ns
    assert exit_code(lambda: tune.main(arguments)) == 0
    assert sorted(float(row[LAMBDA]) for row in read_trials(directory)) == [0.1, 0.2, 0.3]
    assert result.stat().st_mtime_ns == finished


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
        for name in ("chief", "tuner0", "tuner1")
    }
    outputs = {name: process.communicate(timeout=600) for name, process in processes.items()}
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(processes, 0), (
        outputs
    )
    rows = read_trials(tmp_path / "s")
    assert sorted(float(row[LAMBDA]) for row in rows) == [0.01, 0.05, 0.1, 0.5, 1.0]
    assert all("val_accuracy" in outputs[name][0] for name in ("tuner0", "tuner1"))
