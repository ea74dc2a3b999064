"""Searches for the best values of a recipe with keras-tuner; a search that was killed goes on.

    python -m recipes.tune RECIPE --run-dir DIR [--space lambda|gate|hidden|attention] [--choice KEY=VALUE,…]
        [--algorithm grid|random|bayesian|hyperband] [--trials N] [--seeds N] [--max-madds N] [--set …]

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

import sb_keras
from recipes import classification, registry
from recipes import search_report as report
from recipes.errors import UserError, check_in_range, exit_code
from recipes.monitoring import Diverged
from recipes.run_directory import RunDirectory, replacing
from recipes.spaces import SPACES
from recipes.tasks import task_of
from recipes.train import train

ALGORITHMS = ("grid", "random", "bayesian", "hyperband")
OBJECTIVE = keras_tuner.Objective("validation_accuracy", direction="max")


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
        seeds: How many seeds; the score is the mean of their validation accuracies.
        check: A function of a trial's recipe, called before its training, which raises a `UserError` if the
            trial is not worth it.
        **kwargs: As `keras_tuner.Tuner`.
    """

    def __init__(self, recipe, seeds=1, check=lambda recipe: None, **kwargs):
        self.recipe, self.seeds, self.check = recipe, seeds, check
        super().__init__(**kwargs)

    def run_trial(self, trial, *fit_args, **fit_kwargs):
        """Trains, or goes on training, the run directories of a trial."""
        values = dict(trial.hyperparameters.values)
        epochs = values.get("tuner/epochs")  # Hyperband's
        try:
            recipe = trial_recipe(self.recipe, values)
            self.check(recipe)
            scores = []
            for run in self.runs(trial.trial_id):
                seed = self.recipe.seed + len(scores)
                settings = [f"seed={seed}", *([f"epochs={epochs}"] if epochs else [])]
                keras.utils.clear_session()
                scores.append(train(run, recipe=recipe.override(settings))["validation_accuracy"])
        except (Diverged, UserError) as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        return {OBJECTIVE.name: float(np.mean(scores))}

    def runs(self, trial_id):
        """The run directories of a trial, one a seed."""
        folder = pathlib.Path(self.directory, "trials", trial_id)
        return [RunDirectory(folder / f"seed-{self.recipe.seed + index}") for index in range(self.seeds)]


def trial_recipe(recipe, values):
    """The recipe with a trial's values."""
    return recipe.override(
        [f"{key}={value}" for key, value in values.items() if not key.startswith("tuner/")]
    )


def check_madds(most):
    """A check that refuses networks of more than so many multiply-adds."""

    def check(recipe):
        # The classifier's share does not depend on what is searched for, so that ten classes will do.
        madds = sb_keras.profile(recipe.model.build(recipe.data.image_size, 10)).total.madds
        if madds > most:
            raise UserError(f"{madds:,} multiply-adds; at most {most:,} are allowed")

    return check


def search(recipe, space, directory, algorithm="grid", trials=None, seeds=1, check=lambda recipe: None):
    """Runs a search to its end, from where it stopped.

    Args:
        recipe: The recipe whose values are searched for.
        space: For keys of the recipe, as `--set` takes them, the values to try.
        directory: The directory of the search.
        algorithm: One of `ALGORITHMS`. Hyperband gives the recipe's epochs to the best only; every trial
            is trained from the start, with the schedule over its own epochs.
        trials: How many trials at most; None for all of a grid, and 10 otherwise.
        seeds: How many seeds a trial is run with.
        check: See `RecipeTuner`.

    Returns:
        The `RecipeTuner`, whose oracle holds the trials.

    Raises:
        UserError: If a key or value does not suit the recipe, or the directory belongs to another search.
    """
    for key, values in space.items():
        for value in values:
            trial_recipe(recipe, {key: value})
    settings = {"space": space, "algorithm": algorithm, "trials": trials, "seeds": seeds}
    _claim(pathlib.Path(directory), recipe, json.loads(json.dumps(settings)))

    hyperparameters = keras_tuner.HyperParameters()
    for key, values in space.items():
        hyperparameters.Choice(key, list(values), default=values[0])
    options = {
        "objective": OBJECTIVE,
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
    tuner = RecipeTuner(
        recipe, seeds, check, oracle=oracle, directory=str(directory), project_name="keras-tuner"
    )
    tuner.search()
    return tuner


def main(argv=None, add_options=None, checks=None):
    parser = argparse.ArgumentParser(
        prog="python -m recipes.tune", description=(__doc__ or "").partition("\n")[0]
    )
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
    parser.add_argument("--max-madds", type=int, metavar="N", help="refuse networks of more multiply-adds")
    args = parser.parse_args(argv)

    recipe = registry.find(args.recipe).override(args.set)
    if task_of(recipe) is not classification:
        raise UserError(f"a search compares accuracies; {recipe.name} is a detector's recipe")
    space = dict(SPACES[args.space or "lambda"]) if args.space or not args.choice else {}
    space.update(map(_choice, args.choice))
    for option in ("trials", "seeds", "max_madds"):
        if getattr(args, option) is not None:
            check_in_range(f"--{option.replace('_', '-')}", getattr(args, option), least=1)
    check = check_madds(args.max_madds) if args.max_madds else lambda recipe: None
    tuner = search(recipe, space, args.run_dir, args.algorithm, args.trials, args.seeds, check)
    if os.environ.get("KERASTUNER_TUNER_ID", "chief") != "chief":
        return 0  # the chief reports
    return finish(tuner, space, pathlib.Path(args.run_dir))


def finish(tuner, space, directory):
    """Prints the report of a search and writes its files; 1 if no trial succeeded."""
    rows = report.trial_rows(tuner, space)
    report.write_csv(directory / "trials.csv", list(space), rows)
    print(report.table(list(space), rows))
    if not any(row.scores for row in rows):
        print("error: every trial failed", file=sys.stderr)
        return 1
    with replacing(directory / "trials.png") as temporary:
        report.plot(next(iter(space)), rows, tuner.recipe.name, temporary)
    best = max((row for row in rows if row.scores), key=lambda row: np.mean(row.scores))
    with replacing(directory / "best.json") as temporary:
        temporary.write_text(trial_recipe(tuner.recipe, best.values).to_json(), encoding="utf-8")
    print(
        f"best: trial {best.trial}. python -m recipes.train {directory / 'best.json'} --run-dir … trains it"
    )
    return 0


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
            different = [key for key in ours if ours[key] != theirs.get(key)]
            if different:
                raise UserError(f"{directory} belongs to another search: its {', '.join(different)} differ")
        elif directory.is_dir() and any(directory.iterdir()):
            raise UserError(f"{directory} is not empty and has no search.json; choose another --run-dir")
        else:
            directory.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is damaged: {error}") from error


if __name__ == "__main__":
    sys.exit(exit_code(main))
