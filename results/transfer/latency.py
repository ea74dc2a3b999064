"""How long the .tflite files of the transfer tables' networks take, at 96 pixels, against the static one.

    python results/transfer/latency.py OUT.csv

The networks are those of grid.py with random weights, which latency does not depend on; λ is 0.1, as it would
be left out at 0. DyConv has no 8-bit file: its kernels are mixed in floats.
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np
from grid import VARIANTS

from recipes.files import check_new_file, write_bytes, write_csv
from recipes.registry import find
from recipes.tasks import task_of
from sb_keras.layers import ShiftBalance
from sb_keras.table import format_table
from tflite.export import convert
from tflite.latency import measure

HEAD = ("variant", "quantization", "size_mb", "ms", "ms_p10", "ms_p90", "times_static")
SIZE, CLASSES = 96, 10


def network(settings):
    recipe = find("photos-mobilenetv2-sb").override(
        ["data.directory=none", "model.weights=none", f"data.image_size={SIZE}", *settings]
    )
    model = task_of(recipe).compiled_model(recipe, CLASSES)
    for layer in model.layers:
        if isinstance(layer, ShiftBalance):
            layer.lambda_.assign(keras.ops.full(layer.lambda_.shape, 0.1))
    return model


def main(out):
    check_new_file(out)
    images = np.random.default_rng(0).normal(size=(8, SIZE, SIZE, 3)).astype("float32")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for quantization in ("float32", "int8"):
            paths = []
            for name in ("static", "sb-0", "sb-pointwise-0", "se", "dyconv"):
                if (name, quantization) != ("dyconv", "int8"):
                    paths.append(pathlib.Path(folder, f"{name}.tflite"))
                    content = convert(network(VARIANTS[name][1]), quantization, images)
                    write_bytes(content, paths[-1])
            for path, row in zip(paths, measure(paths, runs=200), strict=True):
                times = row.latency_ms_median, row.latency_ms_p10, row.latency_ms_p90, row.ratio
                rows.append((path.stem, quantization, row.size_bytes / 1e6, *times))
    print(format_table(HEAD, [[*row[:2], *(f"{cell:.3g}" for cell in row[2:])] for row in rows], "<<>>>>>"))
    write_csv(out, HEAD, rows)


if __name__ == "__main__":
    main(sys.argv[1])
