"""Classifiers: one label a picture."""

import numpy as np

import sb_keras
from recipes import answers
from recipes.command import progress
from recipes.tasks.task import Task


class Classification(Task):
    """One label a picture, judged by accuracy."""

    metric = "accuracy"
    answered = "classes"
    log = ("loss", "accuracy", "val_loss", "val_accuracy")
    counted = "pictures"
    files = (*Task.files, "confusion")

    def compiled_model(self, recipe, classes):
        model = recipe.model.build(recipe.data.image_size, classes)
        self.freeze(model, recipe.model)
        loss = "sparse_categorical_crossentropy"
        if recipe.label_smoothing:
            loss = sb_keras.losses.SmoothedCrossentropy(recipe.label_smoothing)
        model.compile(
            recipe.optimizer.build(self.head(model), self.attention(model)),
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

    def describe(self, dataset):
        parts = ", ".join(f"{len(split)} {part}" for part, split in dataset.parts.items())
        line = f"{len(dataset.classes)} classes, {parts} pictures"
        counts = dataset.train.counts(len(dataset.classes))
        if counts is None:
            return line
        return f"{line}; the largest class is {100 * counts.max() / counts.sum():.0f} %"

    def evaluate(self, model, split, recipe):
        batches = split.evaluation_batches(recipe.data, recipe.batch_size)
        return model.evaluate(batches, verbose=0, return_dict=True)

    def class_table(self, model, dataset, recipe, **files):
        from recipes.tasks import classification_report as report  # with Matplotlib and scikit-learn

        test, found = dataset.test, []
        for images, labels in progress(test.evaluation_batches(recipe.data, recipe.batch_size), unit="batch"):
            probabilities = np.asarray(model.predict_on_batch(np.asarray(images)), float)
            found.append((np.asarray(labels), probabilities.argmax(axis=-1), probabilities.max(axis=-1)))
        predictions = report.Predictions(
            dataset.classes, *(np.concatenate(each) for each in zip(*found, strict=True))
        )
        accuracy = predictions.is_right.mean()
        title = f"{recipe.name}: test accuracy {100 * accuracy:.1f} %"
        if "plot" in files:
            report.plot_confusion_and_calibration(predictions, title, files["plot"])
        if "sheet" in files:
            report.mistakes_sheet(predictions, test, recipe.data, title, files["sheet"])
        if "confusion" in files:
            report.write_confusion(predictions, files["confusion"])
        error = predictions.calibration_error
        summary = f"test accuracy {accuracy:.4f}, expected calibration error {error:.4f}"
        return report.HEAD, report.class_rows(predictions), summary

    def answer(self, model, recipe, classes, picture, least_score=0.0):
        (probabilities,) = model.predict_on_batch(answers.batch_of(picture, recipe.data))
        order = np.argsort(-probabilities, kind="stable")
        return answers.classes([(classes[label], float(probabilities[label])) for label in order])

    def draw_target(self, axes, target, data, classes):
        from recipes.tasks import classification_report as report

        report.set_title(axes, [classes[target]])
