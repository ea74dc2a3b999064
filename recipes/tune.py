"""Searches for the best values of a recipe with keras-tuner; a search that was killed goes on.

    python -m recipes.tune RECIPE --run-dir DIR [--space lambda|gate|hidden|attention] [--choice KEY=VALUE,…]
        [--algorithm grid|random|bayesian|hyperband] [--trials N] [--seeds N] [--max-madds N] [--set …]

`python -m tflite.tune` also takes a bound on the latency of the trials' .tflite files.
DIR gets a run directory for every trial and seed, best.json (a recipe for `recipes.train`), trials.csv and
trials.png. Several processes share a search by keras-tuner's environment variables: KERASTUNER_ORACLE_IP
and KERASTUNER_ORACLE_PORT, and KERASTUNER_TUNER_ID=chief in one process, tuner0, tuner1, … in the others.
"""

import argparse
import itertools
import json
import os
import pathlib
import sys

import keras
import keras_tuner
import numpy as np

from recipes import registry
from recipes import search_report as report
from recipes.bounds import BOUNDS
from recipes.data import steps_per_epoch
from recipes.errors import CannotWrite, UserError, check_in_range, exit_code
from recipes.monitoring import Diverged
from recipes.run_directory import RunDirectory, replacing
from recipes.spaces import SPACES
from recipes.tasks import task_of
from recipes.train import train

ALGORITHMS = ("grid", "random", "bayesian", "hyperband")


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
        seeds: How many seeds; the score is the mean of their validation accuracies (a detector's mean
            average precisions).
        checks: Functions of a trial's recipe, called before its training, which raise a `UserError` if the
            trial is not worth it.
        **kwargs: As `keras_tuner.Tuner`.
    """

    def __init__(self, recipe, seeds=1, checks=(), **kwargs):
        self.recipe, self.seeds, self.checks = recipe, seeds, checks
        super().__init__(**kwargs)

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
        epochs = values.get("tuner/epochs")  # Hyperband's
        recipe = trial_recipe(self.recipe, values)
        for check in self.checks:
            check(recipe)
        scores = []
        for run in self.runs(trial.trial_id):
            seed = self.recipe.seed + len(scores)
            settings = [f"seed={seed}", *([f"epochs={epochs}"] if epochs else [])]
            keras.utils.clear_session()
            result = train(run, recipe=recipe.override(settings))
            scores.append(result[self.oracle.objective.name])
        return scores

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


def trial_recipe(recipe, values):
    """The recipe with a trial's values."""
    return recipe.override(
        [f"{key}={value}" for key, value in values.items() if not key.startswith("tuner/")]
    )


def search(recipe, space, directory, algorithm="grid", trials=None, seeds=1, bounds=()):
    """Runs a search to its end, from where it stopped.

    Args:
        recipe: The recipe whose values are searched for.
        space: For keys of the recipe, as `--set` takes them, the values to try.
        directory: The directory of the search.
        algorithm: One of `ALGORITHMS`. Hyperband gives the recipe's epochs to the best only; every trial
            is trained from the start, with the schedule over its own epochs.
        trials: How many trials at most; None for all of a grid, and 10 otherwise.
        seeds: How many seeds a trial is run with.
        bounds: Pairs of a `Bound` and its value.

    Returns:
        The `RecipeTuner`, whose oracle holds the trials.

    Raises:
        UserError: If a key or value does not suit the recipe, or the directory belongs to another search.
        CannotWrite: If the disk is full, for example. The same search goes on from there.
    """
    if algorithm == "hyperband" and "epochs" in space:
        raise UserError("hyperband chooses the epochs itself; search other keys, or by another --algorithm")
    if recipe.model.attention.kind == "static" and not _varies_the_network(space):
        raise UserError(f"{recipe.name} is static: it has no attention whose values could be searched for")
    for key, values in space.items():
        for value in values:
            trial_recipe(recipe, {key: value})
    steps_per_epoch(task_of(recipe).load(recipe.data).train, recipe)  # raises what every trial would
    settings = {"space": space, "algorithm": algorithm, "trials": trials, "seeds": seeds}
    settings["bounds"] = {bound.key: value for bound, value in bounds}
    _claim(pathlib.Path(directory), recipe, json.loads(json.dumps(settings)))

    hyperparameters = keras_tuner.HyperParameters()
    for key, values in space.items():
        hyperparameters.Choice(key, list(values), default=values[0])
    options = {
        "objective": keras_tuner.Objective(f"validation_{task_of(recipe).METRIC}", direction="max"),
        "hyperparameters": hyperparameters,
        "seed": recipe.seed + 1,  # keras-tuner takes 0 for none
        "max_consecutive_failed_trials": 10**9,  # a trial that fails is a result
    }
    if algorithm == "hyperband":
        oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=recipe.epochs, **options)
        oracle.max_trials = trials
    else:
        oracle = {
            "grid": GridOracle,
            "random": keras_tuner.oracles.RandomSearchOracle,
            "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
        }[algorithm](max_trials=trials or (None if algorithm == "grid" else 10), **options)
    checks = [bound.check(value) for bound, value in bounds]
    keras_tuner.src.config.DEBUG = False  # or a trial that fails prints a page of traceback
    try:
        tuner = RecipeTuner(
            recipe, seeds, checks, oracle=oracle, directory=str(directory), project_name="keras-tuner"
        )
        tuner.search()
    except keras_tuner.errors.FatalError as error:
        raise CannotWrite(str(error)) from error
    except OSError as error:
        raise CannotWrite(f"cannot write to {directory}: {error.strerror}") from error
    except json.JSONDecodeError as error:  # killed in the microseconds in which keras-tuner writes a file
        raise UserError(
            f"a file of keras-tuner is damaged ({error}). Delete {pathlib.Path(directory, 'keras-tuner')}: "
            "the search then begins anew, but networks that are trained already are not trained again"
        ) from error
    return tuner


def main(argv=None, bounds=BOUNDS, prog="python -m recipes.tune"):
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe", help="a name that `python -m recipes.list` shows, or a recipe's JSON file")
    parser.add_argument("--run-dir", metavar="DIR", required=True, help="where everything is written")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="changes the recipe")
    parser.add_argument("--space", choices=SPACES, help="which values to try (default: lambda, Table 8)")
    parser.add_argument(
        "--choice",
        metavar="KEY=VALUE,VALUE,…",
        action="append",
        default=[],
        help="values to try of one key, beside or instead of those of --space",
    )
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="grid", help="default: %(default)s")
    parser.add_argument(
        "--trials", type=int, metavar="N", help="at most; default: all of a grid, otherwise 10"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of a trial (%(default)s)")
    for bound in bounds:
        parser.add_argument(bound.option, type=bound.type, metavar="N", help=bound.help)
    args = parser.parse_args(argv)

    recipe = registry.find(args.recipe).override(args.set)
    space = dict(SPACES[args.space or "lambda"]) if args.space or not args.choice else {}
    choices = list(map(_choice, args.choice))
    space.update(choices)
    for key, values in space.items():
        if [key for key, _ in choices].count(key) > 1:
            raise UserError(f"--choice takes every key once. Received: {key} several times")
        if len(set(values)) < len(values):
            raise UserError(f"--choice takes every value of a key once. Received: {key}={','.join(values)}")
    for option in ("trials", "seeds"):
        if getattr(args, option) is not None:
            check_in_range(f"--{option}", getattr(args, option), least=1)
    given = [(bound, value) for bound in bounds if (value := getattr(args, bound.key)) is not None]
    for bound, value in given:
        check_in_range(bound.option, value, above=0)
    tuner = search(recipe, space, args.run_dir, args.algorithm, args.trials, args.seeds, given)
    if os.environ.get("KERASTUNER_TUNER_ID", "chief") != "chief":
        return 0  # the chief reports
    return finish(tuner, space, pathlib.Path(args.run_dir))


def finish(tuner, space, directory):
    """Prints the report of a search and writes its files; 1 if no trial succeeded."""
    rows, metric = report.trial_rows(tuner, space), task_of(tuner.recipe).METRIC
    report.write_csv(directory / "trials.csv", list(space), rows, metric)
    print(report.table(list(space), rows, metric))
    if not any(row.scores for row in rows):
        print("error: every trial failed", file=sys.stderr)
        return 1
    with replacing(directory / "trials.png") as temporary:
        report.plot(next(iter(space)), rows, metric, tuner.recipe.name, temporary)
    best = max((row for row in rows if row.scores), key=lambda row: np.mean(row.scores))
    with replacing(directory / "best.json") as temporary:
        temporary.write_text(trial_recipe(tuner.recipe, best.values).to_json(), encoding="utf-8")
    print(
        f"best: trial {best.trial}. python -m recipes.train {directory / 'best.json'} --run-dir … trains it"
    )
    return 0


def _varies_the_network(space):
    """Whether a space has more to it than values of the attention, which a static network has none of."""
    return any(not key.startswith("model.attention.") or key.endswith(".kind") for key in space)


def _choice(text):
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise UserError(f"--choice takes KEY=VALUE,VALUE,… Received: {text!r}")
    # A list-valued key's values hold commas themselves; between them stands a semicolon.
    return key, tuple(values.split(";" if ";" in values else ","))


def _claim(directory, recipe, settings):
    """Makes a directory that of this search; raises a `UserError` if it is that of another."""
    file = directory / "search.json"
    ours = {"recipe": json.loads(recipe.to_json()), **settings}
    try:
        if file.is_file():
            theirs = json.loads(file.read_text(encoding="utf-8"))
            if theirs.get("recipe") != ours["recipe"]:
                raise UserError(f"{directory} belongs to a search with another recipe")
            different = [key for key in settings if settings[key] != theirs.get(key)]
            if different:
                listed = "; ".join(f"{key} is {theirs.get(key)} there, {ours[key]} here" for key in different)
                raise UserError(f"{directory} belongs to another search: {listed}")
        elif directory.exists() and not directory.is_dir():
            raise UserError(f"{directory} is not a directory; choose another --run-dir")
        elif directory.is_dir() and any(directory.iterdir()):
            raise UserError(f"{directory} is not empty and has no search.json; choose another --run-dir")
        else:
            directory.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CannotWrite(f"cannot write to {directory}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is damaged: {error}") from error


if __name__ == "__main__":
    sys.exit(exit_code(main))
