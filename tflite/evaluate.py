"""Shows the test accuracy of a TFLite file, or mean average precision, beside the Keras model's.

python -m tflite.evaluate FILE.tflite RECIPE [--images N] [--threads N]

RECIPE is a name, a recipe's JSON file, or a run directory; with the last, the Keras model is compared too.
"""

import argparse
import functools
import pathlib
import sys

import numpy as np

from recipes import detection, registry
from recipes.data import check_class_names, evaluation_batches, to_pixels
from recipes.errors import UserError, check_in_range, exit_code
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.table import format_table
from tflite.detector import DETECTIONS, average_precisions
from tflite.interpreter import open_interpreter, predict
from tflite.metadata import read_metadata


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tflite.evaluate", description=(__doc__ or "").partition("\n")[0]
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
    task = task_of(recipe)
    dataset = task.load(recipe.data)
    metadata = read_metadata(args.file)
    if metadata is not None and metadata.labels is not None:
        check_class_names(dataset, metadata.labels)
    test = dataset.test
    if args.images:
        test = test.select(slice(args.images))
    show = _show_detector if task is detection else _show_classifier
    show(args.file, interpreter, metadata, model, recipe, test, len(dataset.classes))
    print(f"{len(test)} test images of {recipe.name}")


def _show_detector(file, interpreter, metadata, model, recipe, test, classes):
    images = (1, recipe.data.image_size, recipe.data.image_size, 3)
    _check_model(interpreter, images, [(1, DETECTIONS, 4), (1, DETECTIONS), (1, DETECTIONS), (1,)], file)
    models = {} if model is None else {"Keras": model}
    inputs = functools.partial(file_inputs, data=recipe.data, metadata=metadata)
    scores = average_precisions(models, interpreter, inputs, test, recipe, progress=sys.stderr.isatty())
    rows = [(name, f"{score / 100:.4f}") for name, score in scores.items()]
    print(format_table(("model", "mean average precision"), rows, "<>"))


def _show_classifier(file, interpreter, metadata, model, recipe, test, classes):
    images = np.concatenate([x for x, _ in evaluation_batches(test, recipe.data, 250)])
    _check_model(interpreter, (1, *images.shape[1:]), [(1, classes)], file)

    inputs = file_inputs(images, recipe.data, metadata)
    outputs = predict(interpreter, inputs, progress=sys.stderr.isatty())
    rows = [("TFLite", f"{np.mean(outputs.argmax(-1) == test.labels):.4f}", "", "")]
    if model is not None:
        expected = model.predict(images, batch_size=250, verbose=0)
        agreement = np.mean(outputs.argmax(-1) == expected.argmax(-1))
        accuracy = np.mean(expected.argmax(-1) == test.labels)
        rows = [("Keras", f"{accuracy:.4f}", "", ""), rows[0]]
        rows[1] = (*rows[1][:2], f"{agreement:.4f}", f"{np.abs(outputs - expected).max():.1e}")
    print(format_table(("model", "accuracy", "same class", "largest difference"), rows, "<>>>"))


def file_inputs(images, data, metadata):
    """Images as a file takes them.

    Args:
        images: Images normalized by `data`, (n, height, width, 3).
        data: The recipe's `recipes.recipe.Data`.
        metadata: The file's `tflite.metadata.Metadata`; None for none. If it does not say how
            the input is normalized, the file takes what the Keras model takes.
    """
    if metadata is None or metadata.mean is None:
        return images
    pixels = to_pixels(images, data.mean, data.std)
    return (pixels / np.float32(255) - np.float32(metadata.mean)) / np.float32(metadata.std)


def _check_model(interpreter, image_shape, output_shapes, path):
    """Raises a `UserError` unless the model maps one such image to such outputs."""
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    received = [tuple(tensor["shape"].tolist()) for tensor in ends]
    expected = [image_shape, *output_shapes]
    if received != expected:
        raise UserError(f"{path} does not fit the recipe's data. Expected: {expected}. Received: {received}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
