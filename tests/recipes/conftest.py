"""What the tests of the recipes share: a network and a training small enough to run many times."""

import os
import pathlib

import keras
import pytest

from recipes import data as data_sets
from recipes import train
from recipes.errors import exit_code
from recipes.registry import RECIPES
from sb_keras.models import mobilenet_v2

TINY = ("model.width_multiplier=0.1", "epochs=2", "steps_per_epoch=2", "batch_size=16")


@pytest.fixture(scope="module")
def tiny_network():
    """Leaves 3 of the 17 blocks of the CIFAR network: compiling the others takes a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mobilenet_v2, "CIFAR_STAGES", mobilenet_v2.CIFAR_STAGES[:2])
        yield


@pytest.fixture(scope="module")
def run_train():
    """A function that runs `python -m recipes.train` in this process and returns its exit code."""

    def run_train(run_dir, *settings, recipe="digits-mobilenetv2-sb", options=()):
        arguments = [recipe, "--run-dir", str(run_dir), *options]
        for setting in (*TINY, *settings):
            arguments += ["--set", setting]
        policy = keras.config.dtype_policy()
        try:
            return exit_code(lambda: train.main(arguments))
        finally:
            keras.config.set_dtype_policy(policy)

    return run_train


@pytest.fixture(scope="session")
def cifar10_or_none():
    """The real CIFAR-10, None where TFDS_DATA_DIR does not have it: no test downloads."""
    if not pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nowhere"), "cifar10").is_dir():
        return None
    return data_sets.load(RECIPES["cifar10-mobilenetv2-sb"].data)
