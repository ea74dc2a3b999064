"""Checkpoints within an epoch: a kill costs minutes and not an epoch, Ctrl-C and SIGTERM nothing.

Such a checkpoint is what an epoch's is, model and optimizer, and besides what lives for an epoch alone: the
position, the sums of the metrics, the states of the random generators. It is copied between two steps and
written beside the next ones.
"""

# Keras's callbacks declare `self.model` and `logs` as perhaps None.
# pyright: reportOptionalMemberAccess=false

import concurrent.futures
import dataclasses
import time

import keras
import numpy as np

from recipes.errors import Terminated, UserError
from recipes.files import replacing


@dataclasses.dataclass(frozen=True, order=True)
class Position:
    """How far a training has come: whole epochs, steps of the next one, and the seconds that these took."""

    epoch: int = 0
    step: int = 0
    seconds: float = dataclasses.field(default=0.0, compare=False)

    def steps_before(self, epoch):
        """How many steps of an epoch are done when `fit` begins with it: it counts its own from 0."""
        return self.step if epoch == self.epoch else 0

    def seconds_before(self, epoch):
        """How long they have taken."""
        return self.seconds if epoch == self.epoch else 0.0


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All that a training needs to go on in the middle of an epoch.

    Attributes:
        position: Where.
        arrays: The values of all of the model's, the optimizer's and the metrics' variables.
    """

    position: Position
    arrays: list

    @classmethod
    def of(cls, model, position):
        """A copy of a model's state."""
        return cls(position, [np.array(keras.ops.convert_to_numpy(each)) for each in _variables(model)])

    @property
    def is_finite(self):
        """Whether the training has not diverged."""
        return all(np.isfinite(array).all() for array in self.arrays if array.dtype.kind == "f")

    def restore(self, model):
        """Gives a model, which has to be of the same recipe, this state.

        Raises:
            UserError: If it is another's.
        """
        variables = _variables(model)
        shapes = [tuple(variable.shape) for variable in variables]
        if shapes != [array.shape for array in self.arrays]:
            raise UserError("the checkpoint within an epoch is not that of this network; delete it")
        for variable, array in zip(variables, self.arrays, strict=True):
            variable.assign(array)

    def write(self, path):
        """Writes a file of NumPy's, .npz."""
        epoch, step, seconds = dataclasses.astuple(self.position)
        with replacing(path) as temporary:
            np.savez(temporary, *self.arrays, position=(epoch, step), seconds=seconds)

    @classmethod
    def read(cls, path):
        """What `write` has written."""
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[f"arr_{number}"] for number in range(len(file.files) - 2)]
            epoch, step = file["position"].tolist()
            return cls(Position(epoch, step, float(file["seconds"])), arrays)


def _variables(model):
    found = (*model.variables, *model.optimizer.variables, *model.metrics_variables)
    return list({id(variable): variable for variable in found}.values())


class Snapshots(keras.callbacks.Callback):
    """Writes a `Snapshot` every so many minutes, and one when the training is interrupted or terminated.

    It comes behind the callbacks that give an epoch its learning rate and its random states, which those of a
    snapshot replace, and behind the one that stops at a loss that is none.

    None is of an epoch's last step, from which `fit` could not go on: the one before is held until the
    evaluation is over, which may take longer than who ends us waits.

    Args:
        path: Of the file.
        recipe: The recipe.
        steps: Steps an epoch.
        minutes: How often.
        begin: The `Snapshot` that the training goes on from; None if it begins with an epoch.
        writes: Whether it writes.
    """

    def __init__(self, path, recipe, steps, minutes, begin=None, writes=True):
        super().__init__()
        self.path, self.steps, self.at_once = path, steps, recipe.steps_per_execution
        self.seconds, self.begin, self.writes = 60 * minutes, begin, writes
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._held = self._writing = None
        self._in_steps, self._ending = False, None

    def on_epoch_begin(self, epoch, logs=None):
        position = self.begin.position if self.begin else Position()
        self._epoch, self._first, self._held = epoch, position.steps_before(epoch), None
        self._written = time.monotonic()
        self._started = self._written - position.seconds_before(epoch)
        if self._first:
            self.begin.restore(self.model)
        else:
            self._forget()

    def on_train_batch_end(self, batch, logs=None):
        step, now = self._first + batch + 1, time.monotonic()
        self._in_steps = step < self.steps
        if not self._in_steps:
            # `fit` would go on for the steps that were done before; see `on_epoch_end`.
            self.model.stop_training = True
        elif self.writes:
            is_due = self._ending or now - self._written >= self.seconds
            if is_due or step == self.steps - self.at_once:
                snapshot = Snapshot.of(self.model, Position(self._epoch, step, now - self._started))
                if snapshot.is_finite:  # else nobody is to go on from it
                    self._held = snapshot
            if is_due and self._held:
                self._write()
        if self._ending:
            self._end(self._ending)

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = False

    def on_train_end(self, logs=None):
        self._forget()

    def interrupt(self):
        """Ends the training: behind the step that is going on; at once where none is, or when asked again.

        Raises:
            KeyboardInterrupt: In the latter cases.
        """
        if self._ending:
            raise KeyboardInterrupt
        self._end_with(KeyboardInterrupt)

    def terminate(self):
        """As `interrupt`, with `Terminated`; asked again, as some who end a process do, it still waits."""
        self._end_with(Terminated)

    def _end_with(self, kind):
        self._ending = kind
        if not self._in_steps:
            self._end(kind)

    def _end(self, kind):
        if not self._in_steps and self._held:
            self._write()
        self._wait()
        raise kind

    def _write(self):
        self._wait()
        self._written = time.monotonic()
        self._writing = self._writer.submit(self._held.write, self.path)

    def _wait(self):
        if self._writing:
            self._writing.result()

    def _forget(self):
        """Deletes a snapshot of an epoch that is over, whose own checkpoint is there."""
        self._held = None
        if self.writes:
            self._wait()
            self.path.unlink(missing_ok=True)
