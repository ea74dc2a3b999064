"""Searches for the best values of a recipe, as `recipes.tune`, among the networks that are fast enough.

    python -m tflite.tune RECIPE --run-dir DIR [--max-latency-ms N] [--front latency-ms] …

The other options are those of `recipes.tune`. With `--max-latency-ms` every trial's network is folded,
converted to a float32 .tflite file and timed on one CPU thread before it is trained: weights do not change
the latency. Those that take longer are not trained, and say so in trials.csv. With `--front latency-ms` the
trials' files are timed at the end, and the scores set against their milliseconds.
"""

import functools
import pathlib
import sys
import tempfile

from recipes import tune
from recipes.command import exit_code
from recipes.search.costs import COSTS, Cost
from recipes.tasks import task_of
from tflite.latency import measure

RUNS = 50


@functools.cache  # trials that differ in the training alone have the same network
def latency_ms(recipe):
    """Median latency of 50 runs of the float32 file of a recipe's network on one thread, in milliseconds."""
    from tflite.export import build

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "trial.tflite")
        file.write_bytes(build(task_of(recipe).compiled_model(recipe, 10)))
        (row,) = measure([file], runs=RUNS)
    return row.latency_ms_median


LATENCY = Cost("latency_ms", "ms an image", ".3g", float, lambda recipe: latency_ms(recipe))


def main(argv=None):
    return tune.main(argv, (*COSTS, LATENCY), "tflite.tune")


if __name__ == "__main__":
    sys.exit(exit_code(main))
