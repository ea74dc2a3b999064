"""What attention layers do on pictures, layer by layer: λ, the gates, and the shift's share."""

from dataclasses import dataclass, fields

import keras
import numpy as np

from recipes.plots import new_figure, save
from sb_keras.attention import POSITIONS
from sb_keras.graph import nodes
from sb_keras.layers import ShiftBalance, SqueezeExcite

DEAD = 0.05  # a gate that is smaller, of either sign, shuts its channel
# A gate nearer than this to the end of its range passes next to no gradient: tanh' = 0.0975 at 0.95.
SATURATED = {"tanh": (-0.95, 0.95), "sigmoid": (0.05, 0.95)}


@dataclass(frozen=True)
class Activity:
    """What one attention layer does; shares are of all pairs of image and channel, NaN where undefined.

    Attributes:
        layer: The layer's name.
        kind: `"sb"` or `"se"`.
        channels: How many it shifts or scales.
        lambda_mean: Mean of |λ| over the channels; lambda_least and lambda_largest are the extremes of λ.
        gate_mean: Mean of the gate's output.
        gate_std: Its standard deviation over the images, averaged over the channels: does it depend on them?
        saturated: Share of gates at an end of their range (tanh beyond ±0.95, sigmoid within 0.05 of 0 or 1).
        dead: Share of SE's gates within 0.05 of 0.
        always_dead: Share of channels whose gate is within 0.05 of 0 for every image.
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
HEAD = tuple(field.name for field in fields(Activity))


def inspect_attention(model, batches):
    """Runs images through a network and watches its attention layers.

    Args:
        model: A functional Keras model with SB or SE.
        batches: An iterable of batches of images, preprocessed as for training.

    Returns:
        A list of `Activity`, in the order of computation.

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
    dead = np.abs(gates) < DEAD
    return Activity(
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


def plot_attention(rows, title, lambda_init, path):
    """Draws the layers' numbers, in the order of computation, as a PNG file."""
    panels = PANELS[rows[0].kind]
    figure, grid = new_figure(len(panels), size=(10, 2.6 * len(panels)), title=title, sharex=True)
    axes = grid[:, 0]
    for axis, (name, label, factor) in zip(axes, panels, strict=True):
        for position in dict.fromkeys(map(_position, rows)):
            points = [i for i, row in enumerate(rows) if _position(row) == position]
            values = [factor * getattr(rows[i], name) for i in points]
            axis.plot(points, values, "o-", label=position, markersize=4)
        axis.set_ylabel(label)
        if axis.dataLim.ymin >= 0:  # the mean of a gate of tanh need not be
            axis.set_ylim(bottom=0)
    if rows[0].kind == "sb":
        axes[0].axhline(lambda_init, color="gray", linestyle="--", label="initial λ")
    axes[0].legend(frameon=False, ncols=4)
    axes[-1].set_xlabel("attention layer, from the input to the output")
    save(figure, path)
