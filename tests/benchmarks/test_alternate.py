import functools
import os
import time

import pytest

from benchmarks.alternate import alternate


def sleeper(seconds, megabytes=0):
    def step():
        block = bytearray(megabytes * 2**20)
        time.sleep(seconds)
        return len(block)

    return step


def broken():
    raise ValueError("no such network")


def dying():
    return lambda: os._exit(1)


def test_measures_time_and_memory_of_each():
    variants = {
        "short": functools.partial(sleeper, 0.02),
        ("long", "large"): functools.partial(sleeper, 0.2, 64),
    }
    measured = alternate(variants, rounds=5)
    assert set(measured) == set(variants)
    short, long = measured.values()
    for m, milliseconds in ((short, 20), (long, 200)):
        # It sleeps at least so long, and does nothing.
        assert milliseconds <= m.wall_ms_q1 <= m.wall_ms <= m.wall_ms_q3
        assert m.cpu_ms < milliseconds
    assert long.peak_mb - short.peak_mb > 50


@pytest.mark.parametrize(
    ("factory", "message"),
    [(broken, "it failed: ValueError: no such network"), (dying, "it failed: its process ended")],
)
def test_a_failure_names_the_variant(factory, message):
    with pytest.raises(RuntimeError, match=message):
        alternate({"fine": functools.partial(sleeper, 0.0), "it": factory}, rounds=2)
