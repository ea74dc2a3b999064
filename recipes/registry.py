"""All recipes by name."""

import pathlib
import sys

from recipes.errors import UserError, suggestion
from recipes.own import boxes, photos
from recipes.paper import cifar10, digits, imagenet, tiny_imagenet, voc
from recipes.recipe import Recipe

DEFAULT = "digits-mobilenetv2-sb"
_FAMILIES = (digits, imagenet, tiny_imagenet, voc, cifar10, photos, boxes)
RECIPES = {recipe.name: recipe for family in _FAMILIES for recipe in family.RECIPES}
PAPER = (*imagenet.PAPER, *voc.PAPER, *cifar10.PAPER)


def named(argv=None):
    """The recipe that a program's arguments name, for its help; the default one if they name none."""
    words = sys.argv[1:] if argv is None else argv
    return RECIPES[next((word for word in words if word in RECIPES), DEFAULT)]


def find(name):
    """The recipe of that name, or the one in that JSON file.

    Raises:
        UserError: If there is none.
    """
    if name in RECIPES:
        return RECIPES[name]
    if pathlib.Path(name).suffix == ".json":
        return Recipe.read(name)
    raise UserError(
        f"unknown recipe {name!r}.{suggestion(name, RECIPES)} `python -m recipes.list` shows the names"
    )
