"""Converts a trained network to a TFLite file, with attention and normalization folded.

python -m tflite.convert DIR --out FILE.tflite [--quantize float32] [--model final|best] [--overwrite]
"""

import argparse
import io
import os
import pathlib
import sys
import zipfile

import keras
import tensorflow as tf

import sb_keras
from recipes.errors import UserError, exit_code
from recipes.run_directory import RunDirectory

QUANTIZATIONS = ("float32",)


def convert(model, quantize="float32", calibration=None, labels=None):
    """Converts a network to a TFLite model that gives the same answers.

    The network is folded first (`sb_keras.fold`). The result takes one image, preprocessed as for
    training, has a signature `serving_default` whose input and output bear the names of the model's, and
    needs no Flex operators.

    Args:
        model: A functional Keras model with a known image size, on the TensorFlow backend.
        quantize: `"float32"`.
        calibration: Representative images for quantization; none are needed for float32.
        labels: Names of the classes in the order of the outputs. They go into the file as `labels.txt`, in
            the zip archive at its end (`unzip -p model.tflite labels.txt`), where TFLite's tools look for it.

    Returns:
        The bytes of the .tflite file.

    Raises:
        ValueError: If an argument is unknown, or the image size is unknown.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    content = convert(model)
    ```
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"`quantize` must be one of {QUANTIZATIONS}. Received: quantize={quantize!r}")
    if calibration is not None:
        raise ValueError(f"`calibration` must be None for quantize={quantize!r}, which needs none")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"`convert` needs Keras's TensorFlow backend. Received: {keras.backend.backend()}")
    folded = sb_keras.fold(model)
    shapes = [tensor.shape for tensor in folded.inputs]
    if len(shapes) != 1 or None in shapes[0][1:]:
        raise ValueError(f"`model` must have one input of known size. Received inputs of shape {shapes}")
    classes = folded.outputs[0].shape[-1]
    if labels is not None and len(labels) != classes:
        raise ValueError(f"`labels` must name the model's {classes} classes. Received: {len(labels)} names")

    image = tf.TensorSpec((1, *shapes[0][1:]), tf.float32, name=folded.inputs[0].name)
    # Folding may take away the layer that an output is named after.
    names = [tensor._keras_history.operation.name for tensor in model.outputs]

    @tf.function(input_signature=[image], autograph=False)
    def serve(image):
        return dict(zip(names, keras.tree.flatten(folded(image)), strict=True))

    # The converter makes constants of the weights that it finds here.
    tracked = tf.train.Checkpoint(weights=[weight.value for weight in folded.weights])
    function = serve.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], tracked).convert()
    return content if labels is None else _with_file(content, "labels.txt", "\n".join(labels) + "\n")


def _with_file(content, name, text):
    """Appends a zip archive, as TFLite's tools do: the model is read from the front, the zip from the end."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), text)  # without a date: the same network, the same bytes
    return buffer.getvalue()


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
        prog="python -m tflite.convert", description="Converts a trained run to a .tflite file."
    )
    parser.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")
    parser.add_argument("--out", metavar="FILE.tflite", required=True)
    parser.add_argument("--quantize", choices=QUANTIZATIONS, default="float32", help="default: %(default)s")
    parser.add_argument("--model", choices=("final", "best"), default="final", help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.tflite if it exists")
    args = parser.parse_args(argv)

    run = RunDirectory.existing(args.run_dir)
    out = pathlib.Path(args.out)
    if out.is_dir():
        raise UserError(f"{out} is a folder; --out takes the name of a file")
    if out.exists() and not args.overwrite:
        raise UserError(f"{out} exists; --overwrite replaces it")
    if not out.parent.is_dir():
        raise UserError(f"no such folder: {out.parent}")
    model = run.load_model(args.model)
    labels = run.result["classes"] if run.result else None
    content = convert(model, args.quantize, labels=labels)
    write_file(content, out)
    print(f"{out}: {len(content) / 1e6:.2f} MB, {args.quantize}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
