"""Bounds of a search: networks beyond them are refused before they are trained."""

import dataclasses
from collections.abc import Callable

import sb_keras
from recipes.errors import UserError
from recipes.tasks import task_of


@dataclasses.dataclass(frozen=True)
class Bound:
    """An option that has networks refused before they are trained.

    Attributes:
        option: Its name on the command line.
        type: `int` or `float`.
        help: What it does.
        check: A function of its value, which makes the function of a recipe that raises a `UserError` if
            the recipe's network is beyond it.
    """

    option: str
    type: type
    help: str
    check: Callable

    @property
    def key(self):
        return self.option.removeprefix("--").replace("-", "_")


def check_madds(most):
    """A check that refuses networks of more than so many multiply-adds."""

    def check(recipe):
        # The classes' share does not depend on what is searched for, so that ten will do.
        madds = sb_keras.profile(task_of(recipe).compiled_model(recipe, 10)).total.madds
        if madds > most:
            raise UserError(f"{madds:,} multiply-adds; at most {most:,} are allowed")

    return check


BOUNDS = (Bound("--max-madds", int, "refuse networks of more multiply-adds", check_madds),)
