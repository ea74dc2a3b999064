"""What a recipe trains: a classifier or a detector."""

from recipes.tasks.classification import Classification
from recipes.tasks.detection import Detection
from recipes.tasks.task import Task as Task
from recipes.tasks.task import check_class_names as check_class_names

TASKS: dict[str, Task] = {"classification": Classification(), "detection": Detection()}


def task_of(recipe):
    """The `Task` of a recipe's data set."""
    return TASKS[recipe.data.task]
