"""All recipes by name."""

import pathlib

from recipes.errors import UserError, suggestion
from recipes.own import boxes, photos
from recipes.paper import cifar10, digits, imagenet, tiny_imagenet, voc
from recipes.recipe import Recipe

DEFAULT = "digits-mobilenetv2-sb"
_FAMILIES = (digits, imagenet, tiny_imagenet, voc, cifar10, photos, boxes)
RECIPES = {recipe.name: recipe for family in _FAMILIES for recipe in family.RECIPES}
PAPER = (*imagenet.PAPER, *voc.PAPER, *cifar10.PAPER)


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
