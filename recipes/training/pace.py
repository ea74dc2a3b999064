"""How long a training takes: said while it runs, and before it begins."""

# Keras's callbacks declare `self.model` and `logs` as perhaps None.
# pyright: reportOptionalMemberAccess=false

import datetime
import resource
import statistics
import sys
import time

import keras

import sb_keras
from recipes.data import load
from recipes.tasks import task_of
from recipes.training.distribution import (
    check_batches,
    fit_scope_of,
    local_copy,
    one_device,
    prepare,
    scope_of,
    training_batches,
)
from recipes.training.within_epoch import Position

REHEARSED_STEPS = 6


class Pace(keras.callbacks.Callback):
    """Says that the first step takes long, and after an epoch the pace, the time left, and the best so far.

    Args:
        recipe: The recipe.
        recorder: The `recipes.training.monitoring.Recorder`, which must come before.
    """

    def __init__(self, recipe, recorder):
        super().__init__()
        self.recipe, self.recorder = recipe, recorder
        self._ends, self._epochs = [], []

    def on_train_begin(self, logs=None):
        print("the first step takes up to a minute longer than the others: it is traced", flush=True)

    def on_epoch_begin(self, epoch, logs=None):
        self._started, self._ends = time.perf_counter(), []

    def on_train_batch_end(self, batch, logs=None):
        self._ends.append((batch + 1, time.perf_counter()))

    def on_epoch_end(self, epoch, logs=None):
        (first, began), (last, ended) = self._ends[0], self._ends[-1]
        now, pace = time.perf_counter(), ""
        tracing = began - self._started if not self._epochs else 0  # once; the others are steps as well
        seconds = now - self._started - tracing
        if last > first:
            step = (ended - began) / (last - first)
            pace = f"{self.recipe.batch_size / step:.0f} images/s; "
            # A training that goes on within an epoch counts its own steps of it alone.
            seconds += (self.params["steps"] - last) * step
        self._epochs.append(seconds)
        left = (self.recipe.epochs - epoch - 1) * statistics.median(self._epochs)
        metric, rows = self.recorder.metric, self.recorder.rows
        best = max(rows, key=lambda row: row[metric])
        name = metric.removeprefix("val_").replace("_", " ")
        print(
            f"{pace}{duration(left)} left; best validation {name} {best[metric]:.4f}, epoch {best['epoch']}",
            flush=True,
        )


def rehearse(recipe, strategy=None):
    """Loads and builds everything, runs a few steps, and prints what a training would take; writes nothing.

    Args:
        recipe: The recipe.
        strategy: A `tf.distribute.Strategy`; None for one device.
    """
    recipe = recipe.override(["data.cache=none"])  # which would write
    task, dataset = task_of(recipe), load(recipe.data)
    print(task.describe(dataset), flush=True)
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)
    check_batches(strategy, recipe, len(dataset.train))
    with scope_of(strategy):
        model = task.compiled_model(recipe, len(dataset.classes))
        task.create_state(model, len(dataset.classes))
    prepare(model, strategy, recipe)
    total = sb_keras.profile(model).total
    print(f"{total.parameters:,} parameters, {total.madds / 1e6:.1f} M multiply-adds a picture", flush=True)

    steps = recipe.steps(len(dataset.train))
    pace = _Steps()
    batches, _ = training_batches(dataset.train, recipe, Position(), strategy, None)
    with fit_scope_of(strategy):
        model.fit(
            batches,
            steps_per_epoch=min(steps, REHEARSED_STEPS),
            callbacks=[pace],
            shuffle=False,
            verbose=0,
        )
    first, *others = pace.seconds
    step = statistics.median(others or [first])
    few = dataset.validation.select(slice(2 * recipe.batch_size))
    with one_device():
        evaluated = local_copy(model, strategy, recipe, len(dataset.classes))
        task.evaluate(evaluated, few, recipe)
        start = time.perf_counter()
        task.evaluate(evaluated, few, recipe)
    validation = (time.perf_counter() - start) * len(dataset.validation) / len(few)
    epoch = steps * step + validation
    whole = recipe.epochs * epoch + first
    end = datetime.datetime.now() + datetime.timedelta(seconds=whole)
    print(
        f"first step {first:.1f} s, then {1000 * step:.0f} ms a step of {recipe.batch_size}: "
        f"{recipe.batch_size / step:.0f} images/s\n"
        f"an epoch of {steps} steps and {len(dataset.validation)} validation pictures {duration(epoch)}, "
        f"{recipe.epochs} epochs {duration(whole)}: until {end:%Y-%m-%d %H:%M}\n"
        f"memory {_peak_megabytes():.0f} MB. Nothing was written"
    )


class _Steps(keras.callbacks.Callback):
    """Seconds of every step."""

    def on_train_begin(self, logs=None):
        self.seconds, self._last = [], time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # pyright: ignore[reportOptionalSubscript] (waits for the step)
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def duration(seconds):
    """Seconds in words: 40 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _peak_megabytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere
