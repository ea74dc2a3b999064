"""How exact the variances of expand convolutions are: through the covariance of the input, and by the kernel.

python -m benchmarks.covariance RUN [RUN ...] [--pictures N] [--csv FILE]

A channel's variance is W_kᵀ Cov[x] W_k. What the products add up to beside their sum says how much of it
cancels; single precision loses as many digits. The truth is computed in double precision, from the inputs
that the expand convolutions of trained networks get from their test pictures, a batch normalized together.
"""

import argparse
import sys

from benchmarks import output
from recipes.command import exit_code, start_keras
from recipes.errors import check_in_range

HEAD = ("run", "convolutions", "channels", "covariance_error", "kernel_error", "least_share_left")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.covariance", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories of classifiers")
    parser.add_argument("--pictures", type=int, default=64, help="in the batch (default: %(default)s)")
    parser.add_argument("--csv", metavar="FILE", help="also writes it")
    args = parser.parse_args(argv)
    output.check(args)
    check_in_range("--pictures", args.pictures, least=2)
    start_keras()
    from recipes.run_directory import RunDirectory

    rows = []
    for run in map(RunDirectory, args.runs):
        print(f"measuring {run.path}", file=sys.stderr, flush=True)
        layers = list(errors(run, args.pictures))
        own, kernels, left = zip(*layers, strict=True)
        channels = sum(map(len, own))
        rows.append(
            (
                run.path.name,
                *(len(layers), channels),
                *(max(map(max, own)), max(map(max, kernels)), min(map(min, left))),
            )
        )
    output.show(args, HEAD, rows)


def errors(run, pictures):
    """Of every expand convolution, by channel: both errors, relative to σ² + ε, and the share left."""
    import keras
    import numpy as np
    import tensorflow as tf

    from recipes.data import load
    from sb_keras.layers import Conv2D
    from sb_keras.layers.batch_norm import PAPER_EPSILON
    from sb_keras.layers.normalized_product import LEAST_EXPANSION

    model, data = run.load_model("final"), run.recipe.data
    images, _ = next(iter(load(data).test.evaluation_batches(data, pictures)))
    pointwise = [layer for layer in model.layers if isinstance(layer, Conv2D) and layer.kernel_size == (1, 1)]
    convolutions = [c for c in pointwise if c.filters >= LEAST_EXPANSION * c.input.shape[-1]]
    inputs = keras.Model(model.inputs, [layer.input for layer in convolutions])
    for layer, x in zip(convolutions, tf.function(inputs)(images, training=True), strict=True):
        rows, kernel = (np.asarray(t, "float64").reshape(-1, t.shape[-1]) for t in (x, layer.kernel))
        covariance = np.cov(rows, rowvar=False, bias=True)
        variance = np.sum(kernel * (covariance @ kernel), axis=0)
        products = np.sum(np.abs(kernel) * (np.abs(covariance) @ np.abs(kernel)), axis=0)
        measured = _variances(layer, x)
        own, kernels = (np.abs(v - variance) / (variance + PAPER_EPSILON) for v in measured)
        yield own, kernels, variance / products


def _variances(convolution, x):
    """What normalization takes for the variances in a graph, and operation by operation."""
    import numpy as np
    import tensorflow as tf

    from sb_keras.layers import BatchNormalization

    def normalized(x):
        return norm(convolution(x), training=True)

    norm = BatchNormalization(momentum=0.0)
    norm.build((None, None, None, convolution.filters))
    for function in (tf.function(normalized).get_concrete_function(x), normalized):
        norm.moving_variance.assign(np.zeros(convolution.filters))
        function(x)
        yield norm.moving_variance.numpy()


if __name__ == "__main__":
    sys.exit(exit_code(main))
