"""How a training step grows with batch size, width and resolution.

python -m benchmarks.scaling [--axes AXIS ...] [--kinds KIND ...] [--rounds N] [--csv FILE] [--plot FILE]
"""

import dataclasses
import functools
import sys

from benchmarks import output
from benchmarks.alternate import alternate
from benchmarks.networks import KINDS, NETWORKS, Network, sb_keras_step, step_products
from recipes.command import exit_code

BASE = NETWORKS[0]
AXES = {
    "batch_size": (32, 64, 128, 256),
    "width": (0.35, 0.5, 0.75, 1.0),
    "image_size": (96, 128, 160, 224),  # pixels, of ImageNet's network, in batches of 32
}
HEAD = (
    *("axis", "value", "kind", "wall_ms", "wall_ms_q1", "wall_ms_q3", "cpu_ms", "peak_mb"),
    *("giga_multiply_adds", "giga_multiply_adds_per_s"),
)


def main(argv=None):
    parser = output.parser("scaling", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), metavar="AXIS")
    output.add_kinds(parser, KINDS, ("static", "sb"))
    args = parser.parse_args(argv)
    output.check(args)
    rows = [row for axis in args.axes for row in measure(axis, AXES[axis], args.kinds, args.rounds)]
    output.show(args, HEAD, rows)
    output.save(args, plot, HEAD, rows)


def measure(axis, values, kinds, rounds):
    """Measures every kind at every value of one axis, all in turn."""
    networks = {value: at(axis, value) for value in values}
    variants = {
        (kind, str(value)): functools.partial(sb_keras_step, network, kind)
        for value, network in networks.items()
        for kind in kinds
    }
    measured = alternate(variants, rounds)
    for value, network in networks.items():
        for kind in kinds:
            m = measured[(kind, str(value))]
            products = step_products(network, kind) / 1e9
            times = (m.wall_ms, m.wall_ms_q1, m.wall_ms_q3, m.cpu_ms, m.peak_mb)
            yield (axis, value, kind, *times, products, 1000 * products / m.wall_ms)


def at(axis, value):
    """The network at a value of an axis."""
    if axis == "image_size":
        return Network(BASE.width, value, batch_size=32)
    return dataclasses.replace(BASE, **{axis: value})


def plot(rows):
    """Time against each axis, with the line that the smallest value and the multiply-adds predict."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["axis"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure, grid = plt.subplots(
        1, len(names), figsize=(4.5 * len(names), 3.8), layout="constrained", squeeze=False
    )
    panels = grid[0]
    for axes, axis in zip(panels, names, strict=True):
        for color, kind in enumerate(kinds):
            line = [row for row in rows if (row["axis"], row["kind"]) == (axis, kind)]
            values, times = [row["value"] for row in line], [row["wall_ms"] for row in line]
            axes.plot(values, times, "o-", color=f"C{color}", label=kind)
            work = [row["giga_multiply_adds"] for row in line]
            expected = [times[0] * w / work[0] for w in work]
            axes.plot(values, expected, ":", color=f"C{color}", label=f"{kind}, as its products grow")
        axes.set(xlabel=axis.replace("_", " "), xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("training step, ms")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
