"""What a recipe trains: a classifier or a detector."""

from recipes import classification, detection
from recipes.recipe import DETECTION_SETS


def task_of(recipe):
    """The module that trains and evaluates the recipe's kind of network."""
    return detection if recipe.data.name in DETECTION_SETS else classification
