"""What training and evaluation of a classifier consist of; a detector's are in `recipes.detection`."""

import numpy as np

import sb_keras
from recipes import data

METRIC = "accuracy"
LOG = ("loss", "accuracy", "val_loss", "val_accuracy")

load = data.load
check_classes = data.check_classes
training_batches = data.training_batches
evaluation_batches = data.evaluation_batches


def compiled_model(recipe, classes):
    """Builds and compiles a recipe's network for a number of classes."""
    model = recipe.model.build(recipe.data.image_size, classes)
    smoothing = recipe.label_smoothing
    loss = sb_keras.losses.SmoothedCrossentropy(smoothing) if smoothing else "sparse_categorical_crossentropy"
    model.compile(
        recipe.optimizer.build(), loss, metrics=["accuracy"], steps_per_execution=recipe.steps_per_execution
    )
    return model


def create_state(model, classes):
    """Creates the variables of optimizer and metrics before the training step is traced.

    A step that creates variables when it is first traced is traced once more: half a minute for a
    network with SB in every layer.
    """
    model.optimizer.build(model.trainable_variables)
    labels, predictions = np.zeros(1, "int32"), np.full((1, classes), 1 / classes, "float32")
    model.compute_loss(y=labels, y_pred=predictions)
    model.compute_metrics(None, labels, predictions)
    model.reset_metrics()


def evaluate(model, split, recipe):
    """Loss and accuracy of a split's images: {"loss": …, "accuracy": …}."""
    batches = data.evaluation_batches(split, recipe.data, recipe.batch_size)
    return model.evaluate(batches, verbose=0, return_dict=True)


def class_table(model, dataset, recipe, progress=False):
    """How each class does on the test images: the head of a table, its rows, and a line that sums them up."""
    images = data.evaluation_batches(dataset.test, recipe.data, recipe.batch_size)
    predicted = model.predict(images, verbose="auto" if progress else 0).argmax(axis=-1)
    accuracy = np.mean(predicted == dataset.test.labels)
    rows = recall_and_precision(dataset.classes, dataset.test.labels, predicted)
    return ("class", "images", "recall", "precision"), rows, f"test accuracy {accuracy:.4f}"


def recall_and_precision(classes, labels, predicted):
    """For every class its name, its number of images, and recall and precision as fractions (NaN for 0/0)."""
    confusion = np.zeros((len(classes), len(classes)))
    np.add.at(confusion, (labels, predicted), 1)
    hits = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        recall, precision = hits / confusion.sum(axis=1), hits / confusion.sum(axis=0)
    counts = confusion.sum(axis=1).astype(int)
    return list(zip(classes, counts.tolist(), recall.tolist(), precision.tolist(), strict=True))


def draw_target(axes, label, classes):
    """Draws what an image is to be recognized as."""
    axes.set_title(classes[label], fontsize=9)
