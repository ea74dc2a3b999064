"""Converts a trained network to a TFLite file, with attention and normalization folded.

    python -m tflite.convert DIR --out FILE.tflite [--quantize int8] [--evaluate] [--overwrite]
    python -m tflite.convert MODEL.keras --out FILE.tflite [--mean R,G,B --std R,G,B] [--labels FILE.txt]

The file takes the pixels of an RGB image, from 0 to 255, and normalizes them itself. `--evaluate` compares
it with the Keras model on the test images, and writes nothing if too much accuracy was lost.

Of a `.keras` file nothing is known but the network: `--mean`, `--std` and `--labels` say what a run directory
would have told. Without the first two the .tflite file takes what the network takes.
"""

import pathlib
import sys
from typing import Any

from recipes.command import Parser, exit_code, start_keras
from recipes.data import load
from recipes.data.catalog import check
from recipes.errors import UserError, check_in_range
from recipes.files import check_tflite, write_bytes
from recipes.keras_file import load_model
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.table import format_table

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "qat-int8")
_OF_FILE = ("mean", "std", "labels")  # options that go with a .keras file only
_OF_RUN = ("evaluate", "model", "calibration_images")  # with a run directory only


def __getattr__(name):
    """`tflite.convert.convert` is imported, with TensorFlow, when it is asked for."""
    from tflite import export

    if name == "convert":
        return export.convert
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv=None):
    parser = Parser("tflite.convert", __doc__)
    parser.add_argument(
        "source", metavar="DIR", help="a run directory that recipes.train wrote, or a .keras file"
    )
    parser.add_argument("--out", metavar="FILE.tflite", required=True)
    parser.add_argument("--quantize", choices=QUANTIZATIONS, default="float32", help="default: %(default)s")
    parser.add_argument("--model", choices=("final", "best"), help="the run's model (final)")
    parser.add_argument(
        "--calibration-images",
        type=int,
        metavar="N",
        help="training images, for int8 (default: 500)",
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="compare with the Keras model on the test images"
    )
    parser.add_argument("--images", type=int, metavar="N", help="evaluate on the first N test images only")
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="with --evaluate: write nothing if accuracy or mean average precision falls more (default: 1, "
        "or one image where there are fewer than 100; of a detector in integers 3)",
    )
    parser.add_argument(
        "--mean", metavar="R,G,B", help="of pixels in [0, 1] that MODEL.keras was trained with"
    )
    parser.add_argument("--std", metavar="R,G,B", help="their standard deviation, likewise")
    parser.add_argument(
        "--labels", metavar="FILE.txt", help="names of the classes of MODEL.keras, one a line"
    )
    parser.add_argument("--author", default="", help="goes into the file's metadata, like --license")
    parser.add_argument("--license", default="")
    parser.add_overwrite("FILE.tflite")
    args = parser.parse_args(argv)

    out, source = pathlib.Path(args.out), pathlib.Path(args.source)
    _check_arguments(args, out)
    content = _of_file(source, args) if source.is_file() else _of_run(source, args)
    if content is None:
        print(f"{out} was not written", file=sys.stderr)
        return 1
    write_bytes(content, out)
    print(f"{out}: {len(content) / 1e6:.2f} MB, {args.quantize}")
    if source.is_file() and args.mean is None:
        print(f"It takes what {source} takes; --mean and --std make it take pixels from 0 to 255.")
    return 0


def _of_run(source, args):
    """The bytes of the file of a run's network; None if it loses too much."""
    for option in _OF_FILE:
        if getattr(args, option) is not None:
            raise UserError(f"--{option} goes with a .keras file. Received: {source}, which is none")
    run, which = RunDirectory.existing(source), args.model or "final"
    recipe, integers = run.recipe, "int8" in args.quantize
    run.model_file(which)
    if integers or args.evaluate:
        check(recipe.data)
    start_keras(only="tensorflow")
    from tflite.export import (
        CALIBRATION_IMAGES,
        build,
        check_fixed_kernels,
        metadata_of,
        pixel_input,
        sampled_pixels,
    )

    model = run.load_model(which)
    dataset: Any = load(recipe.data) if integers or args.evaluate else None
    if dataset:
        task_of(recipe).check_data(dataset, model, run)
    metadata = metadata_of(run, args.quantize, args.author, args.license)
    try:
        if args.quantize == "qat-int8":
            check_fixed_kernels(model)
            from tflite.fine_tuning import fine_tuned  # with TFMOT, which takes seconds

            content = fine_tuned("qat", model, dataset, recipe, "int8", metadata)
        else:
            count = args.calibration_images or CALIBRATION_IMAGES
            pixels = sampled_pixels(dataset, recipe, count) if integers else None
            content = build(model, args.quantize, pixels, metadata=metadata, **pixel_input(recipe.data))
    except ValueError as error:
        raise UserError(str(error)) from error
    return None if args.evaluate and not _passes(model, content, dataset.test, recipe, args) else content


def _of_file(source, args):
    """The bytes of the file of a network that nothing but its `.keras` file tells about."""
    for option in _OF_RUN:
        if getattr(args, option):
            name = option.replace("_", "-")
            raise UserError(f"--{name} goes with a run directory. Received: {source}, a file")
    if "int8" in args.quantize:
        raise UserError(
            f"--quantize {args.quantize} needs training images, which a run directory names. "
            f"Received: {source}, a file; in Python `tflite.convert.convert` takes them as `calibration`"
        )
    if (args.mean is None) != (args.std is None):
        raise UserError("--mean and --std go together")
    normalization = None
    if args.mean is not None:
        normalization = _channels("--mean", args.mean), _channels("--std", args.std, above=0)
    labels = None if args.labels is None else _lines(args.labels)
    start_keras(only="tensorflow")
    from tflite.export import PLAIN_PIXELS, build
    from tflite.metadata import Metadata

    model = load_model(source)
    metadata = Metadata(
        name=model.name,
        author=args.author,
        license=args.license,
        labels=labels,
        **(PLAIN_PIXELS if normalization else {}),
    )
    try:
        return build(model, args.quantize, None, normalization, metadata)
    except ValueError as error:
        raise UserError(str(error)) from error


def _channels(option, text, above=None):
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise UserError(f"{option} must be three numbers, one a channel: 0.5,0.5,0.5. Received: {text!r}")
    for value in values:
        check_in_range(option, value, above=above)
    return values


def _lines(path):
    try:
        return tuple(pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} as text: {getattr(error, 'strerror', None) or error}") from error


def _passes(model, content, test, recipe, args):
    """Prints what Keras and the file score; whether the file keeps within `--max-drop` of the Keras model."""
    import numpy as np

    import sb_keras
    from tflite import accuracy
    from tflite.export import build, pixel_input
    from tflite.interpreter import open_on_all_cores

    test, detector = test.select(slice(args.images)), recipe.data.task == "detection"
    folded = sb_keras.fold(model)
    interpreters = open_on_all_cores(content)
    scores = accuracy.scores({"Keras": model, "folded": folded}, interpreters, test, recipe)
    drop, most = scores["Keras"] - scores["TFLite"], args.max_drop
    if most is None:
        most = _most_points(detector, args.quantize, len(test))
    head = ("model", "mAP / %" if detector else "top-1 / %")
    print(format_table(head, [(name, f"{value:.2f}") for name, value in scores.items()], "<>"))
    loses = f"loses {drop:.2f} points, at most {most:.3g} are allowed"
    gains = f"gains {-drop:.2f} points"
    print(f"{len(test)} test images; the file {gains if round(drop, 2) < 0 else loses}")
    if drop <= most:
        return True
    one = "" if detector else f"One image is {100 / len(test):.2g} points. "
    print(f"{one}--max-drop allows more; without --evaluate the file is written unseen")
    reference = build(model, **pixel_input(recipe.data))
    layers = {layer.name for layer in folded.layers}
    few = test.select(slice(accuracy.IMAGES_FOR_LAYERS))
    pixels = np.stack(list(accuracy.pixels_of(few, recipe.data)))
    print("\nThe layers that depart most from the float32 file:")
    print(accuracy.layer_report(accuracy.worst_layers(layers, reference, content, pixels)))
    return False


def _most_points(detector, quantize, images):
    """What a file may lose if it is not said: a classifier one point, but never less than an image."""
    if detector:
        return 3.0 if "int8" in quantize else 1.0
    return max(1.0, 100 / images)


def _check_arguments(args, out):
    if args.calibration_images is not None:
        check_in_range("--calibration-images", args.calibration_images, least=1)
        if args.quantize != "int8":
            raise UserError("--calibration-images goes with --quantize int8")
    if args.max_drop is not None:
        check_in_range("--max-drop", args.max_drop, least=0.0)
    if args.images is not None:
        check_in_range("--images", args.images, least=1)
    for option in ("images", "max_drop"):
        if getattr(args, option) is not None and not args.evaluate:
            raise UserError(f"--{option.replace('_', '-')} goes with --evaluate")
    check_tflite(out, args.overwrite)


if __name__ == "__main__":
    sys.exit(exit_code(main))
