"""Measures .tflite files against each other on the CPU, and lists what XNNPACK left out.

    python -m tflite.benchmark static.tflite sb.tflite se.tflite --threads 1,2 --plot latency.png
    python -m tflite.benchmark sb.tflite --operators

The first file is the reference of the ratios; `tflite.latency` says how the time is taken, and
`tflite.profiler` how that of single operators is.
"""

import argparse
import pathlib
import sys

from recipes.command import Parser, exit_code, progress
from recipes.files import check_outputs
from recipes.processor import processor
from tflite.latency import measure
from tflite.profiler import operator_times
from tflite.report import format_operators, format_table, write_csv, write_json, write_plot


def main(argv=None):
    parser = Parser("tflite.benchmark", __doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.tflite", help="the first is the reference")
    parser.add_argument("--threads", type=_thread_counts, default=(1,), metavar="N[,N...]", help="default: 1")
    parser.add_argument("--runs", type=int, default=50, help="timed runs of each file (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="untimed runs before (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seeds input and order (default: %(default)s)")
    parser.add_argument("--operators", action="store_true", help="show where the time goes inside each file")
    parser.add_csv("the table")
    parser.add_argument("--json", metavar="FILE", help="also write it as JSON")
    parser.add_plot("the medians")
    parser.add_overwrite("output files")
    args = parser.parse_args(argv)
    check_outputs(args.csv, args.json, overwrite=args.overwrite, inputs=args.files, plot=args.plot)

    files = [pathlib.Path(file) for file in args.files]
    if args.operators:  # what cannot be profiled should be known before anything is timed
        for file in files:
            operator_times(file, runs=1)
    with progress(None, args.runs * len(args.threads), "round") as bar:
        rows = measure(files, args.threads, args.runs, args.warmup, args.seed, lambda *_: bar.update())
    operators = [operator_times(row.path, row.threads, row.runs) for row in rows if args.operators]
    print(f"{format_table(rows)}\n\nmeasured on {processor()}")
    for row, times in zip(rows, operators, strict=False):
        print(f"\n{format_operators(row, times)}")
    if args.csv:
        write_csv(rows, args.csv)
    if args.json:
        write_json(rows, args.json, operators)
    if args.plot:
        write_plot(rows, args.plot)


def _thread_counts(text):
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 1,2, received {text!r}") from None


if __name__ == "__main__":
    sys.exit(exit_code(main))
