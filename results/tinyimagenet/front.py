"""Test accuracy on Tiny-ImageNet against what the .tflite files of the networks take, at 64 pixels.

    python results/tinyimagenet/front.py OUT.csv OUT.png

The networks are those of the runs beside this file; a folder's last number is the seed. Here their weights
are random, which latency does not depend on. The files are timed in turn, on one thread, and compared with
static ×0.35's.
"""

import collections
import pathlib
import sys
import tempfile
from fractions import Fraction

import numpy as np

from recipes.command import quiet
from recipes.files import check_new_file, write_bytes, write_csv
from recipes.plots import new_figure, save
from recipes.processor import processor
from recipes.run_directory import RunDirectory
from recipes.search.fronts import points_of
from recipes.search.report import Trial
from recipes.tasks import task_of
from sb_keras.table import format_table
from tflite.export import convert
from tflite.latency import measure

FIRST, CONTROL = "static", "static-cpu"  # the same network, trained by another program
LEAST = 18  # percent: SE in all layers, at 3, and in the pointwise ones, at 14, would leave no room
HEAD = ("network", "quantization", "times_static", "ms", "size_mb", "test_accuracy", "deviation", "seeds")
RUNS = 300


def trained():
    """Of every network a recipe and its runs: `{name: (recipe, Trial)}`."""
    found = collections.defaultdict(list)
    for file in sorted(pathlib.Path(__file__).parent.glob("*/result.json")):
        name = file.parent.name.rpartition("-")[0]
        if name != CONTROL:
            found[name].append(RunDirectory(file.parent))
    networks = {}
    for name in sorted(found, key=lambda name: name != FIRST):
        recipe, accuracies = found[name][0].recipe, tuple(r.result["test_accuracy"] for r in found[name])
        networks[name] = recipe, Trial(name, {}, recipe.epochs, accuracies, "")
    return networks


def timed(recipes, quantization):
    """Rows of `tflite.latency.measure`, of the networks of some recipes."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, recipe in recipes.items():
            size = recipe.data.image_size
            images = np.random.default_rng(0).normal(size=(8, size, size, 3)).astype("float32")
            model = task_of(recipe).compiled_model(recipe, 200)
            paths.append(pathlib.Path(folder, f"{name}.tflite"))
            with quiet():
                content = convert(model, quantization, images)
            write_bytes(content, paths[-1])
        return measure(paths, runs=RUNS)


def family_of(recipe):
    """What networks that differ in one width alone have in common; and that width, theirs or the branch's."""
    attention = recipe.model.attention
    if attention.kind == "static":
        return "static", f"×{recipe.model.width_multiplier:g}"
    hidden = str(Fraction(attention.hidden_multiplier))
    if attention.kind == "se-block":
        return "SE, block-wise", hidden
    where = {2: "the pointwise convolutions", 3: "all convolutions"}[len(attention.positions)]
    if attention.blocks:
        where = f"blocks {attention.blocks[0]} to {attention.blocks[-1]}"
    return f"{attention.kind.upper()} in {where}", hidden


def plot(points_by_file, recipes, path):
    """Accuracy over latency, a panel a quantization; steps join those that no other one beats in both."""
    figure, grid = new_figure(columns=2, size=(12.0, 5.0), sharey=True)
    families = list(dict.fromkeys(family_of(recipe)[0] for recipe in recipes.values()))
    for axes, (quantization, points) in zip(grid[0], points_by_file.items(), strict=True):
        for number, family in enumerate(families):
            shown = [
                point
                for point in points
                if family_of(recipes[point.trial.trial])[0] == family and 100 * point.trial.score > LEAST
            ]
            for point in shown:
                trial, several = point.trial, len(point.trial.scores) > 1
                bar = 100 * trial.deviation if several else None
                style = {"fmt": "o" if several else "s", "color": f"C{number}", "capsize": 3}
                axes.errorbar(point.cost, 100 * trial.score, bar, **style)
                label = family_of(recipes[trial.trial])[1]
                at = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 8, "color": f"C{number}"}
                axes.annotate(label, (point.cost, 100 * trial.score), **at)
            line = [point.cost for point in shown], [100 * point.trial.score for point in shown]
            axes.plot(*line, color=f"C{number}", alpha=0.5, linewidth=2, label=family if shown else None)
        front = [(point.cost, 100 * point.trial.score) for point in points if point.is_on_front]
        axes.step(*zip(*front, strict=True), where="post", color="0.8", linewidth=4, zorder=0)
        axes.set(title=f"{quantization} file", xlabel="× static ×0.35's time")
    grid[0][0].set(ylabel="test accuracy / %", ylim=(LEAST, None))
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    save(figure, path)


def main(csv, png):
    for path in (csv, png):
        check_new_file(path)
    networks, points, rows = trained(), {}, []
    trials = [trial for _, trial in networks.values()]
    for quantization in ("float32", "int8"):
        measured = timed({name: recipe for name, (recipe, _) in networks.items()}, quantization)
        points[quantization] = points_of(trials, [row.ratio for row in measured])
        for trial, row in zip(trials, measured, strict=True):
            cost = row.ratio, row.latency_ms_median, row.size_bytes / 1e6
            deviation = trial.deviation if len(trial.scores) > 1 else 0.0
            rows.append((trial.trial, quantization, *cost, trial.score, deviation, len(trial.scores)))
    print(processor())
    cells = [[*row[:2], *(f"{cell:.3g}" for cell in row[2:])] for row in rows]
    print(format_table(HEAD, cells, "<<>>>>>>"))
    write_csv(csv, HEAD, rows)
    plot(points, {name: recipe for name, (recipe, _) in networks.items()}, png)


if __name__ == "__main__":
    main(*sys.argv[1:])
