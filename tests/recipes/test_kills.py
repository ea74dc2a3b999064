"""Kills a training ten times with SIGKILL: nothing is lost. Takes minutes, but `make test` runs it."""

import time

import numpy as np
import pytest
import tiny
from test_going_on import DROPOUT, assert_same_training

from recipes.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("tiny_network")


@pytest.mark.slow
@pytest.mark.kills
def test_ten_kills_at_random_moments(tmp_path, run_train):
    """Bit for bit the undisturbed run: a training goes on from the last epoch that is whole.

    Weights, momentum and the best so far are in the files; order, augmentation and dropout are functions of
    the seed and the step.
    """
    settings = (*DROPOUT, "epochs=12", "steps_per_epoch=20")
    assert run_train(tmp_path / "undisturbed", *settings) == 0
    moments, run = np.random.default_rng(0).uniform(0, 6, 10), RunDirectory(tmp_path / "run")
    epochs = []
    for seconds in moments:
        process = tiny.popen("", run.path, *settings)
        assert any(line.startswith("Epoch") for line in process.stdout)  # reads until the training starts
        time.sleep(seconds)
        process.kill()
        process.communicate()
        epochs.append(run.latest_checkpoint()[1])
    assert sorted(epochs) == epochs
    assert epochs[-1] < 12, "the training was finished before the last kill"
    assert run_train(run.path, *settings) == 0
    assert_same_training(run, RunDirectory(tmp_path / "undisturbed"))
