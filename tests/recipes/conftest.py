"""What the tests of the recipes share."""

import os
import pathlib
import signal

import keras
import pytest
import tiny

from recipes import data as data_sets
from recipes import train
from recipes.command import exit_code
from recipes.registry import RECIPES


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """What is remembered of the tests' pictures is not kept in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tiny_network():
    """Makes the CIFAR network a tiny one."""
    with pytest.MonkeyPatch.context() as patch:
        tiny.shrink(patch.setattr)
        yield


@pytest.fixture(scope="module")
def eager_steps():
    """Runs steps without a graph, which takes a tiny network longer to trace than a few steps do.

    For tests of what is around the steps, not of what they compute.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "run_eagerly", property(lambda self: True, lambda self, value: None))
        yield


@pytest.fixture(scope="module")
def run_train():
    """A function that runs `python -m recipes.train` in this process and returns its exit code."""

    def run_train(*args, **kwargs):
        policy = keras.config.dtype_policy()
        try:
            return exit_code(lambda: train.main(tiny.arguments(*args, **kwargs)))
        finally:
            keras.config.set_dtype_policy(policy)

    return run_train


@pytest.fixture
def sigint():
    """Has SIGINT raise a `KeyboardInterrupt`, also where a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def trained(monkeypatch):
    """A training that takes no time: its accuracy is a function of the recipe, and it counts its calls."""
    from recipes.search import tuner  # with keras-tuner

    calls = []

    def train(run, recipe, **options):
        calls.append(recipe)
        if recipe.optimizer.learning_rate > 1:
            raise tuner.Diverged("the loss is nan in epoch 1")
        run.claim(recipe)
        accuracy = 0.9 - recipe.model.attention.lambda_init + 0.01 * recipe.seed
        run.write_result({"validation_accuracy": accuracy})
        return run.result

    monkeypatch.setattr(tuner, "train", train)
    return calls


@pytest.fixture(scope="session")
def cifar10_or_none():
    """The real CIFAR-10, None where TFDS_DATA_DIR does not have it: no test downloads."""
    if not pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nowhere"), "cifar10").is_dir():
        return None
    return data_sets.load(RECIPES["cifar10-mobilenetv2-sb"].data)
