"""Tests of what looks at a training's steps without waiting for them."""

import contextlib
import os
import signal

import keras
import pytest

from recipes.command import interruptible
from recipes.training.monitoring import Diverged, LazyCallbackList, StopOnDivergence
from recipes.training.within_epoch import Position


class Loss:
    """A number on a device: it knows at which step it was fetched."""

    def __init__(self, value, fetched, now):
        self.value, self.fetched, self.now = value, fetched, now

    def __float__(self):
        self.fetched.append(self.now["step"])
        return self.value


def run_steps(losses):
    """Calls the callbacks as `fit` does; the steps at which a loss was fetched."""
    fetched, now = [], {}
    callbacks = LazyCallbackList([StopOnDivergence(Position())], model=keras.Sequential([keras.Input((1,))]))
    callbacks.on_epoch_begin(0)
    for now["step"], value in enumerate(losses):
        callbacks.on_train_batch_end(now["step"], {"loss": Loss(value, fetched, now)})
    callbacks.on_epoch_end(0, {})
    return fetched


@pytest.mark.usefixtures("sigint")
def test_an_interrupt_that_was_swallowed_is_repeated():
    """As of a Ctrl-C that came while a library was in a callback of its own."""
    seen = []

    def steps():
        with interruptible() as repeat:
            callbacks = LazyCallbackList([], repeat, model=keras.Sequential([keras.Input((1,))]))
            callbacks.on_train_batch_end(0, {})
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            seen.append("swallowed")
            callbacks.on_train_batch_end(1, {})
            seen.append("lost")

    with pytest.raises(KeyboardInterrupt):
        steps()
    assert seen == ["swallowed"]


def test_no_step_waits_for_its_loss():
    assert run_steps([1.0] * 25) == [9] * 10 + [19] * 10 + [24] * 5


@pytest.mark.parametrize("step", [0, 9, 12, 24])
def test_the_step_that_diverged_is_named(step):
    losses = [1.0] * step + [float("nan")] * (25 - step)
    with pytest.raises(Diverged, match=f"the loss is nan in epoch 1, step {step + 1}$"):
        run_steps(losses)
