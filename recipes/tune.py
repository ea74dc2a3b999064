"""Searches for the best values of a recipe with keras-tuner; a search that was killed goes on.

    python -m recipes.tune RECIPE --run-dir DIR [--space lambda|gate|hidden|attention] [--choice KEY=VALUE,…]
        [--algorithm grid|random|bayesian|hyperband] [--trials N] [--seeds N] [--max-madds N]
        [--front madds] [--set …]

DIR gets a run directory for every trial and seed, best.json (a recipe for `recipes.train`), trials.csv and
trials.png. With `--front madds` the scores are set against the multiply-adds besides, in front.csv and
front.png: which trials does no other one beat in both? `python -m tflite.tune` knows the latency of .tflite
files, too. Several processes share a search by keras-tuner's environment variables: KERASTUNER_ORACLE_IP
and KERASTUNER_ORACLE_PORT, and KERASTUNER_TUNER_ID=chief in one process, tuner0, tuner1, … in the others.
"""

import os
import pathlib
import shlex
import sys

from recipes import pretrained, registry
from recipes.command import Parser, exit_code, start_keras
from recipes.data.catalog import check
from recipes.errors import UserError, check_in_range
from recipes.files import write_text
from recipes.search.costs import COSTS
from recipes.search.directory import check as check_directory
from recipes.search.spaces import ALGORITHMS, SPACES, check_space, trial_recipe
from recipes.tasks import task_of

PROCESS = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def main(argv=None, costs=COSTS, module="recipes.tune"):
    parser = Parser(module, __doc__)
    parser.add_recipe()
    parser.add_argument("--run-dir", metavar="DIR", required=True, help="where everything is written")
    parser.add_set(registry.named(argv))
    parser.add_argument("--space", choices=SPACES, help="which values to try (default: lambda, Table 8)")
    parser.add_argument(
        "--choice",
        metavar="KEY=VALUE,VALUE,…",
        action="append",
        default=[],
        help="values to try of one key, beside or instead of those of --space; lists: KEY=1,2;1,2,3",
    )
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="grid", help="default: %(default)s")
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="at most; default: all of a grid or hyperband, else 10",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of a trial (%(default)s)")
    for cost in costs:
        refuses = f"refuse networks of more than N {cost.label}, before they are trained"
        parser.add_argument(cost.option, type=cost.type, metavar="N", help=refuses)
    by_name = {cost.key.replace("_", "-"): cost for cost in costs}
    against = "also set the scores against this cost (latency-ms is for tflite.tune)"
    parser.add_argument("--front", choices=by_name, help=against)
    args = parser.parse_args(argv)

    recipe = pretrained.follow(registry.find(args.recipe).override(args.set), args.set)
    space = dict(SPACES[args.space or "lambda"]) if args.space or not args.choice else {}
    choices = list(map(_choice, args.choice))
    space.update(choices)
    for key in space:
        if [key for key, _ in choices].count(key) > 1:
            raise UserError(f"--choice takes every key once. Received: {key} several times")
    for option in ("trials", "seeds"):
        if getattr(args, option) is not None:
            check_in_range(f"--{option}", getattr(args, option), least=1)
    if args.front and args.algorithm in ("bayesian", "hyperband"):
        raise UserError(
            f"--front needs --algorithm grid or random: {args.algorithm} looks at the score alone, and "
            "trains no cheap networks that are worse"
        )
    recipe.override([f"seed={recipe.seed + args.seeds - 1}"])  # the last one is checked
    bounds = [(cost, most) for cost in costs if (most := getattr(args, cost.limit)) is not None]
    for cost, most in bounds:
        check_in_range(cost.option, most, above=0)
    check_space(recipe, space, args.algorithm)
    arguments = (recipe, space, args.run_dir, args.algorithm, args.trials, args.seeds, bounds)
    check_directory(*arguments)
    _check_processes()
    check(recipe.data)
    pretrained.check(recipe)
    start_keras()
    from recipes.search.sharing import is_tuner
    from recipes.search.tuner import search

    with parser.goes_on(argv):
        tuner = search(*arguments)
    if is_tuner():
        return 0  # the chief reports
    return finish(tuner, space, pathlib.Path(args.run_dir), by_name.get(args.front))


def finish(tuner, space, directory, cost=None):
    """Prints the report of a search and writes its files, also those of a `Cost`; 1 if no trial succeeded."""
    from recipes.search import report  # with Matplotlib

    rows, metric = report.trial_rows(tuner, space), task_of(tuner.recipe).metric
    pictures = len(tuner.dataset.validation)
    report.write_csv(directory / "trials.csv", list(space), rows, metric)
    succeeded = any(row.scores for row in rows)
    # A mean average precision is no share of pictures, and on other pictures nothing is equal.
    other_pictures = {"data.name", "data.directory", "data.validation_fraction"} & set(space)
    comparable = succeeded and metric == "accuracy" and not other_pictures
    error = report.standard_error(rows, pictures) if comparable else None
    print(report.table(list(space), rows, metric, error))
    if not succeeded:
        print("error: every trial failed", file=sys.stderr)
        return 1
    if error is not None:
        named = f"the standard error of {pictures} validation pictures"
        print(f"equal to the best: at most {100 * error:.2f} % below it, {named}")
    report.plot(list(space), rows, metric, tuner.recipe.name, directory / "trials.png", error)
    best = rows[0]
    write_text(trial_recipe(tuner.recipe, best.values).to_json(), directory / "best.json")
    if cost is not None:  # last: to measure many networks takes minutes
        report_front(tuner, space, directory, cost, rows, metric)
    print(
        f"best: trial {best.trial}. python -m recipes.train {_quoted(directory / 'best.json')} --run-dir … "
        "trains it"
    )
    return 0


def report_front(tuner, space, directory, cost, rows, metric):
    """Prints which trials no other one beats in score and cost, and writes front.csv and front.png."""
    from recipes.search import fronts, report  # with Matplotlib

    trials = report.trained_longest(rows)
    recipes = [trial_recipe(tuner.recipe, trial.values) for trial in trials]
    needed = cost.measure(recipes, tuner.classes_of)
    points = fronts.points_of(trials, needed)
    print(fronts.table(list(space), points, metric, cost))
    fronts.write_csv(directory / "front.csv", list(space), points, metric, cost)
    fronts.plot(list(space), points, metric, cost, tuner.recipe.name, directory / "front.png")
    recipe = tuner.runs("TRIAL")[0].path / "recipe.json"
    print(
        f"front: no other trial beats these in both. python -m recipes.train {_quoted(recipe)} --run-dir … "
        "trains one"
    )


def _quoted(path):
    return shlex.quote(str(path))


def _check_processes():
    """Raises a `UserError` unless keras-tuner's variables say all that one of several processes needs."""
    given = [name for name in PROCESS if os.environ.get(name)]
    if given and len(given) < len(PROCESS):
        lacking = ", ".join(name for name in PROCESS if name not in given)
        raise UserError(f"a search of several processes needs {', '.join(PROCESS)}. Received: no {lacking}")
    port = os.environ.get(PROCESS[-1], "1")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"{PROCESS[-1]} must be a port, from 1 to 65535. Received: {port}")


def _choice(text):
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise UserError(f"--choice takes KEY=VALUE,VALUE,… Received: {text!r}")
    # A list-valued key's values hold commas themselves; between them stands a semicolon.
    return key, tuple(values.removesuffix(";").split(";") if ";" in values else values.split(","))


if __name__ == "__main__":
    sys.exit(exit_code(main))
