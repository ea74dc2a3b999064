"""Test accuracy on Tiny-ImageNet against what the .tflite files of the networks take, at 64 pixels.

    python results/tinyimagenet/front.py OUT.csv OUT.png

The networks are those of the runs beside this file; a folder's last number is the seed. Here their weights
are random, which latency does not depend on. The files are timed in turn, on one thread, and compared with
static ×0.35's.
"""

import collections
import pathlib
import statistics
import sys
import tempfile

import numpy as np

from recipes.command import quiet
from recipes.files import check_new_file, write_bytes, write_csv
from recipes.plots import new_figure, save
from recipes.processor import processor
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.table import format_table
from tflite.export import convert
from tflite.latency import measure

FIRST, CONTROL = "static", "static-cpu"  # the same network, trained by another program
LEAST = 13  # percent: SE in all layers, at 3, would leave no room for the others
HEAD = ("network", "quantization", "times_static", "ms", "size_mb", "test_accuracy", "deviation", "seeds")
RUNS = 300


def scores():
    """For every network a recipe and its runs' accuracies: `{name: (recipe, [accuracy, ...])}`."""
    found = collections.defaultdict(list)
    for file in sorted(pathlib.Path(__file__).parent.glob("*/result.json")):
        name = file.parent.name.rpartition("-")[0]
        if name != CONTROL:
            found[name].append(RunDirectory(file.parent))
    names = sorted(found, key=lambda name: name != FIRST)
    return {name: (found[name][0].recipe, [r.result["test_accuracy"] for r in found[name]]) for name in names}


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


def plot(rows, path):
    """Accuracy over latency, a panel a quantization; steps join those that no other one beats in both."""
    names = list(dict.fromkeys(row[0] for row in rows))
    figure, grid = new_figure(columns=2, size=(11.0, 4.6), sharey=True)
    for axes, quantization in zip(grid[0], ("float32", "int8"), strict=True):
        shown = (row for row in rows if row[1] == quantization and 100 * row[5] > LEAST)
        points = sorted(shown, key=lambda row: row[2])
        for name, _, times, *_, accuracy, deviation, seeds in points:
            color = f"C{names.index(name) % 10}"
            bar = 100 * deviation if seeds > 1 else None
            style = {"fmt": "o" if seeds > 1 else "s", "color": color, "capsize": 3, "label": name}
            axes.errorbar(times, 100 * accuracy, bar, **style)
        front = [p for n, p in enumerate(points) if all(p[5] > other[5] for other in points[:n])]
        axes.step([p[2] for p in front], [100 * p[5] for p in front], where="post", color="0.7", zorder=0)
        axes.set(title=f"{quantization} file", xlabel="× static ×0.35's time")
    grid[0][0].set(ylabel="test accuracy / %", ylim=(LEAST, None))
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right", frameon=False)
    save(figure, path)


def main(csv, png):
    for path in (csv, png):
        check_new_file(path)
    networks, rows = scores(), []
    for quantization in ("float32", "int8"):
        measured = timed({name: recipe for name, (recipe, _) in networks.items()}, quantization)
        for (name, (_, accuracies)), row in zip(networks.items(), measured, strict=True):
            deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
            accuracy = statistics.mean(accuracies), deviation, len(accuracies)
            rows.append(
                (name, quantization, row.ratio, row.latency_ms_median, row.size_bytes / 1e6, *accuracy)
            )
    print(processor())
    cells = [[*row[:2], *(f"{cell:.3g}" for cell in row[2:])] for row in rows]
    print(format_table(HEAD, cells, "<<>>>>>>"))
    write_csv(csv, HEAD, rows)
    plot(rows, png)


if __name__ == "__main__":
    main(*sys.argv[1:])
