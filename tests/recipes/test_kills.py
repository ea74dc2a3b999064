"""Kills a training with SIGKILL again and again: nothing is lost."""

import time

import numpy as np
import pytest
import tiny
from test_going_on import DROPOUT, assert_same_training

from recipes.run_directory import RunDirectory

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_at_random_moments(tmp_path, run_train, kills):
    """Bit for bit the undisturbed run: a training goes on from the last epoch that is whole.

    Weights, momentum and the best so far are in the files; order, augmentation and dropout are functions of
    the seed and the step.
    """
    settings = (*DROPOUT, f"epochs={4 * kills}", "steps_per_epoch=20")
    undisturbed, run = RunDirectory(tmp_path / "undisturbed"), RunDirectory(tmp_path / "run")
    assert run_train(undisturbed.path, *settings) == 0
    epoch_seconds = np.median([row["seconds"] for row in undisturbed.log])
    rng, epochs = np.random.default_rng(0), []
    for _ in range(kills):
        with tiny.popen("", run.path, *settings) as process:
            beginnings = (line for line in process.stdout if line.startswith("Epoch"))
            for _ in range(rng.integers(1, 4)):  # in the first of them TensorFlow traces, for seconds
                assert next(beginnings, None), "the training was finished before the last kill"
            time.sleep(rng.uniform(0, 2) * epoch_seconds)
            process.kill()
            process.communicate()
        epochs.append(run.latest_checkpoint()[1])
    assert sorted(epochs) == epochs
    assert epochs[-1] > 0
    assert run_train(run.path, *settings) == 0
    assert_same_training(run, undisturbed)
