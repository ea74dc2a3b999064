"""Shows the test accuracy of a TFLite file, and how far it agrees with the Keras model it came from.

python -m tflite.evaluate FILE.tflite RECIPE [--images N] [--threads N]

RECIPE is a name, a recipe's JSON file, or a run directory; with the last, the Keras model is compared too.
"""

import argparse
import pathlib
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from recipes import data as data_sets
from recipes import registry
from recipes.errors import UserError, check_in_range, exit_code
from recipes.run_directory import RunDirectory
from sb_keras.table import format_table


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tflite.evaluate", description="Shows the test accuracy of a TFLite file."
    )
    parser.add_argument("file", metavar="FILE.tflite")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name or JSON file, or a run directory")
    parser.add_argument("--model", choices=("final", "best"), default="final", help="the run's Keras model")
    parser.add_argument("--images", type=int, metavar="N", help="use only the first N test images")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: %(default)s")
    args = parser.parse_args(argv)

    check_in_range("--threads", args.threads, least=1)
    if args.images is not None:
        check_in_range("--images", args.images, least=1)
    run = RunDirectory.existing(args.recipe) if pathlib.Path(args.recipe).is_dir() else None
    recipe = run.recipe if run else registry.find(args.recipe)
    model = run.load_model(args.model) if run else None
    interpreter = open_interpreter(args.file, args.threads)
    dataset = data_sets.load(recipe.data)
    labels = read_labels(args.file)
    if labels is not None:
        data_sets.check_class_names(dataset, labels)
    test = dataset.test
    if args.images:
        test = test.select(slice(args.images))
    images = np.concatenate([x for x, _ in data_sets.evaluation_batches(test, recipe.data, 250)])
    _check_model(interpreter, images.shape[1:], len(dataset.classes), args.file)

    outputs = predict(interpreter, images, progress=sys.stderr.isatty())
    rows = [("TFLite", f"{np.mean(outputs.argmax(-1) == test.labels):.4f}", "", "")]
    if model is not None:
        expected = model.predict(images, batch_size=250, verbose=0)
        agreement = np.mean(outputs.argmax(-1) == expected.argmax(-1))
        accuracy = np.mean(expected.argmax(-1) == test.labels)
        rows = [("Keras", f"{accuracy:.4f}", "", ""), rows[0]]
        rows[1] = (*rows[1][:2], f"{agreement:.4f}", f"{np.abs(outputs - expected).max():.1e}")
    print(format_table(("model", "accuracy", "same class", "largest difference"), rows, "<>>>"))
    print(f"{len(images)} test images of {recipe.name}")


def read_labels(path):
    """The class names that `tflite.convert` put into a file; None where there are none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return (
            archive.read("labels.txt").decode().splitlines() if "labels.txt" in archive.namelist() else None
        )


def open_interpreter(path, threads=1):
    """A LiteRT interpreter for a file, ready to run.

    Raises:
        UserError: If the file is missing or LiteRT cannot load it.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f"no such file: {path}")
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"LiteRT cannot load {path}: {error}") from error
    return interpreter


def predict(interpreter, images, progress=False):
    """Runs images one by one.

    Args:
        interpreter: An interpreter with one float input and one float output.
        images: Array (n, height, width, channels), preprocessed as for training.
        progress: Whether to count the images on standard error.

    Returns:
        An array (n, classes).
    """
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for count, image in enumerate(images, 1):
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target["index"])[0])
        if progress and (count % 100 == 0 or count == len(images)):
            print(f"\r{count}/{len(images)}", end="", file=sys.stderr)
    if progress:
        print(file=sys.stderr)
    return np.stack(outputs)


def _check_model(interpreter, image_shape, classes, path):
    """Raises a `UserError` unless the model maps one such image to as many classes."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    received = [(each["dtype"].__name__, tuple(each["shape"].tolist())) for each in (*inputs, *outputs)]
    expected = [("float32", (1, *image_shape)), ("float32", (1, classes))]
    if received != expected:
        raise UserError(f"{path} does not fit the recipe's data. Expected: {expected}. Received: {received}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
