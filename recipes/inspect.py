"""Shows what the attention of a trained network does on test images, layer by layer.

python -m recipes.inspect DIR [--images N] [--model final|best] [--csv FILE] [--plot FILE.png]

For SB: where λ went from its initial value, how often the gate is saturated, and how much of what varies in
the output is the shift. For SE: how often the gate shuts a channel (paper, section 3.1).
"""

import argparse
import sys
from dataclasses import astuple, dataclass, fields

import keras
import numpy as np

from recipes.errors import UserError, check_in_range, check_outputs, exit_code, write_csv
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.attention import POSITIONS
from sb_keras.graph import nodes
from sb_keras.layers import ShiftBalance, SqueezeExcite
from sb_keras.table import format_table

DEAD = 0.05  # a gate below it shuts its channel
# A gate nearer than this to the end of its range passes next to no gradient: tanh' = 0.0975 at 0.95.
SATURATED = {"tanh": (-0.95, 0.95), "sigmoid": (0.05, 0.95)}


@dataclass(frozen=True)
class Attention:
    """What one attention layer does; shares are of all pairs of image and channel, NaN where undefined.

    Attributes:
        layer: The layer's name.
        kind: `"sb"` or `"se"`.
        channels: How many it shifts or scales.
        lambda_mean: Mean of |λ| over the channels; lambda_least and lambda_largest are the extremes of λ.
        gate_mean: Mean of the gate's output.
        gate_std: Its standard deviation over the images, averaged over the channels: does it depend on them?
        saturated: Share of gates at an end of their range (tanh beyond ±0.95, sigmoid within 0.05 of 0 or 1).
        dead: Share of SE's gates below 0.05.
        always_dead: Share of channels whose gate is below 0.05 for every image.
        shift_share: Var(λA) / (Var(T) + Var(λA)), averaged over the channels; the variances are over images
            and positions.
    """

    layer: str
    kind: str
    channels: int
    lambda_mean: float
    lambda_least: float
    lambda_largest: float
    gate_mean: float
    gate_std: float
    saturated: float
    dead: float
    always_dead: float
    shift_share: float


# What is drawn of a kind: attribute, label and factor.
PANELS = {
    "sb": (
        ("lambda_mean", "mean |λ|", 1),
        ("gate_std", "gate: std over images", 1),
        ("saturated", "saturated gates / %", 100),
        ("shift_share", "shift's share of variance / %", 100),
    ),
    "se": (
        ("gate_mean", "mean gate", 1),
        ("gate_std", "gate: std over images", 1),
        ("dead", "gates below 0.05 / %", 100),
        ("always_dead", "channels always below 0.05 / %", 100),
    ),
}
HEAD = tuple(field.name for field in fields(Attention))


def inspect_attention(model, batches):
    """Runs images through a network and watches its attention layers.

    Args:
        model: A functional Keras model with SB or SE.
        batches: An iterable of batches of images, preprocessed as for training.

    Returns:
        A list of `Attention`, in the order of computation.

    Raises:
        ValueError: If the model has neither SB nor SE.
    """
    found = [node for node in nodes(model) if isinstance(node.operation, ShiftBalance | SqueezeExcite)]
    if not found:
        raise ValueError("Expected a network with SB or SE. Received one with neither")
    probe = keras.Model(model.inputs, [tensor for node in found for tensor in node.input_tensors])
    gates, moments = [[] for _ in found], [np.zeros(3) for _ in found]
    for images in batches:
        outputs = probe.predict_on_batch(images)
        for index, (node, trunk, source) in enumerate(zip(found, outputs[::2], outputs[1::2], strict=True)):
            gates[index].append(keras.ops.convert_to_numpy(node.operation.attention(source)))
            positions = trunk.reshape(-1, trunk.shape[-1]).astype("float64")
            sums = [np.full(trunk.shape[-1], len(positions)), positions.sum(0), np.square(positions).sum(0)]
            moments[index] = moments[index] + sums if moments[index].ndim > 1 else np.stack(sums)
    return [
        _summary(node.operation, np.concatenate(gate), *moment)
        for node, gate, moment in zip(found, gates, moments, strict=True)
    ]


def _summary(layer, gates, count, total, squares):
    is_sb = isinstance(layer, ShiftBalance)
    scale = keras.ops.convert_to_numpy(layer.lambda_) if is_sb else np.full(gates.shape[-1], np.nan)
    low, high = SATURATED.get(layer.gate, (np.nan, np.nan))
    trunk = squares / count - (total / count) ** 2
    shift = np.var(scale * gates.astype("float64"), axis=0)
    dead = gates < DEAD
    return Attention(
        layer=layer.name,
        kind="sb" if is_sb else "se",
        channels=gates.shape[-1],
        lambda_mean=float(np.mean(np.abs(scale))),
        lambda_least=float(np.min(scale)),
        lambda_largest=float(np.max(scale)),
        gate_mean=float(np.mean(gates)),
        gate_std=float(np.mean(np.std(gates, axis=0))),
        saturated=float(np.mean((gates < low) | (gates > high))) if layer.gate in SATURATED else np.nan,
        dead=np.nan if is_sb else float(np.mean(dead)),
        always_dead=np.nan if is_sb else float(np.mean(np.all(dead, axis=0))),
        shift_share=float(np.mean(shift / np.maximum(trunk + shift, 1e-30))),
    )


def _position(row):
    """Where in its block an attention layer is."""
    return next((name for name in POSITIONS if f"_{name}_" in row.layer), "block")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m recipes.inspect", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="test images (%(default)s)")
    parser.add_argument("--model", choices=("final", "best"), default="final", help="default: %(default)s")
    parser.add_argument("--csv", metavar="FILE", help="also write the table to a CSV file")
    parser.add_argument("--plot", metavar="FILE.png", help="also draw it")
    args = parser.parse_args(argv)
    check_in_range("--images", args.images, least=1)
    check_outputs(args.csv, plot=args.plot)

    run = RunDirectory.existing(args.run_dir)
    recipe, model = run.recipe, run.load_model(args.model)
    task = task_of(recipe)
    test = task.load(recipe.data).test.select(slice(args.images))
    batches = (images for images, _ in task.evaluation_batches(test, recipe.data, 100))
    try:
        rows = inspect_attention(model, batches)
    except ValueError as error:
        raise UserError(f"{args.run_dir}: {error}") from error

    printed = [
        (*astuple(row)[:3], *("" if np.isnan(x) else f"{x:.3f}" for x in astuple(row)[3:])) for row in rows
    ]
    # Columns that say nothing about this kind are left out.
    shown = [column for column in range(len(HEAD)) if any(row[column] != "" for row in printed)]
    head, align = [HEAD[column] for column in shown], "<<" + ">" * (len(shown) - 2)
    print(format_table(head, [[row[column] for column in shown] for row in printed], align))
    print(f"{len(test)} test images, {args.model} model of {run.path}")
    if args.csv:
        write_csv(args.csv, HEAD, [astuple(row) for row in rows])
    if args.plot:
        plot(
            rows,
            f"{recipe.name}, {args.model} model, {len(test)} test images",
            recipe.model.attention.lambda_init,
            args.plot,
        )


def plot(rows, title, lambda_init, path):
    """Draws the layers' numbers, in the order of computation, as a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = PANELS[rows[0].kind]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(10, 2.6 * len(panels)), sharex=True, layout="constrained"
    )
    figure.suptitle(title)
    for axis, (name, label, factor) in zip(axes, panels, strict=True):
        for position in dict.fromkeys(map(_position, rows)):
            points = [i for i, row in enumerate(rows) if _position(row) == position]
            values = [factor * getattr(rows[i], name) for i in points]
            axis.plot(points, values, "o-", label=position, markersize=4)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    if rows[0].kind == "sb":
        axes[0].axhline(lambda_init, color="gray", linestyle="--", label="initial λ")
    axes[0].legend(frameon=False, ncols=4)
    axes[-1].set_xlabel("attention layer, from the input to the output")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(exit_code(main))
