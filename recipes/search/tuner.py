"""keras-tuner's search: a trial is a recipe's training, with every seed in a run directory of its own."""

import itertools
import json
import pathlib
import sys
import time

import grpc
import keras
import keras_tuner
import numpy as np

from recipes.data import load
from recipes.errors import CannotWrite, UserError
from recipes.run_directory import RunDirectory
from recipes.search.directory import claim, most_trials
from recipes.search.sharing import PatientStub, beating, is_tuner, shared
from recipes.search.spaces import check_space, trial_recipe
from recipes.search.traced import Traced
from recipes.tasks import task_of
from recipes.training.loop import train
from recipes.training.monitoring import Diverged


class GridOracle(keras_tuner.Oracle):
    """Every combination in turn. keras-tuner 1.4's own grid loses its place when it is loaded again."""

    def populate_space(self, trial_id):
        choices = self.get_space().space
        combinations = itertools.product(*(choice.values for choice in choices))
        values = next(itertools.islice(combinations, len(self.start_order), None), None)
        if values is None:
            return {"status": keras_tuner.engine.trial.TrialStatus.STOPPED}
        names = [choice.name for choice in choices]
        return {
            "status": keras_tuner.engine.trial.TrialStatus.RUNNING,
            "values": dict(zip(names, values, strict=True)),
        }


class RecipeTuner(keras_tuner.Tuner):
    """Trains a recipe with the values of a trial, once for every seed.

    Args:
        recipe: The recipe whose values are searched for.
        dataset: Its dataset.
        seeds: How many seeds; the score is the mean of their validation accuracies (a detector's mean
            average precisions).
        bounds: Pairs of a `Cost` and its upper bound: what costs more is not trained.
        **kwargs: As `keras_tuner.Tuner`.
    """

    def __init__(self, recipe, dataset, seeds=1, bounds=(), **kwargs):
        self.recipe, self.dataset, self.seeds = recipe, dataset, seeds
        self.checks = [cost.check(most, self.classes_of) for cost, most in bounds]
        super().__init__(**kwargs)
        if is_tuner():
            self.oracle.stub = PatientStub(self.oracle.stub)
        self._waits, self._traced = False, Traced()

    def pre_create_trial(self):
        if self._waits:  # for what the others find, or for one of them to end
            time.sleep(1)
        self._waits = True

    def on_trial_begin(self, trial):
        self._waits = False
        if is_tuner():  # the chief's display says it otherwise
            values = ", ".join(f"{key}={value}" for key, value in trial.hyperparameters.values.items())
            print(f"trial {trial.trial_id}: {values}", flush=True)

    def run_trial(self, trial, *fit_args, **fit_kwargs):
        """Trains, or goes on training, the run directories of a trial."""
        try:
            scores = self._scores(trial)
        except CannotWrite as error:  # nor could the next trial
            raise keras_tuner.errors.FatalError(str(error)) from error
        except Exception as error:  # whatever it was, it is this trial's result
            reason = _reason(error)
            print(f"trial {trial.trial_id} failed: {reason}", file=sys.stderr)
            raise keras_tuner.errors.FailedTrialError(reason) from error
        return {self.oracle.objective.name: float(np.mean(scores))}

    def _scores(self, trial):
        values = dict(trial.hyperparameters.values)
        recipe = trial_recipe(self.recipe, values)
        for check in self.checks:
            check(recipe)
        settings, before = [], []
        if "tuner/epochs" in values:  # Hyperband's: a part of the training, from which the best go on
            if recipe.optimizer.schedule != "constant":
                settings.append(f"optimizer.schedule_epochs={recipe.epochs}")
            settings.append(f"epochs={values['tuner/epochs']}")
            before = self.runs(values["tuner/trial_id"]) if "tuner/trial_id" in values else []
        scores = []
        for number, run in enumerate(self.runs(trial.trial_id)):
            if before:
                before[number].copy_unfinished(run.path)
            keras.utils.clear_session()
            of_seed = recipe.override([f"seed={self.recipe.seed + number}", *settings])
            result = train(run, recipe=of_seed, traced=self._traced)
            scores.append(result[self.oracle.objective.name])
        return scores

    def classes_of(self, recipe):
        """How many classes a trial's recipe has."""
        ours, theirs = self.recipe.data, recipe.data
        if (ours.name, ours.directory) == (theirs.name, theirs.directory):
            return len(self.dataset.classes)
        return len(load(theirs).classes)  # other pictures are searched for

    def runs(self, trial_id):
        """The run directories of a trial, one a seed."""
        folder = pathlib.Path(self.directory, "trials", trial_id)
        return [RunDirectory(folder / f"seed-{self.recipe.seed + index}") for index in range(self.seeds)]


def _reason(error):
    """Why a trial failed, in a line."""
    if isinstance(error, Diverged | UserError):
        return str(error)
    exhausted = ("RESOURCE_EXHAUSTED", "OOM when allocating", "out of memory")
    text = f"{type(error).__name__}: {error}".strip()
    if isinstance(error, MemoryError) or any(words in text for words in exhausted):
        return "out of memory"
    return text.splitlines()[0]


def search(recipe, space, directory, algorithm="grid", trials=None, seeds=1, bounds=()):
    """Runs a search to its end, from where it stopped.

    Args:
        recipe: The recipe whose values are searched for.
        space: For keys of the recipe, as `--set` takes them, the values to try.
        directory: The directory of the search.
        algorithm: One of `ALGORITHMS`. Hyperband gives the recipe's epochs to the best only, which go on
            from the checkpoint of fewer; the schedule is over the recipe's epochs, wherever one ends.
        trials: How many trials at most; None for all of a grid or of Hyperband, and 10 otherwise. With more
            than before a search goes on.
        seeds: How many seeds a trial is run with.
        bounds: Pairs of a `Cost` and its upper bound.

    Returns:
        The `RecipeTuner`, whose oracle holds the trials.

    Raises:
        UserError: If a key or value does not suit the recipe, or the directory belongs to another search.
        CannotWrite: If the disk is full, for example. The same search goes on from there.
    """
    check_space(recipe, space, algorithm)
    dataset = load(recipe.data)
    recipe.steps(len(dataset.train))  # raises what every trial would
    claim(recipe, space, directory, algorithm, trials, seeds, bounds)

    hyperparameters = keras_tuner.HyperParameters()
    for key, values in space.items():
        hyperparameters.Choice(key, list(values), default=values[0])
    options = {
        "objective": keras_tuner.Objective(f"validation_{task_of(recipe).metric}", direction="max"),
        "hyperparameters": hyperparameters,
        "seed": recipe.seed + 1,  # keras-tuner takes 0 for none
        "max_consecutive_failed_trials": 10**9,  # a trial that fails is a result
    }
    if algorithm == "hyperband":
        oracle = shared(keras_tuner.oracles.HyperbandOracle)(max_epochs=recipe.epochs, **options)
        oracle.max_trials = trials
    else:
        kind = {
            "grid": GridOracle,
            "random": keras_tuner.oracles.RandomSearchOracle,
            "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        }[algorithm]
        oracle = shared(kind)(max_trials=most_trials(algorithm, trials), **options)
    keras_tuner.src.config.DEBUG = False  # or a trial that fails prints a page of traceback
    try:
        tuner = RecipeTuner(
            recipe,
            dataset,
            seeds,
            bounds,
            oracle=oracle,
            directory=str(directory),
            project_name="keras-tuner",
        )
        with beating(directory), oracle.watching(directory):
            tuner.search()
    except keras_tuner.errors.FatalError as error:
        raise CannotWrite(str(error)) from error
    except OSError as error:
        raise CannotWrite(f"cannot write to {directory}: {error.strerror}") from error
    except RuntimeError as error:  # grpc's
        if "Failed to bind" not in str(error):
            raise
        raise UserError(f"the chief cannot listen: {_reason(error)}") from error
    except grpc.RpcError as error:
        raise UserError(f"the chief of the search does not answer ({_reason(error)})") from error
    except json.JSONDecodeError as error:  # killed in the microseconds in which keras-tuner writes a file
        raise UserError(
            f"a file of keras-tuner is damaged ({error}). Delete {pathlib.Path(directory, 'keras-tuner')}: "
            "the search then begins anew, but networks that are trained already are not trained again"
        ) from error
    return tuner
