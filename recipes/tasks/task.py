"""What a task must have: how its networks are built, trained and judged."""

import abc
from typing import Any, ClassVar

import sb_keras
from recipes.data import fingerprint
from recipes.errors import UserError


class Task(abc.ABC):
    """A kind of network and what it is trained for.

    Attributes:
        metric: Name of what is to become large: `evaluate` gives it beside the loss.
        answered: What `answer` gives, as JSON calls it.
        log: The columns of log.csv, besides epoch, learning rate and seconds.
        counted: What is of a class: `"pictures"` or `"objects"`.
        files: What `class_table` can write besides, by the options of `recipes.evaluate`.
    """

    metric: ClassVar[str]
    answered: ClassVar[str]
    log: ClassVar[tuple[str, ...]]
    counted: ClassVar[str]
    files: ClassVar[tuple[str, ...]] = ("plot", "sheet")

    @abc.abstractmethod
    def compiled_model(self, recipe, classes) -> Any:
        """Builds and compiles a recipe's network for a number of classes."""

    @abc.abstractmethod
    def create_state(self, model, classes):
        """Creates the variables of optimizer and metrics before the training step is traced.

        A step that creates variables when it is first traced is traced once more: half a minute for a
        network with SB in every layer.
        """

    @abc.abstractmethod
    def head(self, model) -> list[str]:
        """Names of the layers that know the classes: with `model.weights` they alone begin anew."""

    def attention(self, model) -> list[str]:
        """Names of the layers of attention: SB's and SE's, and what weighs the kernels of dynamic ones."""
        kinds = sb_keras.layers.ShiftBalance, sb_keras.layers.SqueezeExcite
        attention = [layer.name for layer in model.layers if isinstance(layer, kinds)]
        dynamic = (layer for layer in model.layers if isinstance(layer, sb_keras.layers.DynamicConv))
        return [*attention, *{layer.routing_network.name for layer in dynamic}]

    def freeze(self, model, settings):
        """Freezes what `model.freeze` says, before the model is compiled.

        Args:
            model: The network, with the weights that it begins with.
            settings: The recipe's `recipes.settings.Model`.
        """
        import keras

        if settings.freeze is None or not settings.begins_trained:
            return
        learning = {*self.head(model), *self.attention(model)}
        for layer in model.layers:
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            if layer.name not in learning and (is_norm or settings.freeze == "backbone"):
                layer.trainable = False

    @abc.abstractmethod
    def classes_of(self, model) -> int:
        """How many classes a network tells apart."""

    @abc.abstractmethod
    def describe(self, dataset) -> str:
        """Says in a line how much there is to learn from, and of how many classes."""

    @abc.abstractmethod
    def evaluate(self, model, split, recipe) -> dict[str, float]:
        """Loss and metric of a split's pictures: `{"loss": …, metric: …}`."""

    @abc.abstractmethod
    def class_table(self, model, dataset, recipe, **files) -> tuple:
        """How each class does on the test pictures.

        Args:
            model: The network.
            dataset: The pictures.
            recipe: The recipe.
            **files: Paths of the files to write, by their names in `files`.

        Returns:
            The head of a table, its rows, and a line that sums them up.
        """

    @abc.abstractmethod
    def answer(self, model, recipe, classes, picture, least_score=0.0) -> list[dict]:
        """What a network says of a picture, as `recipes.answers` takes it.

        Args:
            model: The network.
            recipe: The recipe.
            classes: Names of the classes.
            picture: A Pillow image of mode RGB, upright.
            least_score: Of a detector, what is less sure is left out.
        """

    @abc.abstractmethod
    def draw_target(self, axes, target, data, classes):
        """Draws what a picture is to teach.

        Args:
            axes: Matplotlib's axes, which show the picture.
            target: The picture's row of the targets in a batch.
            data: The recipe's `recipes.settings.Data`.
            classes: Names of the classes.
        """

    def check_data(self, dataset, model, run):
        """Raises a `UserError` unless a run's model knows the classes of the data; warns of other pictures.

        Args:
            dataset: The data set.
            model: The run's model.
            run: The `RunDirectory`.
        """
        self.check_classes(dataset, model, run.classes)
        fingerprint.tell_changes(dataset, run.recipe.data.directory, run.pictures_file)

    def check_classes(self, dataset, model, names):
        """Raises a `UserError` unless a model's outputs stand for the classes that there are.

        Args:
            dataset: The data set.
            model: The model, read from a file.
            names: The names of its classes; None if nothing tells them, so that they can only be counted.
        """
        if names is not None:
            check_class_names(dataset, names)
        found = self.classes_of(model)
        if found != len(dataset.classes):
            raise UserError(
                f"the model was trained with {found} classes; "
                f"the data have {len(dataset.classes)} now: {', '.join(dataset.classes)}"
            )


def check_class_names(dataset, names):
    """Raises a `UserError` unless the classes are still those that the model's outputs stand for."""
    if tuple(names) != dataset.classes:
        raise UserError(
            f"the model was trained with the classes {', '.join(names)}; "
            f"the data have {', '.join(dataset.classes)}"
        )
