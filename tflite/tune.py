"""Searches for the best values of a recipe, as `recipes.tune`, among the networks that are fast enough.

    python -m tflite.tune RECIPE --run-dir DIR [--max-latency-ms N] [--front latency-ms] …

The other options are those of `recipes.tune`. With `--max-latency-ms` every trial's network is folded,
converted to a float32 .tflite file and timed on one CPU thread before it is trained: weights do not change
the latency. Those that take longer are not trained, and say so in trials.csv. With `--front latency-ms` the
trials' files are timed at the end, and the scores set against their milliseconds.
"""

import pathlib
import sys
import tempfile

from recipes import tune
from recipes.command import exit_code, progress
from recipes.search.costs import COSTS, Cost
from recipes.tasks import task_of
from tflite.latency import measure

RUNS = 100  # of each, in turn


def latencies_ms(networks):
    """Median latencies in milliseconds, on one thread, of the float32 files of some networks.

    Args:
        networks: Recipes, each with its number of classes.
    """
    from tflite.export import build

    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder, f"{number}.tflite") for number in range(len(networks))]
        for file, (recipe, classes) in zip(files, progress(networks, unit="network"), strict=True):
            file.write_bytes(build(task_of(recipe).compiled_model(recipe, classes)))
        rows = measure(files, runs=RUNS)
    return [row.latency_ms_median for row in rows]


LATENCY = Cost("latency_ms", "ms an image", ".3g", float, lambda networks: latencies_ms(networks))


def main(argv=None):
    return tune.main(argv, (*COSTS, LATENCY), "tflite.tune")


if __name__ == "__main__":
    sys.exit(exit_code(main))
