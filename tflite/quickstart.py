"""The whole way, from pictures to a .tflite file and its latency, for a static network and one with SB.

python -m tflite.quickstart [--run-dir DIR] [--set key=value ...]

Trains both on scikit-learn's handwritten digits, evaluates, folds, converts, and runs the files with LiteRT.
Ends with a table, quickstart.csv and quickstart.png. Started again, it goes on where it stopped.
"""

import pathlib
import sys

from recipes import registry
from recipes.command import Parser, exit_code, start_keras
from recipes.data import load
from recipes.data.catalog import check
from recipes.errors import UserError
from recipes.files import write_bytes, write_csv
from recipes.run_directory import RunDirectory
from sb_keras.table import format_table
from tflite.interpreter import open_interpreter

NETWORKS = {"static": "digits-mobilenetv2-static", "SB": "digits-mobilenetv2-sb"}
HEAD = ("network", "Keras accuracy", "TFLite accuracy", "parameters", "file size / kB", "latency / ms")


def main(argv=None):
    parser = Parser("tflite.quickstart", __doc__)
    parser.add_argument("--run-dir", metavar="DIR", default="runs/quickstart", help="default: %(default)s")
    parser.add_set(registry.RECIPES[registry.DEFAULT], text="changes both recipes")
    args = parser.parse_args(argv)
    folder = pathlib.Path(args.run_dir)

    recipes = {
        name: registry.find(recipe).override(args.set, name == "static") for name, recipe in NETWORKS.items()
    }
    if (folder / "recipe.json").exists():
        raise UserError(f"{folder} is the directory of a training; choose another --run-dir")
    for name, recipe in recipes.items():
        RunDirectory(folder / name.lower()).check(recipe)
        check(recipe.data)
    start_keras(only="tensorflow")
    from tflite.latency import measure

    with parser.goes_on(argv):
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
    write_csv(folder / "quickstart.csv", HEAD, rows)
    plot(runs, files, latencies, folder / "quickstart.png")
    print(f"\nThe files, the plot and the training logs are in {folder}:")
    for path in (*files.values(), folder / "quickstart.png", folder / "quickstart.csv"):
        print(f"  {path}")


def trained_run(folder, recipe):
    """The finished run of a recipe, trained now unless it was before."""
    from recipes.training.loop import train

    run = RunDirectory(folder)
    if run.result is None or run.recipe != recipe:  # or is one of fewer epochs
        print(f"training {recipe.name}, {recipe.epochs} epochs", flush=True)
        train(run, recipe=recipe)
    return run


def converted_file(run):
    """The run's network as a .tflite file, with attention and normalization folded."""
    from tflite.export import build, metadata_of, pixel_input

    path = run.path.parent / f"{run.path.name}.tflite"
    content = build(run.load_model(), metadata=metadata_of(run), **pixel_input(run.recipe.data))
    write_bytes(content, path)
    return path


def tflite_accuracy(path, recipe):
    """The share of the test images that the .tflite file classifies rightly."""
    from tflite.accuracy import scores

    return scores({}, open_interpreter(path), load(recipe.data).test, recipe)["TFLite"] / 100


def plot(runs, files, latencies, path):
    """Draws accuracy over the epochs, file size and latency."""
    from recipes.plots import new_figure, save

    figure, ((left, middle, right),) = new_figure(columns=3, size=(12, 3.8), width_ratios=(2, 1, 1))
    colors = {"static": "C7", "SB": "C0"}
    for name, run in runs.items():
        epochs = [row["epoch"] for row in run.log]
        accuracy = [100 * row["val_accuracy"] for row in run.log]
        left.plot(epochs, accuracy, marker=".", color=colors[name], label=name)
    left.set(xlabel="epoch", ylabel="validation accuracy / %", title="Training on handwritten digits")
    left.legend()

    sizes = [files[name].stat().st_size / 1e6 for name in runs]
    medians = [latencies[name].latency_ms_median for name in runs]
    for axes, values, label in ((middle, sizes, "file size / MB"), (right, medians, "latency / ms")):
        bars = axes.bar(list(runs), values, color=[colors[name] for name in runs], width=0.6)
        axes.bar_label(bars, fmt="%.2f", padding=2)
        axes.set(title=f".tflite {label}")
        axes.margins(y=0.15)
        axes.grid(visible=False)
    save(figure, path)


if __name__ == "__main__":
    sys.exit(exit_code(main))
