"""The whole way, from pictures to a .tflite file and its latency, for a static network and one with SB.

python -m tflite.quickstart [--run-dir DIR] [--set key=value ...]

Trains both on scikit-learn's handwritten digits, evaluates, folds, converts, and runs the files with LiteRT.
Ends with a table, quickstart.csv and quickstart.png. Started again, it goes on where it stopped.
"""

import argparse
import csv
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from recipes import data as data_sets
from recipes import registry
from recipes.errors import exit_code
from recipes.run_directory import RunDirectory
from recipes.train import train
from sb_keras.table import format_table
from tflite.convert import convert, describe, write_file
from tflite.evaluate import file_inputs
from tflite.interpreter import open_interpreter, predict
from tflite.latency import measure
from tflite.metadata import read_metadata

NETWORKS = {"static": "digits-mobilenetv2-static", "SB": "digits-mobilenetv2-sb"}
HEAD = ("network", "Keras accuracy", "TFLite accuracy", "parameters", "file size / kB", "latency / ms")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tflite.quickstart", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--run-dir", metavar="DIR", default="runs/quickstart", help="default: %(default)s")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="changes both recipes"
    )
    args = parser.parse_args(argv)
    folder = pathlib.Path(args.run_dir)

    recipes = {name: registry.find(recipe).override(args.set) for name, recipe in NETWORKS.items()}
    runs = {name: trained_run(folder / name.lower(), recipe) for name, recipe in recipes.items()}
    files = {name: converted_file(run) for name, run in runs.items()}
    accuracies = {name: tflite_accuracy(files[name], run.recipe) for name, run in runs.items()}
    latencies = dict(zip(files, measure(list(files.values())), strict=True))

    rows = [
        (
            name,
            run.result["test_accuracy"],
            accuracies[name],
            run.result["parameters"],
            files[name].stat().st_size / 1000,
            latencies[name].latency_ms_median,
        )
        for name, run in runs.items()
    ]
    printed = [
        (name, f"{keras:.4f}", f"{tflite:.4f}", f"{parameters:,}", f"{kilobytes:.0f}", f"{ms:.2f}")
        for name, keras, tflite, parameters, kilobytes, ms in rows
    ]
    print(f"\n{format_table(HEAD, printed, '<>>>>>')}")
    with (folder / "quickstart.csv").open("w", newline="") as file:
        csv.writer(file).writerows((HEAD, *rows))
    plot(runs, files, latencies, folder / "quickstart.png")
    print(f"\nThe files, the plot and the training logs are in {folder}:")
    for path in (*files.values(), folder / "quickstart.png", folder / "quickstart.csv"):
        print(f"  {path}")


def trained_run(folder, recipe):
    """The finished run of a recipe, trained now unless it was before."""
    run = RunDirectory(folder)
    run.check(recipe)
    if run.result is None:
        print(f"training {recipe.name}, {recipe.epochs} epochs", flush=True)
        train(run, recipe=recipe)
    return run


def converted_file(run):
    """The run's network as a .tflite file, with attention and normalization folded."""
    path = run.path.parent / f"{run.path.name}.tflite"
    data = run.recipe.data
    content = convert(run.load_model(), normalization=(data.mean, data.std))
    write_file(describe(content, run), path)
    return path


def tflite_accuracy(path, recipe):
    """The share of the test images that the .tflite file classifies rightly."""
    test = data_sets.load(recipe.data).test
    images = np.concatenate([x for x, _ in data_sets.evaluation_batches(test, recipe.data, 100)])
    inputs = file_inputs(images, recipe.data, read_metadata(path))
    predicted = predict(open_interpreter(path), inputs).argmax(axis=-1)
    return float(np.mean(predicted == test.labels))


def plot(runs, files, latencies, path):
    """Draws accuracy over the epochs, file size and latency."""
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(12, 3.8), width_ratios=(2, 1, 1), layout="constrained"
    )
    colors = {"static": "C7", "SB": "C0"}
    for name, run in runs.items():
        epochs = [row["epoch"] for row in run.log]
        accuracy = [100 * row["val_accuracy"] for row in run.log]
        left.plot(epochs, accuracy, marker=".", color=colors[name], label=name)
    left.set(xlabel="epoch", ylabel="validation accuracy / %", title="Training on handwritten digits")
    left.legend()
    left.grid(alpha=0.3)

    sizes = [files[name].stat().st_size / 1e6 for name in runs]
    medians = [latencies[name].latency_ms_median for name in runs]
    for axes, values, label in ((middle, sizes, "file size / MB"), (right, medians, "latency / ms")):
        bars = axes.bar(list(runs), values, color=[colors[name] for name in runs], width=0.6)
        axes.bar_label(bars, fmt="%.2f", padding=2)
        axes.set(title=f".tflite {label}")
        axes.margins(y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(exit_code(main))
