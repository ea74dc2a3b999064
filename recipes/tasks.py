"""What a recipe trains: a classifier or a detector."""

from recipes.data import check_backend
from recipes.recipe import DETECTION_SETS


def is_detection(recipe):
    """Whether the recipe trains a detector."""
    return recipe.data.name in DETECTION_SETS


def task_of(recipe):
    """The module that trains and evaluates the recipe's kind of network.

    Raises:
        UserError: If Keras does not run on TensorFlow, which detection needs.
    """
    if is_detection(recipe):
        check_backend(recipe.data)
        from recipes import detection as task
    else:
        from recipes import classification as task
    return task
