"""Puts runs side by side: a table, and with --plot their curves, costs and λ.

python -m recipes.report DIR [DIR …] [--csv FILE] [--plot FILE.png]

A run that is still going on is shown as far as it has come.
"""

import os
import pathlib
import re
import sys
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np

import sb_keras
from recipes.command import Parser, exit_code, progress, start_keras
from recipes.errors import UserError
from recipes.fields import flat_items
from recipes.files import check_outputs, distinct_labels, write_csv
from recipes.keras_file import load_model
from recipes.recipe import Recipe, short_names
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.table import format_table


@dataclass(frozen=True)
class Row:
    """One run; None is what an unfinished run does not have yet.

    Attributes:
        run: What tells its directory from the others'.
        recipe: Name of its recipe.
        settings: What `--set` changed in it, but for the seed and the epochs. Of a recipe of the user's own,
            in what it differs from the other runs'.
        seed: Its seed.
        epochs: Epochs that are done, and epochs in all.
        parameters: Of the trained network.
        madds: Multiply-adds of the trained network, for one image.
        test: Accuracy, or mean average precision, of the last epoch's weights on the test images.
        validation: On the validation images, after the last epoch that is done.
        best_validation: The largest on the validation images.
        seconds: Time of the training.
    """

    run: str
    recipe: str
    settings: str
    seed: int
    epochs: str
    parameters: int | None
    madds: int | None
    test: float | None
    validation: float | None
    best_validation: float | None
    seconds: float | None


@dataclass(frozen=True)
class Run:
    """What there is of a run: its row, recipe and log, mean |λ| of its SB layers, and what its metric is."""

    row: Row
    recipe: Recipe
    log: list[dict[str, Any]]
    lambdas: list[float]
    metric: str


def read(path, label, others=()):
    """Reads a run directory. One without models (they are large) is shown without λ.

    Args:
        path: The directory.
        label: What the run is called.
        others: The recipes of the runs beside it.

    Raises:
        UserError: If it is none, or a file in it is damaged.
    """
    import keras  # takes seconds, with its backend

    run = RunDirectory.existing(path)
    recipe, result = run.recipe, run.result or {}
    metric = task_of(recipe).metric
    if result:  # of fewer epochs, if early stopping has ended it
        checkpoint, done = run.final_file, result.get("epochs", recipe.epochs)
    else:
        checkpoint, done = run.latest_checkpoint()
    log = run.rows_until(done)
    trained = load_model(checkpoint) if checkpoint and checkpoint.is_file() else None
    shift_balance = sb_keras.layers.ShiftBalance
    layers = [layer for layer in (trained.layers if trained else []) if isinstance(layer, shift_balance)]
    lambdas = [float(np.mean(np.abs(keras.ops.convert_to_numpy(layer.lambda_)))) for layer in layers]
    model = trained or (_untrained(recipe, len(result["classes"])) if result else None)
    total: Any = sb_keras.profile(model).total if model else None
    keras.utils.clear_session()
    values = [row[f"val_{metric}"] for row in log]
    row = Row(
        label,
        recipe.name,
        settings(recipe, others),
        recipe.seed,
        f"{done}/{recipe.epochs}",
        total and total.parameters,
        total and total.madds,
        result.get(f"test_{metric}"),
        values[-1] if values else None,
        max(values, default=None),
        round(sum(row["seconds"] for row in log), 1) if log else None,
    )
    return Run(row, recipe, log, lambdas, metric)


def _untrained(recipe, classes):
    network = replace(recipe.model, backbone=None, weights=None)  # what it began with is of no interest
    return task_of(recipe).compiled_model(replace(recipe, model=network), classes)


def settings(recipe, others=()):
    """What tells a recipe from the one of its name, or where there is none from others, as text.

    Name, seed and epochs are left out: they have columns of their own.
    """
    known = RECIPES.get(recipe.name)
    compared = [known] if known else others
    keys = {key for other in compared for key, *_ in recipe.differences(other)} - {"name", "seed", "epochs"}
    values = {key: value for key, value in flat_items(recipe) if key in keys}
    return ", ".join(f"{n}={value}" for n, value in zip(short_names(values), values.values(), strict=True))


def table(runs):
    """The runs as text, and below them mean and standard deviation of those that differ in the seed alone."""
    metric = runs[0].metric.replace("_", " ")
    head = ("run", "recipe", "settings", "seed", "epochs", "parameters", "madds")
    head += (f"test {metric} / %", "validation", "best")
    cells = []
    for run in runs:
        row = run.row
        counts = ["" if count is None else f"{count:,}" for count in (row.parameters, row.madds)]
        scores = (row.test, row.validation, row.best_validation)
        scores = ["" if score is None else f"{100 * score:.2f}" for score in scores]
        cells.append((row.run, row.recipe, row.settings, str(row.seed), row.epochs, *counts, *scores))
    lines = [format_table(head, cells, "<<<>>>>>>>")]
    for recipe, group in by_recipe(runs).items():
        some = tests_by_seed(group)
        if len(some) > 1:
            text = settings(recipe, [run.recipe for run in runs])
            name = " ".join(filter(None, (recipe.name, text)))
            spread = f"{np.mean(some):.2f} ± {np.std(some, ddof=1):.2f} %"
            lines.append(f"{name}, {recipe.epochs} epochs, {len(some)} seeds: {spread}")
    return "\n".join(lines)


def by_recipe(runs):
    """The runs of every recipe, whatever their seeds."""
    groups = {}
    for run in runs:
        groups.setdefault(replace(run.recipe, seed=0), []).append(run)
    return groups


def tests_by_seed(group):
    """Test scores in percent of some runs, one a seed: a seed's second run is no other sample."""
    scores = {}
    for run in group:
        if run.row.test is not None:
            scores.setdefault(run.row.seed, 100 * run.row.test)
    return list(scores.values())


def plot(runs, path):
    """Draws curves, test accuracy against parameters and multiply-adds, and λ by layer, as a PNG file.

    Runs that differ in the seed alone have one color; their accuracy is the mean with its standard deviation.
    """
    from recipes.plots import color_map, new_figure, save

    metric = runs[0].metric.replace("_", " ")
    groups = by_recipe(runs).values()
    colors = color_map(len(groups))
    labels = _labels(groups)
    figure, axes = new_figure(2, 2, (12, 9))
    curves, sizes, costs, lambdas = axes.flat
    for index, group in enumerate(groups):
        style = {"color": colors(index % colors.N)}
        for number, run in enumerate(group):
            scores = [100 * row[f"val_{run.metric}"] for row in run.log]
            label = None if number else labels[index]
            curves.plot([row["epoch"] for row in run.log], scores, ".-", label=label, **style)
            if run.lambdas:
                lambdas.plot(range(1, len(run.lambdas) + 1), run.lambdas, ".-", **style)
        if scores := tests_by_seed(group):
            row = next(run.row for run in group if run.row.test is not None)
            spread = np.std(scores, ddof=1) if len(scores) > 1 else None
            for each, cost in ((sizes, row.parameters), (costs, row.madds)):
                each.errorbar(cost / 1e6, np.mean(scores), spread, fmt="o", capsize=4, **style)
    for start in {run.recipe.model.attention.lambda_init for run in runs if run.lambdas}:
        lambdas.axhline(start, color="gray", linestyle="--", linewidth=1)
    curves.set(xlabel="epoch", ylabel=f"validation {metric} / %")
    sizes.set(xlabel="parameters / million", ylabel=f"test {metric} / %")
    costs.set(xlabel="multiply-adds of an image / million", ylabel=f"test {metric} / %")
    lambdas.set(xlabel="SB layer, from the input to the output", ylabel="mean |λ| (dashed: initial)")
    for each in axes.flat:
        if not each.lines:  # no run has any λ, or has come so far
            each.set_axis_off()
    figure.legend(*curves.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    save(figure, path)


def _labels(groups):
    """What runs that differ in the seed alone are called together, other than those of any other group."""
    names = [[run.row.run for run in group] for group in groups]
    shared = [each[0] if len(each) == 1 else re.sub(r"[-_ ]*\d+$", "", each[0]) or each[0] for each in names]
    return [
        label if shared.count(label) == 1 else ", ".join(each)
        for label, each in zip(shared, names, strict=True)
    ]


def main(argv=None):
    parser = Parser("recipes.report", __doc__)
    parser.add_argument("run_dirs", metavar="DIR", nargs="+", help="run directories that recipes.train wrote")
    parser.add_csv("the table")
    parser.add_plot("them")
    parser.add_overwrite("output files")
    args = parser.parse_args(argv)
    check_outputs(args.csv, overwrite=args.overwrite, plot=args.plot)
    paths = list(dict.fromkeys(map(os.path.abspath, args.run_dirs)))
    recipes = {path: RunDirectory.existing(path).recipe for path in paths}
    tasks = {path: task_of(recipe).metric for path, recipe in recipes.items()}
    if len(set(tasks.values())) > 1:
        kinds = ", ".join(f"{path}: {metric}" for path, metric in tasks.items())
        raise UserError(f"classifiers and detectors cannot be compared ({kinds})")

    start_keras()
    labelled = list(zip(paths, distinct_labels(map(pathlib.Path, paths)), strict=True))
    runs = [read(path, label, recipes.values()) for path, label in progress(labelled, unit="run")]
    print(table(runs))
    if args.csv:
        write_csv(args.csv, [field.name for field in fields(Row)], [astuple(run.row) for run in runs])
    if args.plot:
        plot(runs, args.plot)


if __name__ == "__main__":
    sys.exit(exit_code(main))
