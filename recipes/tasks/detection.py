"""Detectors: objects in boxes."""

import functools

import numpy as np

import sb_keras
from recipes import answers
from recipes.command import progress
from recipes.errors import UserError
from recipes.run_directory import RunDirectory
from recipes.tasks.task import Task

# So that pictures without objects teach, as in the SSD configurations of TensorFlow's Object Detection API
# (min_negatives_per_image: 3). Where there is an object, three anchors without one count anyway.
MIN_NEGATIVES = 3


class Detection(Task):
    """Objects in boxes, judged by VOC2007's mean average precision; COCO's stands beside it."""

    metric = "mean_average_precision"
    answered = "objects"
    counted = "objects"
    log = (
        *("loss", "classes_loss", "boxes_loss", "val_loss"),
        *("val_mean_average_precision", "val_coco_average_precision"),
    )

    def compiled_model(self, recipe, classes):
        """As `Task.compiled_model`; the backbone is as `model.backbone` was trained."""
        model = recipe.model.build(recipe.data.image_size, classes)
        if recipe.model.backbone is not None:
            classifier = RunDirectory.existing(recipe.model.backbone).load_model()
            try:
                sb_keras.models.load_backbone(model, classifier)
            except ValueError as error:
                raise UserError(f"model.backbone={recipe.model.backbone}: {error}") from error
        self.freeze(model, recipe.model)
        model.compile(
            recipe.optimizer.build(self.head(model), self.attention(model)),
            loss={
                "classes": sb_keras.detection.ClassLoss(min_negatives=MIN_NEGATIVES),
                "boxes": sb_keras.detection.BoxLoss(),
            },
            steps_per_execution=recipe.steps_per_execution,
        )
        return model

    def create_state(self, model, classes):
        model.optimizer.build(model.trainable_variables)
        anchors = model.get_layer("boxes").output.shape[1]
        targets = {"classes": np.zeros((1, anchors), "int32"), "boxes": np.zeros((1, anchors, 5), "float32")}
        outputs = {
            "classes": np.zeros((1, anchors, classes + 1), "float32"),
            "boxes": np.zeros((1, anchors, 4), "float32"),
        }
        model.compute_loss(None, targets, outputs)
        model.reset_metrics()

    def head(self, model):
        backbone = {layer.name for layer in sb_keras.models.backbone_of(model)}
        return [
            layer.name for layer in model.layers if layer.trainable_weights and layer.name not in backbone
        ]

    def classes_of(self, model):
        return model.get_layer("classes").output.shape[-1] - 1  # without the background

    def describe(self, dataset):
        count = len(dataset.classes)

        def part(name, split):
            empty = int(np.all(split.labels < 0, axis=1).sum())
            pictures = f"{len(split)} {name} pictures with {split.counts(count).sum()} objects"
            return f"{pictures} ({empty} with none)" if empty else pictures

        parts = ", ".join(part(name, split) for name, split in dataset.parts.items())
        return f"{count} {'class' if count == 1 else 'classes'}, {parts}"

    def evaluate(self, model, split, recipe):
        from recipes.tasks.coco import coco_average_precision  # pycocotools

        losses, found = [], []
        for targets, outputs, detections in detect(model, split, recipe):
            losses.append(float(model.compute_loss(None, targets, outputs)))
            found += detections
        model.reset_metrics()
        eleven_point, _ = average_precisions(split, found, self.classes_of(model))
        # The loss of an object's anchor, of every batch; batches weigh the same, as in training.
        return {
            "loss": float(np.mean(losses)),
            self.metric: eleven_point.mean(),
            "coco_average_precision": coco_average_precision(split, found)[0],
        }

    def class_table(self, model, dataset, recipe, **files):
        from recipes.tasks import detection_report as report  # with Matplotlib and pycocotools

        test, found = dataset.test, []
        for _, _, detections in progress(
            detect(model, test, recipe), -(-len(test) // recipe.batch_size), "batch"
        ):
            found += detections
        metrics = eleven_point, area = average_precisions(test, found, len(dataset.classes))
        coco = report.coco_average_precision(test, found)
        summary = (
            f"test mean average precision {eleven_point.mean():.4f} (11-point), {area.mean():.4f} (area); "
            f"COCO {coco[0]:.4f}, at IoU 0.5 {coco[1]:.4f}, at 0.75 {coco[2]:.4f}"
        )
        title = f"{recipe.name}: mean average precision {100 * eleven_point.mean():.1f} %"
        if "plot" in files:
            report.plot_precision_recall(dataset.classes, eleven_point, title, files["plot"])
        if "sheet" in files:
            first = test.select(slice(report.PICTURES))
            ((pixels, _),) = first.pixel_batches(recipe.data, report.PICTURES)
            report.detection_sheet(first, pixels.numpy(), found, dataset.classes, title, files["sheet"])
        return report.HEAD, report.class_rows(dataset.classes, metrics), summary

    def answer(self, model, recipe, classes, picture, least_score=0.0):
        outputs = model.predict_on_batch(answers.batch_of(picture, recipe.data))
        found = sb_keras.detection.detect(
            outputs, sb_keras.detection.ssdlite_anchors(model.inputs[0].shape[1:])
        )
        (each,) = by_picture({key: np.asarray(values) for key, values in found.items()})
        size = picture.height, picture.width
        return answers.objects(
            each["boxes_yxyx"], each["classes"], each["scores"], classes, size, least_score
        )

    def draw_target(self, axes, target, data, classes):
        """Draws the objects of a picture, and in dots the anchors that are to find them."""
        from recipes.tasks import detection_report as report

        report.draw_objects(axes, target, data.image_size, classes)


def detect(model, split, recipe):
    """Yields, for every batch of a split, the targets, the model's outputs and the detections by picture."""
    import keras

    suppress = _suppression(model.inputs[0].shape[1:])
    for images, targets in split.evaluation_batches(recipe.data, recipe.batch_size):
        outputs = model.predict_on_batch(np.asarray(images))  # JAX takes no tensor of TensorFlow's
        targets = keras.tree.map_structure(np.asarray, targets)
        found = keras.tree.map_structure(lambda tensor: tensor.numpy(), suppress(outputs))
        yield targets, outputs, by_picture(found)


@functools.cache
def _suppression(input_shape):
    """`sb_keras.detection.detect` for detectors of an input shape, traced once for all evaluations."""
    import keras
    import tensorflow as tf

    suppress = functools.partial(
        sb_keras.detection.detect, anchors=sb_keras.detection.ssdlite_anchors(input_shape)
    )
    if keras.backend.backend() != "tensorflow":
        return suppress
    return tf.function(suppress, reduce_retracing=True)


def by_picture(found):
    """What `sb_keras.detection.detect` found, as a list with a dictionary a picture, without the padding."""
    keys = ("boxes_yxyx", "classes", "scores")
    return [{key: found[key][row][:count] for key in keys} for row, count in enumerate(found["count"])]


def average_precisions(split, found, classes):
    """VOC's two average precisions of detections, filled: the 11-point one and the area's.

    Args:
        split: A `recipes.data.objects.Objects`.
        found: For every picture `boxes_yxyx`, `classes` and `scores` of its detections.
        classes: Number of classes.
    """
    average_precision = sb_keras.detection.VocAveragePrecision
    metrics = average_precision(classes), average_precision(classes, method="area")
    for metric in metrics:
        for image, each in enumerate(found):
            metric.update(
                split.boxes_yxyx[image],
                split.labels[image],
                split.difficult[image],
                each["boxes_yxyx"],
                each["classes"],
                each["scores"],
            )
    return metrics
