"""What a network costs: a search refuses networks that cost too much, and sets scores against costs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import sb_keras
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
        of: A function from a network, compiled for ten classes, to the number: the classes' share does not
            depend on what is searched for.
    """

    key: str
    label: str
    format: str
    type: type
    of: Callable[[Any], float]

    @property
    def limit(self):
        """The key of its upper bound."""
        return f"max_{self.key}"

    @property
    def option(self):
        return f"--{self.limit}".replace("_", "-")

    def measure(self, recipe):
        """The number of a recipe's network."""
        # Only the network counts; weights need not be there.
        model = dataclasses.replace(recipe.model, weights=None, backbone=None)
        return self.of(Recipe("measured", model, recipe.data))

    def check(self, most):
        """A function of a recipe that raises a `UserError` if its network needs more."""

        def check(recipe):
            found = self.measure(recipe)
            if found > most:
                found, allowed = (format(number, self.format) for number in (found, most))
                raise UserError(f"{found} {self.label}; at most {allowed} are allowed")

        return check


def madds(recipe):
    """Multiply-adds of a recipe's network."""
    return sb_keras.profile(task_of(recipe).compiled_model(recipe, 10)).total.madds


COSTS = (Cost("madds", "multiply-adds", ",", int, madds),)
