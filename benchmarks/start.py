"""How long it takes until a training has begun: building the network, its first step, its second.

python -m benchmarks.start [--kinds KIND ...] [--optimizer NAME] [--rounds N] [--csv FILE] [--plot FILE]

The first step of a Keras network is traced, and its graph prepared; what is left of it is the second.
Every start is a process of its own, and the networks start in turn.
"""

import multiprocessing
import statistics
import sys
import time

from benchmarks import output
from benchmarks.alternate import environment
from benchmarks.networks import ENVIRONMENTS, IMPLEMENTATIONS, KINDS, NETWORKS, OPTIMIZERS, installed
from recipes.command import exit_code, progress

PHASES = ("build", "first_step", "second_step")
HEAD = (
    *("network", "kind", "optimizer", "implementation"),
    *(f"{phase}_cpu_s" for phase in PHASES),
    *("first_step_wall_s", "first_step_cpu_s_min", "first_step_cpu_s_max", "times_ours", "times_static"),
)


def main(argv=None):
    parser = output.parser("start", (__doc__ or "").partition("\n")[0], rounds=5)
    output.add_kinds(parser, KINDS, ("static", "sb", "dyconv"))
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd", help="default: %(default)s")
    args = parser.parse_args(argv)
    output.check(args)

    names, kinds = installed(), dict.fromkeys(["static", *args.kinds])
    variants = [(name, kind) for kind in kinds for name in names]
    starts = {variant: [] for variant in variants}
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
        for name, kind in progress(variants, unit="start"):
            starts[name, kind].append(start(name, kind, args.optimizer))
    rows = list(_rows(starts, args.optimizer))
    output.show(args, HEAD, rows)
    output.save(args, plot, HEAD, rows)


def start(implementation, kind, optimizer):
    """CPU and wall seconds of every phase, in a new process: `{phase: (cpu, wall)}`."""
    variables = ENVIRONMENTS.get(implementation, {})
    with environment(variables), multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_start, (implementation, kind, optimizer))


def _start(implementation, kind, optimizer):
    seconds = {}

    def timed(phase, function, *arguments):
        cpu, wall = time.process_time(), time.perf_counter()
        result = function(*arguments)
        seconds[phase] = time.process_time() - cpu, time.perf_counter() - wall
        return result

    step = timed("build", IMPLEMENTATIONS[implementation], NETWORKS[0], kind, optimizer)
    timed("first_step", step)
    timed("second_step", step)
    return seconds


def _rows(starts, optimizer):
    medians = {
        variant: {
            phase: [statistics.median(values) for values in zip(*(s[phase] for s in seconds), strict=True)]
            for phase in PHASES
        }
        for variant, seconds in starts.items()
    }
    ours = {kind: medians["sb_keras", kind]["first_step"][0] for _, kind in starts}
    for (name, kind), median in medians.items():
        first = [seconds["first_step"][0] for seconds in starts[name, kind]]
        yield (
            *(NETWORKS[0].name, kind, optimizer, name),
            *(median[phase][0] for phase in PHASES),
            *(median["first_step"][1], min(first), max(first)),
            *(median["first_step"][0] / ours[kind], median["first_step"][0] / ours["static"]),
        )


def plot(rows):
    """The first step's seconds, a group of bars a kind."""
    from recipes.plots import new_figure

    names = list(dict.fromkeys(row["implementation"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure, ((axes,),) = new_figure(size=(6.0, 4.0))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        mine = [row for row in rows if row["implementation"] == name]
        places = [kinds.index(row["kind"]) + width * (number - (len(names) - 1) / 2) for row in mine]
        values = [row["first_step_cpu_s"] for row in mine]
        spread = [
            [value - row["first_step_cpu_s_min"] for row, value in zip(mine, values, strict=True)],
            [row["first_step_cpu_s_max"] - value for row, value in zip(mine, values, strict=True)],
        ]
        axes.bar(places, values, width, yerr=spread, label=name)
    axes.set(xticks=range(len(kinds)), xticklabels=kinds, ylabel="first step / s of CPU")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
