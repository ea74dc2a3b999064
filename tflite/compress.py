"""Fine-tunes a trained network while it is pruned, clustered or rounded to 8 bits, and converts it.

    python -m tflite.compress DIR --method prune|cluster|qat --out FILE.tflite [--quantize int8]
        [--set compression.sparsity=0.7 ...] [--csv FILE] [--layers-csv FILE]

Shows the file's accuracy and size beside those of the float32 file, and what became of every layer. How long
and how far is in the recipe's `compression`.
"""

import argparse
import dataclasses
import gzip
import pathlib
import sys

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import sb_keras
from recipes import data as data_sets
from recipes.data import to_pixels
from recipes.errors import UserError, check_new_file, exit_code, write_csv
from recipes.run_directory import RunDirectory
from sb_keras.table import format_table
from tflite.calibrate import calibration_images
from tflite.convert import CALIBRATED, convert, describe, normalizing, write_file
from tflite.interpreter import predict
from tflite.kernels import find_kernels
from tflite.quantize import unsigned

METHODS = ("prune", "cluster", "qat")
QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")
HEAD = ("file", "accuracy", "same_class", "size_bytes", "gzipped_bytes")
LAYERS_HEAD = ("layer", "kernel", "weights", "zeros", "distinct_values")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tflite.compress", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--out", metavar="FILE.tflite", required=True)
    parser.add_argument(
        "--quantize", choices=QUANTIZATIONS, help="of a pruned or clustered network (default: float32)"
    )
    parser.add_argument(
        "--set", metavar="compression.KEY=VALUE", action="append", default=[], help="changes the recipe"
    )
    parser.add_argument("--model", choices=("final", "best"), default="final", help="default: %(default)s")
    parser.add_argument("--csv", metavar="FILE", help="also write the table of the two files to a CSV file")
    parser.add_argument("--layers-csv", metavar="FILE", help="also write the table of the layers")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.tflite if it exists")
    args = parser.parse_args(argv)

    out = pathlib.Path(args.out)
    _check_arguments(args, out)
    run = RunDirectory.existing(args.run_dir)
    recipe = run.recipe.override(args.set)
    model = run.load_model(args.model)
    dataset = data_sets.load(recipe.data)
    data_sets.check_classes(dataset, model)

    content, what = compressed(args.method, model, dataset, recipe, args.quantize or "float32")
    content = describe(content, run, what)
    write_file(content, out)

    reference = describe(convert(model, normalization=(recipe.data.mean, recipe.data.std)), run)
    rows = compare({"float32": reference, args.method: content}, dataset.test, recipe.data)
    layers = layer_table(content, model)
    printed = [
        (layer, kernel, f"{weights:,}", f"{zeros / weights:.1%}", distinct)
        for layer, kernel, weights, zeros, distinct in layers
    ]
    print(format_table(("layer", "kernel", "weights", "zeros", "distinct values"), printed, "<<>>>"))
    print()
    printed = [
        (name, f"{accuracy:.4f}", f"{same:.4f}", f"{size / 1000:.1f}", f"{gzipped / 1000:.1f}")
        for name, accuracy, same, size, gzipped in rows
    ]
    print(format_table(("file", "accuracy", "same class", "kB", "gzipped kB"), printed, "<>>>>"))
    print(f"\n{out}: {what}; {len(dataset.test)} test images of {recipe.name}")
    if args.csv:
        write_csv(args.csv, HEAD, rows)
    if args.layers_csv:
        write_csv(args.layers_csv, LAYERS_HEAD, layers)


def compressed(method, model, dataset, recipe, quantize):
    """Compresses a network by the recipe's `compression`.

    Args:
        method: One of `METHODS`.
        model: The Keras model as trained.
        dataset: The recipe's data, as `recipes.data.load` returns them.
        recipe: The recipe.
        quantize: One of `QUANTIZATIONS`, for the first two methods.

    Returns:
        The bytes of a .tflite file that takes pixels, and a few words on what it is.

    Raises:
        UserError: If the network cannot be compressed so.
    """
    from tflite.compression import clustered, pruned, quantization_aware  # TFMOT takes seconds to import

    compression, normalization = recipe.compression, (recipe.data.mean, recipe.data.std)
    epoch = dataclasses.replace(recipe, epochs=1, steps_per_epoch=compression.steps_per_epoch)
    batches = data_sets.training_batches(dataset.train, epoch)
    if method == "qat":
        mean, std = (tf.constant(values, tf.float32) for values in normalization)
        pixels = batches.map(lambda images, _: tf.round(255.0 * (images * std + mean)))
        network = normalizing(sb_keras.fold(model), *normalization)
        content = quantization_aware(network, pixels, compression, _progress(), input_range=(0.0, 255.0))
        return unsigned(content), "int8 after quantization-aware training"
    if method == "prune":
        network = pruned(model, batches, compression, _progress())
        what = f"{quantize}, pruned to {compression.sparsity:.0%} zeros"
    else:
        network = clustered(model, batches, compression, _progress())
        what = f"{quantize}, {compression.clusters} different weights a layer"
    images = calibration_images(dataset, recipe) if quantize in CALIBRATED else None
    return convert(network, quantize, images, normalization=normalization), what


def compare(files, test, data):
    """Accuracy and size of .tflite files that take pixels.

    Args:
        files: The bytes of each file, by name; the first is the reference.
        test: The test images, a `recipes.data.Split`.
        data: The recipe's `recipes.recipe.Data`.

    Returns:
        For each file its name, accuracy, share of images with the reference's class, size and size after
        gzip, in bytes.
    """
    images = np.concatenate([x.numpy() for x, _ in data_sets.evaluation_batches(test, data, 250)])
    pixels = to_pixels(images, data.mean, data.std)
    rows, reference = [], None
    for name, content in files.items():
        interpreter = Interpreter(model_content=content, num_threads=2)
        interpreter.allocate_tensors()
        classes = predict(interpreter, pixels, progress=sys.stderr.isatty()).argmax(axis=-1)
        reference = classes if reference is None else reference
        accuracy, same = float(np.mean(classes == test.labels)), float(np.mean(classes == reference))
        rows.append((name, accuracy, same, len(content), len(gzip.compress(content, mtime=0))))
    return rows


def layer_table(content, model):
    """For each kernel in a file its layer, shape, number of weights, zeros, different values; then all."""
    names = {
        "normalized",
        *(layer.name for layer in sb_keras.fold(model)._flatten_layers(include_self=False) if layer.weights),
    }
    rows = [
        (kernel.layer, "×".join(map(str, kernel.shape)), kernel.weights, kernel.zeros, kernel.distinct)
        for kernel in find_kernels(content, names)
    ]
    return [*rows, ("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows), "")]


def _progress():
    """Shows on a terminal how far the fine-tuning is."""
    if not sys.stderr.isatty():
        return None
    return lambda done, steps: print(
        f"\r{done}/{steps} steps", end="\n" if done == steps else "", file=sys.stderr
    )


def _check_arguments(args, out):
    if args.method == "qat" and args.quantize not in (None, "int8"):
        raise UserError(f"--method qat makes int8 files. Received: --quantize {args.quantize}")
    for assignment in args.set:
        if not assignment.startswith("compression."):
            raise UserError(f"--set takes keys of the recipe's compression here. Received: {assignment!r}")
    if out.is_dir():
        raise UserError(f"{out} is a folder; --out takes the name of a file")
    if out.exists() and not args.overwrite:
        raise UserError(f"{out} exists; --overwrite replaces it")
    if not out.parent.is_dir():
        raise UserError(f"no such folder: {out.parent}")
    check_new_file(args.csv)
    check_new_file(args.layers_csv)


if __name__ == "__main__":
    sys.exit(exit_code(main))
