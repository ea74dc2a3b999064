"""A run directory: the files of one training, and what they say about where it stands."""

import contextlib
import csv
import json
import os
import pathlib
import shlex
import shutil
import sys
from typing import Any

from recipes.errors import CannotWrite, UserError
from recipes.files import is_temporary, replacing, write_text
from recipes.keras_file import is_whole, load_model
from recipes.recipe import Recipe, in_words

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

KEPT_CHECKPOINTS = 2


class RunDirectory:
    """The files of one training: recipe.json, log.csv, result.json, best.keras, final.keras, checkpoints/ …

    Every file is written under a temporary name and then renamed, so that what is there is whole.

    Args:
        path: The directory.
    """

    def __init__(self, path):
        if not str(path):
            raise UserError("the name of a run directory must not be empty")
        self.path = pathlib.Path(path)
        self.result_file = self.path / "result.json"
        self.best_file = self.path / "best.keras"
        self.final_file = self.path / "final.keras"
        self.log_file = self.path / "log.csv"
        self.curves_file = self.path / "curves.png"
        self._classes_file = self.path / "classes.json"
        self.pictures_file = self.path / "pictures.json"
        self.tensorboard = self.path / "tensorboard"
        self._recipe_file = self.path / "recipe.json"
        self._checkpoints = self.path / "checkpoints"
        self.snapshot_file = self._checkpoints / "within-epoch.npz"

    @classmethod
    def existing(cls, path):
        """The run directory at `path`.

        Raises:
            UserError: If it is none.
        """
        run = cls(path)
        if not run._recipe_file.is_file():
            raise UserError(f"{path} is not a run directory: it has no recipe.json")
        return run

    def check(self, recipe):
        """Looks, without writing, whether the directory is free or that of `recipe`.

        It may be that of other `epochs` with a constant schedule: such a training would have begun like it.

        Raises:
            UserError: If it belongs to another recipe, is not empty and belongs to none, or is no directory.
        """
        if self._recipe_file.is_file():
            differences = self.recipe.differences(recipe)
            if [key for key, *_ in differences] == ["epochs"]:
                self._check_epochs(recipe)
            elif differences:
                theirs = shlex.quote(str(self._recipe_file))
                way_on = f"go on with that one: {theirs} in place of a recipe's name, without --set"
                if [key for key, *_ in differences] == ["data.directory"]:
                    way_on = f"change it in {theirs} if the folder was moved"
                other = f"{self.path} belongs to another recipe: {in_words(differences)}"
                raise UserError(f"{other}. Choose another --run-dir, or {way_on}")
        elif self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is not a directory; choose another --run-dir")
        elif self.path.is_dir() and any(not is_temporary(path) for path in self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and has no recipe.json; choose another --run-dir")

    def _check_epochs(self, recipe):
        """Raises a `UserError` unless what is trained is the beginning of a training of so many epochs."""
        schedule, epochs = recipe.optimizer.schedule, recipe.epochs
        done = max(map(_epoch, self._checkpoint_files()), default=0)
        anew = "choose another --run-dir"
        if self.result and recipe.data.task == "classification":
            anew += f", and begin there with its weights: --set model.weights={self.path}"
        if schedule != "constant" and recipe.optimizer.schedule_epochs is None:
            raise UserError(
                f"{self.path} is a training of {self.recipe.epochs} epochs, not of {epochs}, and the "
                f"{schedule} schedule of its learning rate depends on their number; {anew}"
            )
        if self.result and not done:
            raise UserError(f"{self.path} has no checkpoint any more to go on from; {anew}")
        if epochs < done:
            raise UserError(f"{self.path} is trained for {done} epochs already. Received: epochs={epochs}")

    def claim(self, recipe):
        """Makes the directory that of `recipe`; with more epochs than before its training is unfinished.

        Raises:
            UserError: As `check`.
            CannotWrite: If the directory cannot be written.
        """
        self.check(recipe)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"cannot write to {self.path}: {error.strerror}") from error
        if not os.access(self.path, os.W_OK):
            raise CannotWrite(f"cannot write to {self.path}: it is read-only")
        if not self._recipe_file.is_file() or self.recipe != recipe:
            # The end of fewer epochs is none now; the checkpoint still has it, if this is killed in between.
            self.result_file.unlink(missing_ok=True)
            self.final_file.unlink(missing_ok=True)
            write_text(recipe.to_json(), self._recipe_file)

    def copy_unfinished(self, path):
        """Copies it, without its result, to `path`, unless that is there: a training goes on there."""
        path = pathlib.Path(path)
        if path.exists() or not self._recipe_file.is_file():
            return
        temporary = path.with_name(f".{path.name}.copy")
        shutil.rmtree(temporary, ignore_errors=True)  # of a copy that was killed
        left_out = shutil.ignore_patterns(self.result_file.name, self.final_file.name, self.tensorboard.name)
        shutil.copytree(self.path, temporary, ignore=left_out)
        temporary.rename(path)

    @contextlib.contextmanager
    def locked(self):
        """Keeps other processes out of the directory, which must exist, as long as the block lasts.

        Raises:
            UserError: If another process trains into the directory.
        """
        if fcntl is None:
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another process is training into {self.path}; wait for it, or choose another --run-dir"
                ) from error
            except OSError:  # a file system without locks
                pass
            yield
        finally:
            os.close(descriptor)

    def check_untrained(self):
        """Raises a `UserError` if there is a checkpoint."""
        if self.has_checkpoints:
            raise UserError(
                f"another process has trained into {self.path} meanwhile; start again to go on with it"
            )

    @property
    def recipe(self):
        return Recipe.read(self._recipe_file)

    @property
    def classes(self):
        """Names of the classes in the order of the outputs; None for a run of before they were kept."""
        if not self._classes_file.is_file():
            return tuple(self.result["classes"]) if self.result else None
        try:
            return tuple(json.loads(self._classes_file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{self._classes_file} is damaged: {error}") from error

    def keep_classes(self, names):
        """Writes down the names of the classes: whoever goes on, or looks, must have the same."""
        write_text(json.dumps(names) + "\n", self._classes_file)

    @property
    def has_checkpoints(self):
        """Whether there is a checkpoint, whole or damaged."""
        return bool(self._checkpoint_files())

    @property
    def is_finished(self):
        """Whether nothing is left to train, nor a final.keras to write again from a checkpoint."""
        return bool(self.result) and (self.final_file.is_file() or not self.has_checkpoints)

    @property
    def result(self) -> Any:
        """What result.json holds; None while the training is unfinished."""
        if not self.result_file.is_file():
            return None
        try:
            result = json.loads(self.result_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{self.result_file} is damaged: {error}") from error
        if not isinstance(result, dict) or not result:
            raise UserError(f"{self.result_file} is damaged: it must hold an object. Received: {result!r}")
        for key, value in result.items():
            if key.startswith(("test_", "validation_")) and type(value) not in (int, float):
                raise UserError(f"{self.result_file} is damaged: {key} must be a number. Received: {value!r}")
        return result

    def write_result(self, result):
        write_text(json.dumps(result, indent=2) + "\n", self.result_file)

    @property
    def log(self):
        """The rows of log.csv, one an epoch, with numbers for numbers."""
        if not self.log_file.is_file():
            return []
        try:
            with self.log_file.open(newline="", encoding="utf-8") as file:
                return [
                    {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
                    for row in csv.DictReader(file)
                ]
        except (ValueError, TypeError, csv.Error) as error:
            raise UserError(f"{self.log_file} is damaged: a column is no number") from error

    def rows_until(self, epochs):
        """The rows of log.csv for so many epochs.

        Raises:
            UserError: If some are missing: who goes on without them would take a worse model for the best.
        """
        rows = self.log[:epochs]
        if [row.get("epoch") for row in rows] != list(range(1, epochs + 1)):
            raise UserError(f"{self.log_file} is damaged: it must have a row for each of {epochs} epochs")
        return rows

    def write_log(self, rows):
        with replacing(self.log_file) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def save_model(self, model, path):
        with replacing(path) as temporary:
            model.save(temporary)

    def save_checkpoint(self, model, epoch):
        """Keeps model, optimizer and position after `epoch` epochs, and the checkpoint before."""
        self.save_model(model, self._checkpoints / f"epoch-{epoch:04d}.keras")
        for path in self._checkpoint_files()[:-KEPT_CHECKPOINTS]:
            path.unlink()

    def latest_checkpoint(self):
        """Path of the latest whole checkpoint and its number of epochs; None and 0 where there is none.

        A damaged one (the disk was full, the power failed) is passed over with a warning.

        Raises:
            UserError: If there are checkpoints but none is whole.
        """
        files = self._checkpoint_files()
        for path in reversed(files):
            if is_whole(path):
                return path, _epoch(path)
            print(f"warning: {path} is damaged; looking for the one before", file=sys.stderr)
        if files:
            raise UserError(f"every checkpoint in {self._checkpoints} is damaged; choose another --run-dir")
        return None, 0

    def _checkpoint_files(self):
        return sorted(self._checkpoints.glob("epoch-*.keras"), key=_epoch)

    def load_model(self, which="final"):
        """The trained model, `"final"` or `"best"` (by validation accuracy).

        Raises:
            UserError: If the training has not come that far.
        """
        return load_model(self.model_file(which))

    def model_file(self, which="final"):
        """Path of the trained model; as `load_model`."""
        path = {"final": self.final_file, "best": self.best_file}[which]
        if not path.is_file():
            recipe, directory = shlex.quote(str(self._recipe_file)), shlex.quote(str(self.path))
            command = f"`python -m recipes.train {recipe} --run-dir {directory}`"
            if self.result:
                raise UserError(
                    f"{self.path} has no {path.name}, though its training is finished: it was deleted. "
                    f"{command} writes final.keras again from the last checkpoint, if that is still there"
                )
            raise UserError(f"{self.path} has no {path.name}: its training is unfinished. {command} goes on")
        return path


def _epoch(checkpoint):
    return int(checkpoint.stem.removeprefix("epoch-"))
