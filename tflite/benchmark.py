"""Measures .tflite files against each other on the CPU, and lists what XNNPACK left out.

    python -m tflite.benchmark static.tflite sb.tflite se.tflite --threads 1,2 --plot latency.png

The first file is the reference of the ratios; `tflite.latency` says how the time is taken.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tflite.latency import InputError, Row, measure


def format_table(rows: Sequence[Row]) -> str:
    """Lays the rows out as an aligned table, followed by what XNNPACK left out of each file."""
    header = ("file", "threads", "median ms", "p10", "p90", "p99", "ratio", "kB", "partitions", "left out")
    cells: list[tuple[str, ...]] = [header]
    for row in rows:
        latencies_ms = (row.latency_ms_median, row.latency_ms_p10, row.latency_ms_p90, row.latency_ms_p99)
        division = row.delegation
        cells.append(
            (
                row.label,
                str(row.threads),
                *(f"{latency_ms:.3f}" for latency_ms in latencies_ms),
                f"{row.ratio:.3f}",
                f"{row.size_bytes / 1000:.1f}",
                str(division.partitions),
                f"{len(division.left_out)} of {division.operators}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([name.ljust(widths[0]), *map(str.rjust, values, widths[1:])]) for name, *values in cells
    ]
    for row in {row.label: row for row in rows}.values():  # the thread count changes nothing here
        if row.delegation.left_out:
            lines += ["", f"Operators of {row.label} outside XNNPACK:"]
        for name, count in _count_names(row).items():
            where = [f"#{each.index} {each.output}" for each in row.delegation.left_out if each.name == name]
            more = f", and {count - 3} more" if count > 3 else ""
            lines.append(f"  {name} × {count}: {', '.join(where[:3])}{more}")
    return "\n".join(lines)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes one line a row; the operators left out are counted by name, as in `CUMSUM:1 GATHER:2`."""
    records = []
    for row in rows:
        record = asdict(row)
        del record["delegation"]
        record["operators"] = row.delegation.operators
        record["partitions"] = row.delegation.partitions
        record["left_out"] = " ".join(f"{name}:{count}" for name, count in _count_names(row).items())
        records.append(record)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Writes a list of objects with `Row`'s fields."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def write_plot(rows: Sequence[Row], path: Path) -> None:
    """Draws a bar for each file and thread count: the median, with whiskers from p10 to p90."""
    from matplotlib.figure import Figure  # slow to import, and most calls do not plot

    labels = list(dict.fromkeys(row.label for row in rows))
    thread_counts = list(dict.fromkeys(row.threads for row in rows))
    height = 0.8 / len(thread_counts)
    figure = Figure(figsize=(8, 1.4 + 0.42 * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    for turn, threads in enumerate(thread_counts):
        group = [row for row in rows if row.threads == threads]
        y = np.arange(len(labels)) + (turn - (len(thread_counts) - 1) / 2) * height
        medians = np.array([row.latency_ms_median for row in group])
        p10 = np.array([row.latency_ms_p10 for row in group])
        p90 = np.array([row.latency_ms_p90 for row in group])
        axes.barh(
            y,
            medians,
            height=0.9 * height,
            xerr=(medians - p10, p90 - medians),
            color=f"C{turn}",
            alpha=0.85,
            error_kw={"elinewidth": 1, "capsize": 2.5, "ecolor": "0.2"},
            label=_thread_label(threads),
        )
        for position, end, row in zip(y, p90, group, strict=True):
            text = f"{row.latency_ms_median:.3g} ms" + (f"  (×{row.ratio:.2f})" if len(labels) > 1 else "")
            axes.annotate(text, (end, position), (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()  # the first file on top, as in the table
    axes.margins(x=0.28)  # room for the numbers behind the bars
    axes.set_xlim(left=0)
    axes.set_xlabel("latency, ms")
    axes.spines[["top", "right"]].set_visible(False)
    title = f"Median and p10–p90 of {rows[0].runs} runs"
    if len(thread_counts) == 1:
        title += f", {_thread_label(thread_counts[0])}"
    else:
        figure.legend(loc="outside lower center", ncols=len(thread_counts), frameon=False)
    axes.set_title(title, fontsize=11, loc="left")
    figure.savefig(path)


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
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="write the rows as CSV")
    parser.add_argument("--json", type=Path, metavar="FILE.json", help="write the rows as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the medians")
    parser.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    options = parser.parse_args(argv)
    writers = ((options.csv, write_csv), (options.json, write_json), (options.plot, write_plot))
    outputs = [(path, write) for path, write in writers if path is not None]
    try:
        _check_outputs([path for path, _ in outputs], options.files, options.overwrite)
        if options.plot and options.plot.suffix != ".png":
            raise InputError(f"--plot: expected a name that ends in .png, received {options.plot}")
        rows = measure(
            options.files, options.threads, options.runs, options.warmup, options.seed, _show_progress
        )
    except InputError as error:
        parser.error(str(error))
    print(format_table(rows))
    for path, write in outputs:
        write(rows, path)
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


def _thread_label(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _count_names(row: Row) -> Counter[str]:
    return Counter(operator.name for operator in row.delegation.left_out)


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rround {done} of {total}" + ("\n" if done == total else ""))
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
