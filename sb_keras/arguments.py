"""Checks of arguments: each returns the value, or raises a ValueError with what was expected and received."""

import collections.abc
import math
import numbers


def check_choice(name, value, choices):
    if not (isinstance(value, str | None) and value in choices):
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value


def check_positive_integer(name, value):
    if not _is_positive_integer(value):
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    return int(value)


def check_count(name, value):
    if not _is_integer(value) or value < 0:
        raise ValueError(f"`{name}` must be a whole number from 0. Received: {name}={value!r}")
    return int(value)


def check_positive_integers(name, values):
    """At least one, of any iterable: in order, each once."""
    found = tuple(values) if isinstance(values, collections.abc.Iterable) else ()
    if not found or not all(map(_is_positive_integer, found)):
        received = found if found and not isinstance(values, str) else values
        raise ValueError(f"`{name}` must be positive integers, at least one. Received: {name}={received!r}")
    return tuple(sorted(set(map(int, found))))


def check_finite(name, value):
    if not _is_finite(value):
        raise ValueError(f"`{name}` must be a finite number. Received: {name}={value!r}")
    return float(value)


def check_positive(name, value):
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"`{name}` must be a positive, finite number. Received: {name}={value!r}")
    return float(value)


def check_rate(name, value):
    if not (_is_finite(value) and 0 <= value < 1):
        raise ValueError(f"`{name}` must be a number in [0, 1). Received: {name}={value!r}")
    return float(value)


def _is_finite(value):
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _is_positive_integer(value):
    return _is_integer(value) and int(value) > 0


def _is_integer(value):
    # True is an integer to Python, and 1; who writes it means something else.
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
