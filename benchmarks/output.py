"""The options that every benchmark has, and what it does with its rows."""

import argparse

from recipes.files import check_new_file, write_csv
from recipes.processor import processor
from sb_keras.table import format_table


def parser(module, description, rounds=15):
    """A command line with the number of rounds and the files to write."""
    result = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=description)
    result.add_argument(
        "--rounds",
        type=_rounds,
        default=rounds,
        help="measured steps of each, at least 2 (default: %(default)s)",
    )
    result.add_argument("--csv", metavar="FILE", help="also writes every measurement")
    result.add_argument("--plot", metavar="FILE", help="also draws them")
    return result


def add_kinds(parser, kinds, default):
    """Adds the option of which attention is measured."""
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=kinds,
        default=default,
        metavar="KIND",
        help=f"of {', '.join(kinds)} (default: {' '.join(default)})",
    )


def check(args):
    """Raises a `UserError`, before the work, if a file cannot be written or exists."""
    check_new_file(args.csv)
    check_new_file(getattr(args, "plot", None))


def show(args, head, rows):
    """Prints the rows as a table; writes them as CSV where that is asked for."""
    print(format_table(head, [[_rounded(cell) for cell in row] for row in rows], align=_align(rows[0])))
    print(f"\nmeasured on {processor()}")
    if args.csv:
        write_csv(args.csv, head, rows)


def save(args, plot, head, rows):
    """Draws the rows, as dictionaries, with a function that returns a figure, where that is asked for."""
    if args.plot:
        import matplotlib

        matplotlib.use("Agg")
        plot([dict(zip(head, row, strict=True)) for row in rows]).savefig(args.plot, dpi=120)


def _rounded(cell):
    return f"{cell:.4g}" if isinstance(cell, float) else cell


def _align(row):
    return "".join("<" if isinstance(cell, str) else ">" for cell in row)


def _rounds(text):
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError("quartiles need at least 2 rounds")
    return value
