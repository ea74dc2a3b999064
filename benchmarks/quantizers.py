"""The quantizer of `tflite.convert`, ai-edge-quantizer, beside the one in TensorFlow's converter.

python -m benchmarks.quantizers DIR [--images N] [--rounds N] [--csv FILE]

Both get the same folded network and the same calibration images of the run in DIR.
"""

import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import sb_keras
from benchmarks import output
from recipes import data as data_sets
from recipes.command import exit_code, progress
from recipes.run_directory import RunDirectory
from tflite.converter import converter
from tflite.export import convert, sampled_pixels
from tflite.interpreter import predict
from tflite.latency import measure

HEAD = ("quantization", "quantizer", "accuracy", "same_class", "size_kb", "latency_ms", "ratio", "left_out")
QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")


def by_tensorflow(model, quantize, images):
    """A .tflite file of a folded model, as TensorFlow's own quantizer makes it."""
    tensorflow = converter(model, ["predictions"])
    tensorflow.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        tensorflow.target_spec.supported_types = [tf.float16]
    elif quantize == "int8":
        tensorflow.representative_dataset = lambda: ([image[None]] for image in images)
        tensorflow.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        tensorflow.inference_input_type = tensorflow.inference_output_type = tf.int8
    return tensorflow.convert()


def main(argv=None):
    parser = output.parser(
        "quantizers", "Compares ai-edge-quantizer with TensorFlow's quantizer.", rounds=100
    )
    parser.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="test images (%(default)s)")
    args = parser.parse_args(argv)
    output.check(args)

    run = RunDirectory.existing(args.run_dir)
    model, dataset = run.load_model(), data_sets.load(run.recipe.data)
    data = run.recipe.data
    mean, std = np.array([data.mean, data.std], "float32")
    calibration = (sampled_pixels(dataset, run.recipe) / np.float32(255) - mean) / std
    test = dataset.test.select(slice(args.images))
    images = np.concatenate([x.numpy() for x, _ in test.evaluation_batches(run.recipe.data, 250)])
    expected = model.predict(images, batch_size=250, verbose=0).argmax(-1)

    folded = sb_keras.fold(model)
    files = {
        (quantize, quantizer): make(quantize)
        for quantize in QUANTIZATIONS
        for quantizer, make in {
            "ai-edge-quantizer": lambda quantize: convert(model, quantize, calibration),
            "TensorFlow": lambda quantize: by_tensorflow(folded, quantize, calibration),
        }.items()
        if (quantize, quantizer) != ("float32", "TensorFlow")
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, "-".join(key)) for key in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        latencies = measure(paths, runs=args.rounds)

    rows = []
    for (key, content), latency in zip(files.items(), latencies, strict=True):
        interpreter = Interpreter(model_content=content, num_threads=2)
        interpreter.allocate_tensors()
        classes = predict(interpreter, progress(images)).argmax(-1)
        rows.append(
            (
                *key,
                f"{np.mean(classes == test.labels):.4f}",
                f"{np.mean(classes == expected):.4f}",
                len(content) / 1000,
                latency.latency_ms_median,
                latency.ratio,
                " ".join(sorted({operator.name for operator in latency.delegation.left_out})) or "-",
            )
        )
    print(f"Keras: {np.mean(expected == test.labels):.4f} of {len(test)} test images of {run.recipe.name}")
    output.show(args, HEAD, rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
