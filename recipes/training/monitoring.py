"""What happens beside the training steps: log, checkpoints, best model, divergence."""

# Keras's callbacks declare `self.model` and `logs` as perhaps None.
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

import contextlib
import math
import time

import keras
import numpy as np

LOOKED_AT = 10  # losses at once: whether the training has diverged


@contextlib.contextmanager
def averaged(model):
    """Has a model compute with the moving averages of its weights, if its optimizer keeps any."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # mixed_float16 wraps it
    if not optimizer.use_ema:
        yield
        return
    weights = [keras.ops.copy(weight) for weight in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    for weight in model.trainable_variables:  # on JAX it is the average's own array, which a step gives away
        weight.assign(keras.ops.copy(weight))
    try:
        yield
    finally:
        for weight, value in zip(model.trainable_variables, weights, strict=True):
            weight.assign(value)


class Validation(keras.callbacks.Callback):
    """Adds what an evaluation gives to the epoch's logs, before the callbacks behind it look at them.

    Args:
        evaluate: A function of the model that returns a dictionary of numbers.
    """

    def __init__(self, evaluate):
        super().__init__()
        self.evaluate = evaluate

    def on_epoch_end(self, epoch, logs=None):
        with averaged(self.model):
            results = self.evaluate(self.model)
        logs.update({f"val_{key}": float(value) for key, value in results.items()})


class WarmUp(keras.callbacks.Callback):
    """Has the learning rate grow, step by step, to that of the optimizer in the first epochs.

    After step n of N it is n / N of it: a network that is trained already is not shaken by the gradients of
    a new classifier (Goyal et al., 2017).

    Args:
        epochs: Number of these epochs.
        steps: Steps an epoch.
        begin: The `recipes.training.within_epoch.Position` that the training goes on from.
    """

    def __init__(self, epochs, steps, begin):
        super().__init__()
        self.epochs, self.steps, self.begin = epochs, steps, begin

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        # What the callbacks before have set.
        self._whole = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_begin(self, batch, logs=None):
        if self._epoch < self.epochs:
            step = self.begin.steps_before(self._epoch) + batch + 1
            part = (self._epoch * self.steps + step) / (self.epochs * self.steps)
            self.model.optimizer.learning_rate = self._whole * part


class EarlyStopping(keras.callbacks.Callback):
    """Ends the training when the validation metric has not become better for some epochs.

    It looks at the log, so that a training that goes on ends where an undisturbed one would.

    Args:
        rows: A function that returns the rows of the log so far.
        metric: Name of the column.
        patience: Number of epochs.
    """

    def __init__(self, rows, metric, patience):
        super().__init__()
        self.rows, self.metric, self.patience = rows, metric, patience

    def on_epoch_end(self, epoch, logs=None):
        if epochs_without_progress(self.rows(), self.metric) >= self.patience:
            print(f"no better {self.metric} for {self.patience} epochs: the training ends after {epoch + 1}")
            self.model.stop_training = True


def epochs_without_progress(rows, metric):
    """Number of the log's rows after the first of those with the best value."""
    values = [row[metric] for row in rows]
    return len(values) - 1 - values.index(max(values)) if values else 0


class Recorder(keras.callbacks.Callback):
    """Writes, after every epoch, a row of the log, the model if it is the best so far, and a checkpoint.

    In this order: killed in between, a training goes on from the checkpoint before and writes the same again.

    Args:
        run: A `RunDirectory`.
        rows: The rows of the log for the epochs that are done.
        task: The `recipes.tasks.Task`.
        begin: The `recipes.training.within_epoch.Position` that the training goes on from.
    """

    def __init__(self, run, rows, task, begin):
        super().__init__()
        self.run = run
        self.rows = list(rows)
        # A log that was begun before there was a column does without it.
        self.columns = [key for key in (*task.log, "learning_rate") if not rows or key in rows[0]]
        self.metric = f"val_{task.metric}"
        self.best = max((row[self.metric] for row in rows), default=-math.inf)
        self.begin = begin

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter() - self.begin.seconds_before(epoch)

    def on_epoch_end(self, epoch, logs=None):
        seconds = round(time.perf_counter() - self._started, 3)
        row = {"epoch": epoch + 1, **{key: float(logs[key]) for key in self.columns}, "seconds": seconds}
        self.rows.append(row)
        self.run.write_log(self.rows)
        if row[self.metric] > self.best:
            self.best = row[self.metric]
            with averaged(self.model):
                self.run.save_model(self.model, self.run.best_file)
        self.run.save_checkpoint(self.model, epoch + 1)


class Diverged(Exception):
    """The loss is no longer a number."""


class LazyCallbackList(keras.callbacks.CallbackList):
    """Callbacks that get the numbers of a step as they are, on the device.

    Keras's list makes floats of them, and waits for every step to end before the next one is begun.

    Args:
        callbacks: The callbacks.
        between_steps: A function that is called behind every step, before them.
        **kwargs: As `keras.callbacks.CallbackList`.
    """

    def __init__(self, callbacks, between_steps=lambda: None, **kwargs):
        super().__init__(callbacks, **kwargs)
        self.between_steps = between_steps

    def on_train_batch_end(self, batch, logs=None):
        self.between_steps()
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs=logs)


class StopOnDivergence(keras.callbacks.Callback):
    """Ends the training behind a step with a loss that is not finite, before anything is saved.

    It looks at the losses of several steps together, since it has to wait for them.

    The last step of an epoch can spoil the weights without a step after it to show it, so these are
    looked at as well, and the loss of the validation.

    Args:
        begin: The `recipes.training.within_epoch.Position` that the training goes on from.
    """

    def __init__(self, begin):
        super().__init__()
        self.begin, self._losses = begin, []

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._first = epoch + 1, self.begin.steps_before(epoch)

    def on_train_batch_end(self, batch, logs=None):
        self._losses.append((self._first + batch + 1, logs["loss"]))
        if len(self._losses) == LOOKED_AT:
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        self._look()
        if not math.isfinite(logs.get("val_loss", 0.0)):  # none in a worker that is not the chief
            self._stop(f"the validation loss is {logs['val_loss']}")
        for weight in self.model.weights:
            if not bool(keras.ops.all(keras.ops.isfinite(weight))):
                self._stop(f"the weight {weight.path} is no longer finite")

    def _look(self):
        for step, value in self._losses:
            self._step, loss = step, float(value)
            if not math.isfinite(loss):
                self._stop(f"the loss is {loss}")
        self._losses.clear()

    def _stop(self, reason):
        raise Diverged(f"{reason} in epoch {self._epoch}, step {self._step}")


class DropoutSeeds(keras.callbacks.Callback):
    """Makes dropout a function of the recipe's seed, the epoch and the step alone.

    A `.keras` file holds no state of the random generators; without this, a training that goes on would
    drop other units than the undisturbed one.

    Args:
        seed: The recipe's seed.
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        states = [v for v in self.model.variables if v.name == "seed_generator_state"]
        draws = np.random.default_rng((self.seed, epoch)).integers(2**31, size=(len(states), 2))
        for state, draw in zip(states, draws, strict=True):
            state.assign(draw)
