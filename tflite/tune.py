"""Searches for the best values of a recipe, as `recipes.tune`, among the networks that are fast enough.

    python -m tflite.tune RECIPE --run-dir DIR --max-latency-ms N [what recipes.tune takes]

Every trial's network is folded, converted to a float32 .tflite file and timed on one CPU thread before it is
trained: weights do not change the latency. Those that take longer are not trained, and say so in trials.csv.
"""

import functools
import pathlib
import sys
import tempfile

from recipes import tune
from recipes.command import exit_code
from recipes.errors import UserError
from recipes.recipe import Recipe
from recipes.search.bounds import BOUNDS, Bound
from recipes.tasks import task_of
from tflite.latency import measure

RUNS = 50


def check_latency(most_ms):
    """A check that refuses networks whose .tflite file takes more milliseconds, at the median of 50 runs."""

    def check(recipe):
        found = latency_ms(Recipe("timed", recipe.model, recipe.data))
        if found > most_ms:
            raise UserError(f"{found:.3g} ms an image; at most {most_ms:g} are allowed")

    return check


@functools.cache  # trials that differ in the training alone have the same network
def latency_ms(recipe):
    """Median latency of the float32 file of a recipe's network on one thread, in milliseconds."""
    from tflite.export import build

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "trial.tflite")
        file.write_bytes(build(task_of(recipe).compiled_model(recipe, 10)))
        (row,) = measure([file], runs=RUNS)
    return row.latency_ms_median


LATENCY = Bound(
    "--max-latency-ms", float, "refuse networks whose .tflite file takes longer on one thread", check_latency
)


def main(argv=None):
    return tune.main(argv, (*BOUNDS, LATENCY), "tflite.tune")


if __name__ == "__main__":
    sys.exit(exit_code(main))
