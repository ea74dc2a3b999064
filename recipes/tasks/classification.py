"""Classifiers: one label a picture."""

import numpy as np

import sb_keras
from recipes import answers
from recipes.command import progress
from recipes.data.array_batches import picture_batch
from recipes.tasks.task import Task


class Classification(Task):
    """One label a picture, judged by accuracy."""

    metric = "accuracy"
    answers = "classes"
    log = ("loss", "accuracy", "val_loss", "val_accuracy")

    def compiled_model(self, recipe, classes):
        model = recipe.model.build(recipe.data.image_size, classes)
        loss = "sparse_categorical_crossentropy"
        if recipe.label_smoothing:
            loss = sb_keras.losses.SmoothedCrossentropy(recipe.label_smoothing)
        model.compile(
            recipe.optimizer.build(self.head(model)),
            loss,
            metrics=["accuracy"],
            steps_per_execution=recipe.steps_per_execution,
        )
        return model

    def create_state(self, model, classes):
        model.optimizer.build(model.trainable_variables)
        labels, predictions = np.zeros(1, "int32"), np.full((1, classes), 1 / classes, "float32")
        model.compute_loss(y=labels, y_pred=predictions)
        model.compute_metrics(None, labels, predictions)
        model.reset_metrics()

    def head(self, model):
        return ["predictions"]

    def classes_of(self, model):
        return model.output_shape[-1]

    def evaluate(self, model, split, recipe):
        batches = split.evaluation_batches(recipe.data, recipe.batch_size)
        return model.evaluate(batches, verbose=0, return_dict=True)

    def class_table(self, model, dataset, recipe, **pictures):
        labels, predicted = [], []
        batches = dataset.test.evaluation_batches(recipe.data, recipe.batch_size)
        for images, some in progress(batches, unit="batch"):
            predicted.append(np.argmax(model.predict_on_batch(images), axis=-1))
            labels.append(np.asarray(some))
        labels, predicted = np.concatenate(labels), np.concatenate(predicted)
        rows = recall_and_precision(dataset.classes, labels, predicted)
        return (
            ("class", "images", "recall", "precision"),
            rows,
            f"test accuracy {np.mean(predicted == labels):.4f}",
        )

    def answer(self, model, recipe, classes, picture, least_score=0.0):
        (probabilities,) = model.predict_on_batch(picture_batch(picture, recipe.data))
        order = np.argsort(-probabilities, kind="stable")
        return answers.classes([(classes[label], float(probabilities[label])) for label in order])

    def draw_target(self, axes, target, data, classes):
        axes.set_title(classes[target], fontsize=9)


def recall_and_precision(classes, labels, predicted):
    """For every class its name, its number of images, and recall and precision as fractions (NaN for 0/0)."""
    confusion = np.zeros((len(classes), len(classes)))
    np.add.at(confusion, (labels, predicted), 1)
    hits = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        recall, precision = hits / confusion.sum(axis=1), hits / confusion.sum(axis=0)
    counts = confusion.sum(axis=1).astype(int)
    return list(zip(classes, counts.tolist(), recall.tolist(), precision.tolist(), strict=True))
