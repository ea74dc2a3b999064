"""What the tests of `recipes.tune` share."""

import csv

import tiny

from recipes import tune
from recipes.command import exit_code

LAMBDA, RATE = "model.attention.lambda_init", "optimizer.learning_rate"
BLOCKS = "model.attention.blocks"


def run_tune(directory, *options, epochs=1):
    arguments = tiny.arguments(directory, f"epochs={epochs}", options=options)
    return exit_code(lambda: tune.main(arguments))


def read_trials(directory):
    with (directory / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))
