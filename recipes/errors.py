"""How the command-line programs end when the user's input is wrong."""

import csv
import math
import os
import pathlib
import sys


class UserError(Exception):
    """A mistake in what the user asked for: one clear line, no traceback."""


class CannotWrite(UserError):
    """A file or directory cannot be written: the disk is full, or it is not ours."""


def exit_code(main):
    """Runs a program's `main`; what it returns, or 2 after a `UserError` and 130 after Ctrl-C."""
    try:
        code = main() or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads our output, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def check_one_of(key, value, known):
    """Raises a `UserError` unless the value is one of the known ones."""
    if value not in known:
        raise UserError(f"{key} must be one of {', '.join(known)}. Received: {value!r}")


def check_in_range(key, value, *, least=None, above=None, below=None):
    """Raises a `UserError` unless the value is a number within the bounds."""
    expected = [
        *(["finite"] if isinstance(value, float) else []),
        *([f"at least {least}"] if least is not None else []),
        *([f"more than {above}"] if above is not None else []),
        *([f"less than {below}"] if below is not None else []),
    ]
    inside = (
        (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
        and (isinstance(value, int) or math.isfinite(value))
    )
    if not inside:
        raise UserError(f"{key} must be {' and '.join(expected)}. Received: {value}")


def check_new_file(path):
    """Raises a `UserError` unless `path` is None or a file can be made there without losing another."""
    if path is None:
        return
    if os.path.lexists(path):
        raise UserError(f"{path} exists already, and is left as it is; choose another name")
    if not pathlib.Path(path).parent.is_dir():
        raise UserError(f"cannot write {path}: no such folder: {pathlib.Path(path).parent}")


def check_outputs(csv=None, **pictures):
    """Raises a `UserError` unless new files can be made at all of these paths; None stands for none.

    Args:
        csv: Path of a table.
        **pictures: Paths of PNG files, by the option that names them: `plot=path` for `--plot`.
    """
    given = [path for path in (csv, *pictures.values()) if path is not None]
    for path in given:
        check_new_file(path)
    for option, path in pictures.items():
        if path is not None and not path.endswith(".png"):
            raise UserError(f"--{option} takes a name that ends in .png. Received: {path}")
    if len(set(map(os.path.abspath, given))) < len(given):
        raise UserError(f"every file needs a name of its own. Received: {', '.join(given)}")


def write_csv(path, head, rows):
    """Writes a new CSV file; `check_new_file`, before the work, says whether that can be done."""
    try:
        with open(path, "x", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows((head, *rows))
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from error
