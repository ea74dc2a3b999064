"""A training step in float32 and in mixed precision (bfloat16).

python -m benchmarks.precision [--rounds N] [--csv FILE]
"""

import functools
import sys

from benchmarks import output
from benchmarks.alternate import alternate
from benchmarks.networks import NETWORKS, sb_keras_step
from recipes.command import exit_code

HEAD = ("network", "kind", "precision", "wall_ms", "wall_ms_q1", "wall_ms_q3", "cpu_ms", "peak_mb")
KINDS = ("static", "sb")
PRECISIONS = ("float32", "mixed_bfloat16")


def main(argv=None):
    args = output.parser("precision", (__doc__ or "").partition("\n")[0]).parse_args(argv)
    output.check(args)
    network = NETWORKS[0]
    variants = {
        (kind, precision): functools.partial(sb_keras_step, network, kind, precision=precision)
        for kind in KINDS
        for precision in PRECISIONS
    }
    rows = [
        (network.name, *variant, m.wall_ms, m.wall_ms_q1, m.wall_ms_q3, m.cpu_ms, m.peak_mb)
        for variant, m in alternate(variants, args.rounds).items()
    ]
    output.show(args, HEAD, rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
