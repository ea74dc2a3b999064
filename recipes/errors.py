"""What is wrong with what the user asked for, in one line: no traceback."""

import difflib
import math


class UserError(Exception):
    """A mistake in what the user asked for: one clear line, no traceback."""


class CannotWrite(UserError):
    """A file or directory cannot be written: the disk is full, or it is not ours."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has come, as before a preemptible machine goes away."""


def check_one_of(key, value, known):
    """Raises a `UserError` unless the value is one of the known ones, of which one may be None."""
    if value not in known:
        words = [each for each in known if each is not None]
        hint = suggestion(value, words)
        listed = ", ".join([*words, "none (in JSON null)"] if None in known else words)
        raise UserError(f"{key} must be one of {listed}. Received: {value!r}{'.' if hint else ''}{hint}")


def suggestion(word, known):
    """Asks, behind a space, "Did you mean …?" where a known word is like `word`; otherwise nothing."""
    known = list(known)
    last = [name.rpartition(".")[2] for name in known]  # of a key without what it belongs to
    near = difflib.get_close_matches(str(word), known, n=1)
    near = near or [known[last.index(each)] for each in difflib.get_close_matches(str(word), last, n=1)]
    return f" Did you mean {near[0]}?" if near else ""


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
