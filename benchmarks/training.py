"""Time and memory of a training step: this package on TensorFlow and JAX, stock Keras layers, PyTorch.

python -m benchmarks.training [--networks N ...] [--kinds KIND ...] [--implementations I ...] [--rounds N]
    [--csv FILE] [--plot FILE]
"""

import functools
import sys

from benchmarks import output
from benchmarks.alternate import alternate
from benchmarks.networks import ENVIRONMENTS, IMPLEMENTATIONS, KINDS, NETWORKS, installed
from recipes.command import exit_code

HEAD = (
    *("network", "kind", "implementation", "batch_size"),
    *("wall_ms", "wall_ms_q1", "wall_ms_q3", "cpu_ms", "images_per_s", "peak_mb"),
    *("times_ours", "times_static", "memory_times_static"),
)


def main(argv=None):
    parser = output.parser("training", (__doc__ or "").partition("\n")[0])
    names = {network.name.replace(" ", "-"): network for network in NETWORKS}
    parser.add_argument("--networks", nargs="+", choices=names, default=list(names), metavar="N")
    output.add_kinds(parser, KINDS, KINDS)
    others = {name.replace(" ", "-"): name for name in IMPLEMENTATIONS}
    parser.add_argument(
        "--implementations", nargs="+", choices=others, default=list(others), metavar="I", help="default: all"
    )
    args = parser.parse_args(argv)
    output.check(args)

    wanted, rows = {others[name] for name in args.implementations} | {"sb_keras"}, []
    implementations = {name: step for name, step in installed().items() if name in wanted}
    for name in args.networks:
        for kind in args.kinds:
            rows += measure(names[name], kind, implementations, args.rounds)
    output.show(args, HEAD, rows)
    output.save(args, plot, HEAD, rows)


def measure(network, kind, implementations, rounds):
    """Measures an attention in every implementation, and our network without attention, in turn."""
    variants = {(name, kind): step for name, step in implementations.items()}
    variants[("sb_keras", "static")] = IMPLEMENTATIONS["sb_keras"]
    measured = alternate(
        {key: functools.partial(step, network, key[1]) for key, step in variants.items()},
        rounds,
        environments={key: ENVIRONMENTS.get(key[0], {}) for key in variants},
    )
    ours, static = measured[("sb_keras", kind)], measured[("sb_keras", "static")]
    for name in implementations:
        m = measured[(name, kind)]
        yield (
            *(network.name, kind, name, network.batch_size),
            *(m.wall_ms, m.wall_ms_q1, m.wall_ms_q3, m.cpu_ms),
            *(1000 * network.batch_size / m.wall_ms, m.peak_mb),
            *(m.wall_ms / ours.wall_ms, m.wall_ms / static.wall_ms, m.peak_mb / static.peak_mb),
        )


def plot(rows):
    """Images a second, a panel a network, a group of bars a kind."""
    import matplotlib.pyplot as plt

    networks = list(dict.fromkeys(row["network"] for row in rows))
    implementations = list(dict.fromkeys(row["implementation"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure, panels = plt.subplots(
        1, len(networks), figsize=(4.5 * len(networks), 3.8), layout="constrained", squeeze=False
    )
    width = 0.8 / len(implementations)
    for axes, network in zip(panels[0], networks, strict=True):
        for number, implementation in enumerate(implementations):
            values = [
                row["images_per_s"]
                for row in rows
                if (row["network"], row["implementation"]) == (network, implementation)
            ]
            shift = width * (number - (len(implementations) - 1) / 2)
            axes.bar([place + shift for place in range(len(kinds))], values, width, label=implementation)
        axes.set(title=f"MobileNetV2 {network}", xticks=range(len(kinds)), xticklabels=kinds)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("training, images/s")
    panels[0][-1].legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
