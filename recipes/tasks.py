"""What a recipe trains: a classifier or a detector."""

from recipes.recipe import DETECTION_SETS


def is_detection(recipe):
    """Whether the recipe trains a detector."""
    return recipe.data.name in DETECTION_SETS


def task_of(recipe):
    """The module that trains and evaluates the recipe's kind of network."""
    if is_detection(recipe):
        from recipes import detection as task  # needs TensorFlow, whatever Keras runs on
    else:
        from recipes import classification as task
    return task
