"""Kills a training with SIGKILL again and again: nothing is lost."""

import time

import numpy as np
import pytest
import tiny
from test_going_on import DROPOUT, assert_same_training

from recipes.run_directory import RunDirectory
from recipes.training.within_epoch import Position, Snapshot

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_at_random_moments(tmp_path, run_train, kills):
    """Bit for bit the undisturbed run, wherever in an epoch it was killed.

    Weights, momentum and the best so far are in the files; order, augmentation and dropout are functions of
    the seed and the step.
    """
    settings = (*DROPOUT, "batch_size=4", f"epochs={kills}", "steps_per_epoch=200")
    undisturbed, run = RunDirectory(tmp_path / "undisturbed"), RunDirectory(tmp_path / "run")
    assert run_train(undisturbed.path, *settings) == 0
    rng, positions = np.random.default_rng(0), [Position()]
    for _ in range(kills):
        with tiny.popen("", run.path, *settings, options=("--checkpoint-minutes", "0")) as process:
            while position(run) <= positions[-1]:
                assert process.poll() is None, "the training was finished before the last kill"
                time.sleep(0.1)
            time.sleep(rng.uniform(0, 1))
            process.kill()
            process.communicate()
        positions.append(position(run))
    assert any(each.step for each in positions)
    assert run_train(run.path, *settings) == 0
    assert_same_training(run, undisturbed)


def position(run):
    """The later one of an epoch's checkpoint and one within."""
    if not run.path.is_dir():
        return Position()
    epochs = Position(run.latest_checkpoint()[1])
    try:
        return max(epochs, Snapshot.read(run.snapshot_file).position)
    except FileNotFoundError:  # an epoch has just ended
        return epochs
