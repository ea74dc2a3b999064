"""What a network costs: a search refuses networks that cost too much, and sets scores against costs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import sb_keras
from recipes.command import progress
from recipes.errors import UserError
from recipes.recipe import Recipe
from recipes.tasks import task_of


@dataclasses.dataclass(frozen=True)
class Cost:
    """Something that a network needs, whatever its weights are.

    Attributes:
        key: Its name in tables, and in the options `--max-…` and `--front`.
        label: What it is counted in.
        format: How a number of it is written.
        type: `int` or `float`.
        of: A function from networks, each a recipe and its number of classes, to their numbers. What is
            timed is timed in turn.
    """

    key: str
    label: str
    format: str
    type: type
    of: Callable[[list[tuple[Recipe, int]]], list[Any]]

    @property
    def limit(self):
        """The key of its upper bound."""
        return f"max_{self.key}"

    @property
    def option(self):
        return f"--{self.limit}".replace("_", "-")

    def measure(self, recipes, classes_of):
        """The numbers of the networks of some recipes; `classes_of` is a function of one of these."""
        networks = [_network(recipe, classes_of) for recipe in recipes]
        distinct = list(dict.fromkeys(networks))
        numbers = dict(zip(distinct, self.of(distinct), strict=True))
        return [numbers[network] for network in networks]

    def check(self, most, classes_of):
        """A function of a recipe that raises a `UserError` if its network needs more."""

        @functools.cache  # trials that differ in the training alone have the same network
        def number(network):
            return self.of([network])[0]

        def check(recipe):
            found = number(_network(recipe, classes_of))
            if found > most:
                found, allowed = (format(each, self.format) for each in (found, most))
                raise UserError(f"{found} {self.label}; at most {allowed} are allowed")

        return check


def _network(recipe, classes_of):
    """A recipe in which only the network counts, whose weights need not be there; and how many classes."""
    model = dataclasses.replace(recipe.model, weights=None, backbone=None)
    return Recipe("measured", model, recipe.data), classes_of(recipe)


def madds(networks):
    """Multiply-adds of some networks, each a recipe and its number of classes."""
    models = (task_of(recipe).compiled_model(recipe, n) for recipe, n in progress(networks, unit="network"))
    return [sb_keras.profile(model).total.madds for model in models]


COSTS = (Cost("madds", "multiply-adds", ",", int, madds),)
