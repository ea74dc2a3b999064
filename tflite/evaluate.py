"""Shows the test accuracy of a TFLite file, or mean average precision, beside the Keras model's.

python -m tflite.evaluate FILE.tflite RECIPE [--images N] [--jobs N] [--threads N]

RECIPE is a name, a recipe's JSON file, or a run directory; with the last, the Keras model is compared too.
"""

import functools
import pathlib
import sys

import numpy as np

from recipes import registry
from recipes.command import Parser, exit_code, start_keras
from recipes.data import load, middle, normalized
from recipes.data.catalog import check
from recipes.errors import UserError, check_in_range
from recipes.processor import cores
from recipes.run_directory import RunDirectory
from recipes.tasks import check_class_names, task_of
from sb_keras.table import format_table
from tflite.interpreter import open_interpreter
from tflite.metadata import read_metadata


def main(argv=None):
    parser = Parser("tflite.evaluate", __doc__)
    parser.add_argument("file", metavar="FILE.tflite")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name or JSON file, or a run directory")
    parser.add_model()
    parser.add_argument("--images", type=int, metavar="N", help="use only the first N test images")
    parser.add_argument(
        "--jobs", type=int, default=cores(), metavar="N", help="images at once (default: as many as cores)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads an image (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    for option in ("jobs", "threads"):
        check_in_range(f"--{option}", getattr(args, option), least=1)
    if args.images is not None:
        check_in_range("--images", args.images, least=1)
    run = RunDirectory.existing(args.recipe) if pathlib.Path(args.recipe).is_dir() else None
    recipe = run.recipe if run else registry.find(args.recipe)
    if run:
        run.model_file(args.model)
    check(recipe.data)
    interpreters = [open_interpreter(args.file, args.threads) for _ in range(args.jobs)]
    interpreter, metadata = interpreters[0], read_metadata(args.file)
    start_keras(only="tensorflow")
    from tflite.detector import DETECTIONS

    models = {"Keras": run.load_model(args.model)} if run else {}
    dataset = load(recipe.data)
    if run:
        task_of(recipe).check_data(dataset, models["Keras"], run)
    if metadata is not None and metadata.labels is not None:
        check_class_names(dataset, metadata.labels)
    test = dataset.test.select(slice(args.images))
    detector = recipe.data.task == "detection"
    # A file that was converted without its recipe takes what the network sees.
    size = interpreter.get_input_details()[0]["shape"][1]
    size = size if size in (recipe.data.image_size, recipe.data.whole_size) else recipe.data.whole_size
    outputs = [(1, len(dataset.classes))]
    if detector:
        outputs = [(1, DETECTIONS, 4), (1, DETECTIONS), (1, DETECTIONS), (1,)]
    _check_model(interpreter, (1, size, size, 3), outputs, args.file)
    inputs = functools.partial(file_inputs, data=recipe.data, metadata=metadata, size=size)
    show = _show_detector if detector else _show_classifier
    show(models, interpreters, test, recipe, inputs)
    print(f"{len(test)} test images of {recipe.name}")


def _show_detector(models, interpreters, test, recipe, inputs):
    from tflite.accuracy import scores

    found = scores(models, interpreters, test, recipe, inputs)
    rows = [(name, f"{score / 100:.4f}") for name, score in found.items()]
    print(format_table(("model", "mean average precision"), rows, "<>"))


def _show_classifier(models, interpreters, test, recipe, inputs):
    from tflite.accuracy import class_outputs

    outputs, labels = class_outputs(models, interpreters, test, recipe.data, inputs), test.labels
    rows = []
    for name, output in outputs.items():
        row = [name, f"{np.mean(output.argmax(-1) == labels):.4f}", "", ""]
        if models and name == "TFLite":
            expected = outputs["Keras"]
            same = np.mean(output.argmax(-1) == expected.argmax(-1))
            row[2:] = f"{same:.4f}", f"{np.abs(output - expected).max():.1e}"
        rows.append(row)
    print(format_table(("model", "accuracy", "same class", "largest difference"), rows, "<>>>"))


def file_inputs(pixels, data, metadata, size):
    """Images as a file takes them.

    Args:
        pixels: Pixels from 0 to 255, (…, height, width, 3).
        data: The recipe's `recipes.recipe.Data`.
        metadata: The file's `tflite.metadata.Metadata`; None for none. If it does not say how
            the input is normalized, the file takes what the Keras model takes.
        size: Height and width of what the file takes, the middle of the image or the whole.
    """
    normalization = data if metadata is None or metadata.mean is None else metadata
    return normalized(middle(pixels, size), normalization.mean, normalization.std)


def _check_model(interpreter, image_shape, output_shapes, path):
    """Raises a `UserError` unless the model maps one such image to such outputs."""
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    received = [tuple(tensor["shape"].tolist()) for tensor in ends]
    expected = [image_shape, *output_shapes]
    if received != expected:
        raise UserError(f"{path} does not fit the recipe's data. Expected: {expected}. Received: {received}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
