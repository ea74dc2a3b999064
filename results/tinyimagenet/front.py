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
LEAST = 13  # percent: SE in all layers, at 3, would leave no room for the others
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


def plot(points_by_file, path):
    """Accuracy over latency, a panel a quantization; steps join those that no other one beats in both."""
    figure, grid = new_figure(columns=2, size=(11.0, 4.6), sharey=True)
    names = [point.trial.trial for point in points_by_file["float32"]]
    for axes, (quantization, points) in zip(grid[0], points_by_file.items(), strict=True):
        for point in points:
            trial, several = point.trial, len(point.trial.scores) > 1
            if 100 * trial.score > LEAST:
                color, bar = f"C{names.index(trial.trial) % 10}", 100 * trial.deviation if several else None
                style = {"fmt": "o" if several else "s", "color": color, "capsize": 3, "label": trial.trial}
                axes.errorbar(point.cost, 100 * trial.score, bar, **style)
        front = [(point.cost, 100 * point.trial.score) for point in points if point.is_on_front]
        axes.step(*zip(*front, strict=True), where="post", color="0.7", zorder=0)
        axes.set(title=f"{quantization} file", xlabel="× static ×0.35's time")
    grid[0][0].set(ylabel="test accuracy / %", ylim=(LEAST, None))
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right", frameon=False)
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
    plot(points, png)


if __name__ == "__main__":
    main(*sys.argv[1:])
