"""A run directory: the files of one training, and what they say about where it stands."""

import csv
import json
import os
import pathlib

import keras

from recipes.errors import UserError
from recipes.recipe import Recipe

LOG_FIELDS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
KEPT_CHECKPOINTS = 2


class RunDirectory:
    """The files of one training: recipe.json, log.csv, result.json, best.keras, final.keras, checkpoints/ …

    Every file is written under a temporary name and then renamed, so that what is there is whole.

    Args:
        path: The directory.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.result_file = self.path / "result.json"
        self.best_file = self.path / "best.keras"
        self.final_file = self.path / "final.keras"
        self.log_file = self.path / "log.csv"
        self.curves_file = self.path / "curves.png"
        self.tensorboard = self.path / "tensorboard"
        self._recipe_file = self.path / "recipe.json"
        self._checkpoints = self.path / "checkpoints"

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

    def claim(self, recipe):
        """Makes the directory that of `recipe`, or checks that it is.

        Raises:
            UserError: If the directory belongs to another recipe, is not empty, or cannot be written.
        """
        if self._recipe_file.is_file():
            differences = self.recipe.differences(recipe)
            if differences:
                listed = "; ".join(
                    f"{key} is {theirs!r} there, {ours!r} here" for key, theirs, ours in differences
                )
                raise UserError(f"{self.path} belongs to another recipe: {listed}")
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise UserError(f"{self.path} is not empty and has no recipe.json; choose another --run-dir")
            self._checkpoints.mkdir()
            self._write_text(self._recipe_file, recipe.to_json())
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}") from error

    @property
    def recipe(self):
        return Recipe.from_json(self._recipe_file.read_text())

    @property
    def result(self):
        """What result.json holds; None while the training is unfinished."""
        return json.loads(self.result_file.read_text()) if self.result_file.is_file() else None

    def write_result(self, result):
        self._write_text(self.result_file, json.dumps(result, indent=2) + "\n")

    @property
    def log(self):
        """The rows of log.csv, one an epoch, with numbers for numbers."""
        if not self.log_file.is_file():
            return []
        with self.log_file.open(newline="") as file:
            return [
                {key: int(value) if key == "epoch" else float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            ]

    def write_log(self, rows):
        temporary = self.log_file.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, LOG_FIELDS)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self.log_file)

    def save_model(self, model, path):
        temporary = path.with_name(f"tmp-{path.name}")
        model.save(temporary)
        os.replace(temporary, path)

    def save_checkpoint(self, model, epoch):
        """Keeps model, optimizer and position after `epoch` epochs, and the checkpoint before."""
        self.save_model(model, self._checkpoints / f"epoch-{epoch:04d}.keras")
        for path in self._checkpoint_files()[:-KEPT_CHECKPOINTS]:
            path.unlink()

    def latest_checkpoint(self):
        """Path of the latest checkpoint and its number of epochs; None and 0 where there is none."""
        files = self._checkpoint_files()
        return (files[-1], int(files[-1].stem.removeprefix("epoch-"))) if files else (None, 0)

    def _checkpoint_files(self):
        return sorted(self._checkpoints.glob("epoch-*.keras"))

    def load_model(self, which="final"):
        """The trained model, `"final"` or `"best"` (by validation accuracy).

        Raises:
            UserError: If the training has not come that far.
        """
        path = {"final": self.final_file, "best": self.best_file}[which]
        if not path.is_file():
            raise UserError(
                f"{self.path} has no {path.name}: its training is unfinished. `python -m recipes.train "
                f"{self._recipe_file} --run-dir {self.path}` goes on with it"
            )
        return keras.saving.load_model(path)

    def _write_text(self, path, text):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        os.replace(temporary, path)
