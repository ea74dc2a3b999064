"""Converts a trained network to a TFLite file, with attention and normalization folded.

    python -m tflite.convert DIR --out FILE.tflite [--quantize int8] [--evaluate] [--overwrite]

The file takes the pixels of an RGB image, from 0 to 255, and normalizes them itself. `--evaluate` compares
it with the Keras model on the test images, and writes nothing if too much accuracy was lost.
"""

import argparse
import os
import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import sb_keras
from recipes.data import to_pixels
from recipes.detection import classes_of
from recipes.errors import UserError, check_in_range, exit_code
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D
from sb_keras.layers.affine import call_with
from sb_keras.table import format_table
from tflite.calibrate import calibration_images
from tflite.detector import add_detection, average_precisions, is_detector, pixels_of
from tflite.gate import IMAGES_FOR_LAYERS, accuracies, report, worst_layers
from tflite.metadata import Metadata, add_metadata
from tflite.quantize import as_images, quantize_file, unsigned

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "qat-int8")
CALIBRATED = ("int8", "qat-int8")


def convert(model, quantize="float32", calibration=None, labels=None, normalization=None):
    """Converts a network to a TFLite model that gives the same answers.

    The network is folded first (`sb_keras.fold`). The result takes one image, has a signature
    `serving_default` whose input and output bear the names of the model's, and needs no Flex operators.
    That of an `SSDLite` gives boxes, classes, scores and their number; see `tflite.detector`.

    Args:
        model: A functional Keras model with a known image size, on the TensorFlow backend.
        quantize: `"float32"`; `"float16"` weights; `"dynamic"`: 8-bit weights; `"int8"`: 8-bit integers
            throughout, input and output included; `"qat-int8"`: the same, after fine-tuning with it.
        calibration: Representative images for the last two, preprocessed as for training: a float array
            (n, height, width, channels) or an iterable of such batches. The others do not need them.
        labels: Names of the classes in the order of the outputs. They go into the file as `labels.txt`, in
            the zip archive at its end (`unzip -p model.tflite labels.txt`), where TFLite's tools look for it.
        normalization: Mean and standard deviation of each channel, of pixels in [0, 1], that images were
            normalized with for training. With them the result takes pixels from 0 to 255 and normalizes
            them itself, and its integers are unsigned; without, it takes what `model` takes.

    Returns:
        The bytes of the .tflite file.

    Raises:
        ValueError: If an argument is unknown or missing, the image size is unknown, or the model has
            layers that cannot be quantized so.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    content = convert(model)
    ```
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"`quantize` must be one of {QUANTIZATIONS}. Received: quantize={quantize!r}")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"`convert` needs Keras's TensorFlow backend. Received: {keras.backend.backend()}")
    folded = sb_keras.fold(model)
    shapes = [tensor.shape for tensor in folded.inputs]
    if len(shapes) != 1 or None in shapes[0][1:]:
        raise ValueError(f"`model` must have one input of known size. Received inputs of shape {shapes}")
    detector = is_detector(model)
    classes = classes_of(model) if detector else folded.outputs[0].shape[-1]
    if labels is not None and len(labels) != classes:
        raise ValueError(f"`labels` must name the model's {classes} classes. Received: {len(labels)} names")
    integers = quantize in CALIBRATED
    images = as_images(calibration, shapes[0][1:]) if integers else None
    if integers:
        _check_fixed_kernels(folded)
    # Folding may take away the layer that an output is named after.
    names = [tensor._keras_history.operation.name for tensor in model.outputs]
    if normalization is not None:
        folded = normalizing(folded, *normalization)
        images = to_pixels(images, *normalization) if integers else None

    input_range = None if normalization is None else (0.0, 255.0)
    if quantize == "qat-int8":
        from tflite.compression import quantization_aware  # tf_keras and TFMOT take seconds to import

        content = quantization_aware(folded, images, input_range=input_range)
    else:
        content = converter(folded, names).convert()
        if quantize != "float32":
            content = quantize_file(content, quantize, images, input_range)
    if detector:
        content = add_detection(content)
    if integers and normalization is not None:
        content = unsigned(content)
    if labels is not None:
        content = add_metadata(content, Metadata(name=model.name, labels=tuple(labels)))
    return content


def _check_fixed_kernels(model):
    for layer in model._flatten_layers():
        if isinstance(layer, DynamicConv2D | DynamicDepthwiseConv2D):
            raise ValueError(
                f"Layer '{layer.name}' is a dynamic convolution: it computes its kernel for every image, "
                "and integers need one whose range is known. Expected: float32, float16 or dynamic"
            )


def normalizing(model, mean, std):
    """The same network behind (pixels / 255 − mean) / std, as a depthwise convolution.

    It cannot go into the first convolution, whose zero padding stands for the mean color.
    """
    scale, shift = 1 / (255 * np.asarray(std)), -np.asarray(mean) / np.asarray(std)
    layer = keras.layers.DepthwiseConv2D(1, data_format="channels_last", dtype="float32", name="normalized")

    def behind(tensor):
        is_input = isinstance(tensor._keras_history.operation, keras.layers.InputLayer)
        return call_with(layer, tensor, scale.reshape(1, 1, -1, 1), shift) if is_input else tensor

    def call(operation, *args, **kwargs):
        return operation(*keras.tree.map_structure(behind, args), **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def converter(model, output_names):
    """TensorFlow's converter for a network, folded or not, whose outputs are to bear these names."""
    (source,) = model.inputs
    image = tf.TensorSpec((1, *source.shape[1:]), tf.float32, name=source.name)

    @tf.function(input_signature=[image], autograph=False)
    def serve(image):
        return dict(zip(output_names, keras.tree.flatten(model(image)), strict=True))

    # The converter makes constants of the weights that it finds here.
    tracked = tf.train.Checkpoint(weights=[weight.value for weight in model.weights])
    return tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], tracked)


def describe(content, run, quantize="float32", author="", license=""):
    """Gives a file that was converted with the run's normalization its metadata.

    Args:
        content: The bytes of the .tflite file.
        run: The `recipes.run_directory.RunDirectory` that it comes from.
        quantize: How it is quantized.
        author: Who made it.
        license: Under what terms it may be used.

    Returns:
        The bytes of the file with metadata.
    """
    recipe, result = run.recipe, run.result
    model = recipe.model
    metadata = Metadata(
        name=recipe.name,
        description=f"{model.builder} ×{model.width_multiplier:g}, {model.attention.kind} attention, "
        f"{quantize}; trained on {recipe.data.name}",
        version=sb_keras.__version__,
        author=author,
        license=license,
        labels=tuple(result["classes"]) if result else None,
        mean=(0.0, 0.0, 0.0),  # the file takes pixels
        std=(1 / 255, 1 / 255, 1 / 255),
        recipe=recipe.to_json(),
    )
    return add_metadata(content, metadata)


def write_file(content, path):
    """Writes a file under a temporary name first, so that no broken file is ever at `path`."""
    path = pathlib.Path(path)
    temporary = path.with_name(f"tmp-{path.name}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tflite.convert", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")
    parser.add_argument("--out", metavar="FILE.tflite", required=True)
    parser.add_argument("--quantize", choices=QUANTIZATIONS, default="float32", help="default: %(default)s")
    parser.add_argument("--model", choices=("final", "best"), default="final", help="default: %(default)s")
    parser.add_argument(
        "--calibration-images",
        type=int,
        default=500,
        metavar="N",
        help="training images (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="compare with the Keras model on the test images"
    )
    parser.add_argument("--images", type=int, metavar="N", help="evaluate on the first N test images only")
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="with --evaluate: write nothing if accuracy or mean average precision falls more (default: 1; "
        "of a detector in integers 3)",
    )
    parser.add_argument("--author", default="", help="goes into the file's metadata, like --license")
    parser.add_argument("--license", default="")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.tflite if it exists")
    args = parser.parse_args(argv)

    out = pathlib.Path(args.out)
    _check_arguments(args, out)
    run = RunDirectory.existing(args.run_dir)
    model = run.load_model(args.model)
    recipe, data = run.recipe, run.recipe.data
    calibrated = args.quantize in CALIBRATED
    task = task_of(recipe)
    dataset: Any = task.load(data) if calibrated or args.evaluate else None
    if dataset:
        task.check_classes(dataset, model)
    try:
        if args.quantize == "qat-int8":
            from tflite.compress import compressed  # fine-tunes by the recipe, on all training images

            _check_fixed_kernels(model)
            content, _ = compressed("qat", model, dataset, recipe, "int8")
        else:
            images = calibration_images(dataset, recipe, args.calibration_images) if calibrated else None
            content = convert(model, args.quantize, images, normalization=(data.mean, data.std))
    except ValueError as error:
        raise UserError(str(error)) from error
    if args.evaluate and not _passes(model, content, dataset.test, recipe, args):
        print(f"{out} was not written", file=sys.stderr)
        return 1
    content = describe(content, run, args.quantize, args.author, args.license)
    write_file(content, out)
    print(f"{out}: {len(content) / 1e6:.2f} MB, {args.quantize}")
    return 0


def _passes(model, content, test, recipe, args):
    """Prints what Keras and the file score; whether the file keeps within `--max-drop` of the Keras model."""
    test, data = test.select(slice(args.images)), recipe.data
    detector = is_detector(model)
    score = _average_precisions if detector else _accuracies
    scores = score(model, content, test, recipe)
    drop, most = scores["Keras"] - scores["TFLite"], args.max_drop
    if most is None:
        most = 3.0 if detector and args.quantize in CALIBRATED else 1.0
    head = ("model", "mAP / %" if detector else "top-1 / %")
    print(format_table(head, [(name, f"{value:.2f}") for name, value in scores.items()], "<>"))
    print(f"{len(test)} test images; the file loses {drop:.2f} points, at most {most:g} are allowed")
    if drop <= most:
        return True
    reference = convert(model, normalization=(data.mean, data.std))
    layers = {layer.name for layer in sb_keras.fold(model).layers}
    few = _images(test.select(slice(IMAGES_FOR_LAYERS)), recipe)
    print("\nThe layers that depart most from the float32 file:")
    print(report(worst_layers(layers, reference, content, to_pixels(few, data.mean, data.std))))
    return False


def _accuracies(model, content, test, recipe):
    images = _images(test, recipe)
    pixels = to_pixels(images, recipe.data.mean, recipe.data.std)
    return accuracies(model, content, images, pixels, test.labels, progress=sys.stderr.isatty())


def _average_precisions(model, content, test, recipe):
    interpreter = Interpreter(model_content=content, num_threads=2)
    interpreter.allocate_tensors()
    models, pixels = {"Keras": model, "folded": sb_keras.fold(model)}, pixels_of(recipe.data)
    return average_precisions(models, interpreter, pixels, test, recipe, progress=sys.stderr.isatty())


def _images(split, recipe):
    batches = task_of(recipe).evaluation_batches(split, recipe.data, 250)
    return np.concatenate([images.numpy() for images, _ in batches])


def _check_arguments(args, out):
    check_in_range("--calibration-images", args.calibration_images, least=1)
    if args.max_drop is not None:
        check_in_range("--max-drop", args.max_drop, least=0.0)
    if args.images is not None:
        check_in_range("--images", args.images, least=1)
        if not args.evaluate:
            raise UserError("--images goes with --evaluate")
    if out.is_dir():
        raise UserError(f"{out} is a folder; --out takes the name of a file")
    if out.exists() and not args.overwrite:
        raise UserError(f"{out} exists; --overwrite replaces it")
    if not out.parent.is_dir():
        raise UserError(f"no such folder: {out.parent}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
