"""The latency of MobileNetV2's .tflite files at 224×224 pixels, by attention, against the static network.

python -m benchmarks.latency [--widths 0.35 1.0] [--kinds KIND …] [--quantizations float32 dynamic int8]
    [--threads 1 2] [--files FOLDER] [--csv FILE]

The weights are random, which latency does not depend on.
"""

import itertools
import pathlib
import sys
import tempfile

import keras
import numpy as np

import sb_keras
from benchmarks import output
from recipes.command import exit_code
from recipes.files import write_bytes
from sb_keras.graph import inner_layers
from tflite.converter import converter
from tflite.export import convert
from tflite.latency import measure
from tflite.quantize import quantize_file

HEAD = (
    "width",
    "quantization",
    "threads",
    "network",
    "size_mb",
    "ms",
    "ms_p10",
    "ms_p90",
    "ratio",
    "left_out",
)
QUANTIZATIONS = ("float32", "dynamic", "int8")
AS_TRAINED = "sb as trained"  # not folded
KERAS = "keras.applications"
HIDDEN = {"sb-1/4": 1 / 4, "sb-1/16": 1 / 16}  # hidden units, as a multiple of the paper's
KINDS = ("static", "sb", *HIDDEN, AS_TRAINED, "se", "se-block", "dyconv", KERAS)
CALIBRATION_IMAGES = 4


def network(kind, width):
    """A network with random weights, and running statistics that keep its activations at a moderate size."""
    keras.utils.set_random_seed(0)
    if kind == KERAS:
        model = keras.applications.MobileNetV2(alpha=width, weights=None)
    else:
        name = "sb" if kind in (AS_TRAINED, *HIDDEN) else kind
        attention = sb_keras.Attention(name, hidden_multiplier=HIDDEN.get(kind, 1))
        model = sb_keras.MobileNetV2(width_multiplier=width, attention=attention)
    images = np.random.default_rng(0).normal(size=(8, 224, 224, 3)).astype("float32")
    for layer in inner_layers(model):
        if hasattr(layer, "momentum"):
            layer.momentum = 0.0
    model(images, training=True)
    return model


def converted(kind, width, quantize):
    """The bytes of the .tflite file."""
    model = network(kind, width)
    images = np.random.default_rng(1).normal(size=(CALIBRATION_IMAGES, 224, 224, 3)).astype("float32")
    if kind != AS_TRAINED:
        return convert(model, quantize, images)
    content = converter(model, ["predictions"]).convert()
    return content if quantize == "float32" else quantize_file(content, quantize, images)


def main(argv=None):
    parser = output.parser("latency", (__doc__ or "").partition("\n")[0], rounds=100)
    parser.add_argument("--widths", nargs="+", type=float, default=[0.35, 1.0], metavar="WIDTH")
    output.add_kinds(parser, KINDS, KINDS)
    parser.add_argument("--quantizations", nargs="+", choices=QUANTIZATIONS, default=QUANTIZATIONS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument(
        "--files", metavar="FOLDER", help="keep the .tflite files, or use those that are there"
    )
    args = parser.parse_args(argv)
    output.check(args)

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(args.files or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for width in args.widths:
            for quantize in args.quantizations:
                kinds = [kind for kind in args.kinds if (kind, quantize) != ("dyconv", "int8")]
                names = [
                    f"{kind}-{width:g}-{quantize}".replace(" ", "-").replace("/", "of") for kind in kinds
                ]
                paths = [folder / f"{name}.tflite" for name in names]
                for kind, path in zip(kinds, paths, strict=True):
                    if not path.exists():
                        print(f"converting {path.name}", file=sys.stderr)
                        write_bytes(converted(kind, width, quantize), path)
                measured = measure(paths, args.threads, args.rounds)
                for kind, row in zip(kinds * len(args.threads), measured, strict=True):
                    rows.append(
                        (
                            *(f"x{width:g}", quantize, row.threads, kind, row.size_bytes / 1e6),
                            *(row.latency_ms_median, row.latency_ms_p10, row.latency_ms_p90, row.ratio),
                            " ".join(sorted({each.name for each in row.delegation.left_out})) or "-",
                        )
                    )
    output.show(args, HEAD, rows)
    output.save(args, plot, HEAD, rows)


def plot(rows):
    """Milliseconds an inference, one panel a width and quantization, on the least number of threads."""
    import matplotlib.pyplot as plt

    widths, quantizations = (list(dict.fromkeys(row[key] for row in rows)) for key in HEAD[:2])
    threads = min(row["threads"] for row in rows)
    size = (4.5 * len(quantizations), 3 * len(widths))
    figure, axes = plt.subplots(
        len(widths), len(quantizations), figsize=size, squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes.flat, itertools.product(widths, quantizations), strict=True):
        chosen = [
            row for row in rows if (row["width"], row["quantization"], row["threads"]) == (*panel, threads)
        ][::-1]
        spread = [(row["ms"] - row["ms_p10"], row["ms_p90"] - row["ms"]) for row in chosen]
        bars = axis.barh(
            [row["network"] for row in chosen],
            [row["ms"] for row in chosen],
            xerr=np.transpose(spread),
            color="tab:blue",
            ecolor="gray",
        )
        ratios = [f"{row['ratio']:.2f} ×" for row in chosen]
        axis.bar_label(bars, ratios, label_type="center", color="white")
        axis.set(title=f"{panel[0].replace('x', '×')}, {panel[1]}", xlabel="ms")
    figure.suptitle(f"MobileNetV2 at 224×224, {threads} thread{'s' * (threads > 1)}: median, 10 % and 90 %")
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
