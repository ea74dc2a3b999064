"""Fine-tunes a trained network while it is pruned, clustered or rounded to 8 bits, and converts it.

    python -m tflite.compress DIR --method prune|cluster|qat --out FILE.tflite [--quantize int8]
        [--set compression.sparsity=0.7 ...] [--csv FILE] [--layers-csv FILE]

Shows the file's accuracy and size beside those of the float32 file, and what became of every layer. How long
and how far is in the recipe's `compression`.
"""

import gzip
import pathlib
import sys

from recipes import registry
from recipes.command import Parser, exit_code, start_keras
from recipes.data import load
from recipes.data.catalog import check
from recipes.errors import UserError
from recipes.files import check_outputs, check_tflite, write_bytes, write_csv
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.table import format_table

# What each makes, in a few words.
METHODS = {
    "prune": "{quantize}, pruned to {compression.sparsity:.0%} zeros",
    "cluster": "{quantize}, {compression.clusters} different weights a layer",
    "qat": "int8 after quantization-aware training",
}
# Of the recipe's keys those of one method.
OWN_KEYS = {"compression.sparsity": "prune", "compression.clusters": "cluster"}
QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")
LAYERS_HEAD = ("layer", "kernel", "weights", "zeros", "distinct_values")


def main(argv=None):
    parser = Parser("tflite.compress", __doc__)
    parser.add_run_dir()
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--out", metavar="FILE.tflite", required=True)
    parser.add_argument(
        "--quantize", choices=QUANTIZATIONS, help="of a pruned or clustered network (default: float32)"
    )
    parser.add_set(registry.RECIPES[registry.DEFAULT], "compression.KEY=VALUE", keys="compression.")
    parser.add_model()
    parser.add_csv("the table of the two files")
    parser.add_argument("--layers-csv", metavar="FILE", help="also write the table of the layers")
    parser.add_overwrite("FILE.tflite")
    args = parser.parse_args(argv)

    out = pathlib.Path(args.out)
    _check_arguments(args, out)
    run = RunDirectory.existing(args.run_dir)
    recipe = run.recipe.override(args.set)
    run.model_file(args.model)
    check(recipe.data)
    start_keras(only="tensorflow")
    from tflite.export import build, metadata_of, pixel_input
    from tflite.fine_tuning import fine_tuned

    model, dataset = run.load_model(args.model), load(recipe.data)
    task_of(recipe).check_data(dataset, model, run)
    quantize = args.quantize or "float32"
    what = METHODS[args.method].format(quantize=quantize, compression=recipe.compression)
    content = fine_tuned(args.method, model, dataset, recipe, quantize, metadata_of(run, what))
    write_bytes(content, out)

    print("converting the float32 file beside it", flush=True)
    reference = build(model, metadata=metadata_of(run), **pixel_input(recipe.data))
    print(f"comparing them on {len(dataset.test)} test images", flush=True)
    rows = compare({"float32": reference, args.method: content}, dataset.test, recipe)
    layers = layer_table(content, model)
    print()
    printed = [
        (layer, kernel, f"{weights:,}", f"{zeros / weights:.1%}", distinct)
        for layer, kernel, weights, zeros, distinct in layers
    ]
    print(format_table(("layer", "kernel", "weights", "zeros", "distinct values"), printed, "<<>>>"))
    print()
    *names, _, _ = head = table_head(recipe)
    printed = [
        (name, *(f"{share:.4f}" for share in shares), f"{size / 1000:.1f}", f"{gzipped / 1000:.1f}")
        for name, *shares, size, gzipped in rows
    ]
    titles = [name.replace("_", " ") for name in names]
    print(format_table((*titles, "kB", "gzipped kB"), printed, "<" + ">" * (len(head) - 1)))
    print(f"\n{out}: {what}; {len(dataset.test)} test images of {recipe.name}")
    if args.csv:
        write_csv(args.csv, head, rows)
    if args.layers_csv:
        write_csv(args.layers_csv, LAYERS_HEAD, layers)


def table_head(recipe):
    """The columns of `compare`: the answers of two detectors to a picture are not the same or different."""
    same = () if recipe.data.task == "detection" else ("same_class",)
    return ("file", task_of(recipe).metric, *same, "size_bytes", "gzipped_bytes")


def compare(files, test, recipe):
    """Accuracy, or mean average precision, and size of .tflite files that take pixels.

    Args:
        files: The bytes of each file, by name; the first is the reference.
        test: The test images.
        recipe: The recipe.

    Returns:
        For each file its name, accuracy, share of images with the reference's class (not of detectors), size,
        and size after gzip, in bytes.
    """
    from tflite.accuracy import class_outputs, scores
    from tflite.interpreter import open_on_all_cores

    rows, reference = [], None
    for name, content in files.items():
        interpreters, sizes = open_on_all_cores(content), (len(content), len(gzip.compress(content, mtime=0)))
        if recipe.data.task == "detection":
            rows.append((name, scores({}, interpreters, test, recipe)["TFLite"] / 100, *sizes))
            continue
        classes = class_outputs({}, interpreters, test, recipe.data)["TFLite"].argmax(axis=-1)
        reference = classes if reference is None else reference
        shares = ((classes == other).mean().item() for other in (test.labels, reference))
        rows.append((name, *shares, *sizes))
    return rows


def layer_table(content, model):
    """For each kernel in a file its layer, shape, number of weights, zeros, different values; then all."""
    import sb_keras
    from sb_keras.graph import inner_layers
    from tflite.kernels import find_kernels

    names = {
        "normalized",
        *(layer.name for layer in inner_layers(sb_keras.fold(model)) if layer.weights),
    }
    rows = [
        (kernel.layer, "×".join(map(str, kernel.shape)), kernel.weights, kernel.zeros, kernel.distinct)
        for kernel in find_kernels(content, names)
    ]
    return [*rows, ("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows), "")]


def _check_arguments(args, out):
    if args.method == "qat" and args.quantize not in (None, "int8"):
        raise UserError(f"--method qat makes int8 files. Received: --quantize {args.quantize}")
    for assignment in args.set:
        if not assignment.startswith("compression."):
            raise UserError(f"--set takes keys of the recipe's compression here. Received: {assignment!r}")
        if OWN_KEYS.get(assignment.partition("=")[0], args.method) != args.method:
            raise UserError(f"--method {args.method} has no use for it. Received: --set {assignment}")
    check_tflite(out, args.overwrite)
    check_outputs(args.csv, args.layers_csv, inputs=[out])


if __name__ == "__main__":
    sys.exit(exit_code(main))
