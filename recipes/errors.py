"""How the command-line programs end when the user's input is wrong."""

import math
import sys


class UserError(Exception):
    """A mistake in what the user asked for: one clear line, no traceback."""


def exit_code(main):
    """Runs a program's `main`; what it returns, or 2 after a `UserError` and 130 after Ctrl-C."""
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def check_one_of(key, value, known):
    """Raises a `UserError` unless the value is one of the known ones."""
    if value not in known:
        raise UserError(f"{key} must be one of {', '.join(known)}. Received: {value!r}")


def check_in_range(key, value, *, least=None, above=None, below=None):
    """Raises a `UserError` unless the value is a number within the bounds."""
    expected = [
        *([f"at least {least}"] if least is not None else []),
        *([f"more than {above}"] if above is not None else []),
        *([f"less than {below}"] if below is not None else []),
    ]
    inside = (
        (least is None or value >= least)
        and (above is None or value > above)
        and (below is None or value < below)
        and math.isfinite(value)
    )
    if not inside:
        raise UserError(f"{key} must be {' and '.join(expected)}. Received: {value}")
