"""Measures .tflite files against each other on the CPU, and lists what XNNPACK left out.

    python -m tflite.benchmark static.tflite sb.tflite se.tflite --threads 1,2 --plot latency.png
    python -m tflite.benchmark sb.tflite --operators

The first file is the reference of the ratios; `tflite.latency` says how the time is taken, and
`tflite.profiler` how that of single operators is.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tflite.latency import InputError, measure
from tflite.profiler import operator_times
from tflite.report import format_operators, format_table, write_csv, write_json, write_plot


class _Parser(argparse.ArgumentParser):
    """Prints an error as one line; the usage is one `--help` away."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0. A wrong input ends the program with exit code 2 and one line on stderr.
    """
    parser = _Parser(
        prog="python -m tflite.benchmark", description="Times .tflite files against each other on the CPU."
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE.tflite", help="the first is the reference"
    )
    parser.add_argument("--threads", type=_thread_counts, default=(1,), metavar="N[,N...]", help="default: 1")
    parser.add_argument("--runs", type=int, default=50, help="timed runs of each file (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="untimed runs before (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seeds input and order (default: %(default)s)")
    parser.add_argument("--operators", action="store_true", help="show where the time goes inside each file")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="write the rows as CSV")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write the rows as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the medians")
    parser.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    options = parser.parse_args(argv)
    outputs = [path for path in (options.csv, options.json, options.plot) if path is not None]
    try:
        _check_outputs(outputs, options.files, options.overwrite)
        if options.plot and options.plot.suffix != ".png":
            raise InputError(f"--plot: expected a name that ends in .png, received {options.plot}")
        if options.operators:  # what cannot be profiled should be known before anything is timed
            for path in options.files:
                operator_times(path, runs=1)
        rows = measure(
            options.files, options.threads, options.runs, options.warmup, options.seed, _show_progress
        )
        operators = [operator_times(row.path, row.threads, row.runs) for row in rows if options.operators]
    except InputError as error:
        parser.error(str(error))
    print(format_table(rows))
    for row, times in zip(rows, operators, strict=False):
        print(f"\n{format_operators(row, times)}")
    if options.csv:
        write_csv(rows, options.csv)
    if options.json:
        write_json(rows, options.json, operators)
    if options.plot:
        write_plot(rows, options.plot)
    return 0


def _thread_counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 1,2, received {text!r}") from None


def _check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], overwrite: bool) -> None:
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise InputError(f"{path}: expected a file of its own for each output, received it twice")
        taken.add(path.resolve())
        if not path.parent.is_dir():
            raise InputError(f"{path}: expected a path in an existing directory, received {path.parent}")
        if path.is_dir() or (path.exists() and not overwrite):
            received = "a directory" if path.is_dir() else "an existing file (--overwrite replaces it)"
            raise InputError(f"{path}: expected a new file, received {received}")


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rround {done} of {total}" + ("\n" if done == total else ""))
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
