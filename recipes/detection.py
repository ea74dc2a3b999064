"""What training and evaluation of a detector consist of; a classifier's are in `recipes.classification`."""

import sys

import keras
import numpy as np
import tensorflow as tf

import sb_keras
from recipes import detection_data
from recipes import detection_report as report
from recipes.coco import coco_average_precision
from recipes.data import to_pixels
from recipes.drawing import draw_box
from recipes.errors import UserError
from recipes.run_directory import RunDirectory
from sb_keras import detection
from sb_keras.models import load_backbone

METRIC = "mean_average_precision"
LOG = ("loss", "classes_loss", "boxes_loss", "val_loss", "val_mean_average_precision")

load = detection_data.load
training_batches = detection_data.training_batches
evaluation_batches = detection_data.evaluation_batches


def check_classes(dataset, model):
    """Raises a `UserError` unless the model, read from a file, finds as many classes as there are."""
    found = classes_of(model)
    if found != len(dataset.classes):
        raise UserError(
            f"the model was trained with {found} classes; the data have {len(dataset.classes)} now: "
            f"{', '.join(dataset.classes)}"
        )


def classes_of(detector):
    """How many classes a detector finds, without the background."""
    return detector.get_layer("classes").output.shape[-1] - 1


def compiled_model(recipe, classes):
    """Builds and compiles a recipe's detector, its backbone as `model.backbone` was trained."""
    model = sb_keras.SSDLite(recipe.model.width_multiplier, recipe.model.attention, classes)
    if recipe.model.backbone is not None:
        classifier = RunDirectory.existing(recipe.model.backbone).load_model()
        try:
            load_backbone(model, classifier)
        except ValueError as error:
            raise UserError(f"model.backbone={recipe.model.backbone}: {error}") from error
    model.compile(
        recipe.optimizer.build(),
        loss={"classes": detection.ClassLoss(), "boxes": detection.BoxLoss()},
        steps_per_execution=recipe.steps_per_execution,
    )
    return model


def create_state(model, classes):
    """As `recipes.classification.create_state`."""
    model.optimizer.build(model.trainable_variables)
    anchors = len(detection.ssdlite_anchors())
    targets = {"classes": np.zeros((1, anchors), "int32"), "boxes": np.zeros((1, anchors, 5), "float32")}
    outputs = {
        "classes": np.zeros((1, anchors, classes + 1), "float32"),
        "boxes": np.zeros((1, anchors, 4), "float32"),
    }
    model.compute_loss(None, targets, outputs)
    model.reset_metrics()


def evaluate(model, split, recipe):
    """Loss and VOC2007's mean average precision of a split's pictures."""
    losses, found = [], []
    for targets, outputs, detections in find(model, split, recipe):
        losses.append(float(model.compute_loss(None, targets, outputs)))
        found += detections
    model.reset_metrics()
    eleven_point, _ = report.metrics_of(split, found, classes_of(model))
    # The loss of an object's anchor, of every batch; batches weigh the same, as in training.
    return {"loss": float(np.mean(losses)), METRIC: eleven_point.mean()}


def find(model, split, recipe):
    """Yields, for every batch of a split, the targets, the model's outputs and the detections by picture."""
    anchors = detection.ssdlite_anchors()
    suppress = tf.function(lambda outputs: detection.detect(outputs, anchors))
    for images, targets in detection_data.evaluation_batches(split, recipe.data, recipe.batch_size):
        outputs = model.predict_on_batch(images)
        found = keras.tree.map_structure(lambda tensor: tensor.numpy(), suppress(outputs))
        yield targets, outputs, by_picture(found)


def by_picture(found):
    """What `sb_keras.detection.detect` found, as a list with a dictionary a picture, without the padding."""
    keys = ("boxes_yxyx", "classes", "scores")
    return [{key: found[key][row][:count] for key in keys} for row, count in enumerate(found["count"])]


def class_table(model, dataset, recipe, progress=False, plot=None, sheet=None):
    """How each class does on the test pictures: the head of a table, its rows, and a line that sums them up.

    Args:
        model: The detector.
        dataset: The pictures.
        recipe: The recipe.
        progress: Whether to count the pictures on standard error.
        plot: A PNG file to write with the classes' precision–recall curves; None for none.
        sheet: One with the first test pictures and what is found on them.
    """
    test, found = dataset.test, []
    for _, _, detections in find(model, test, recipe):
        found += detections
        if progress:
            end = "\n" if len(found) == len(test) else ""
            print(f"\r{len(found)} of {len(test)} pictures", end=end, file=sys.stderr, flush=True)
    metrics = eleven_point, area = report.metrics_of(test, found, len(dataset.classes))
    coco = coco_average_precision(test, found)
    summary = (
        f"test mean average precision {eleven_point.mean():.4f} (11-point), {area.mean():.4f} (area); "
        f"COCO {coco[0]:.4f}, at IoU 0.5 {coco[1]:.4f}, at 0.75 {coco[2]:.4f}"
    )
    title = f"{recipe.name}: mean average precision {100 * eleven_point.mean():.1f} %"
    if plot:
        report.plot_precision_recall(dataset.classes, eleven_point, title, plot)
    if sheet:
        first = test.select(slice(report.PICTURES))
        ((images, _),) = detection_data.evaluation_batches(first, recipe.data, report.PICTURES)
        pixels = to_pixels(images.numpy(), recipe.data.mean, recipe.data.std)
        report.detection_sheet(first, pixels, found, dataset.classes, title, sheet)
    return report.HEAD, report.class_rows(dataset.classes, metrics), summary


def draw_target(axes, targets, classes):
    """Draws the objects of a picture, and the anchors that are to find them."""
    anchors = detection.ssdlite_anchors()
    objects = targets["classes"] > 0
    labels = targets["classes"][objects] - 1
    boxes_yxyx = keras.ops.convert_to_numpy(detection.decode(targets["boxes"][..., :4], anchors))[objects]
    for center, label in zip(anchors[objects], labels, strict=True):
        corners = (*(center[:2] - center[2:] / 2), *(center[:2] + center[2:] / 2))
        draw_box(axes, corners, label, linestyle=":", linewidth=0.7)
    # Several anchors have the same object; what is decoded differs in the last digits.
    for *box, label in np.unique(np.column_stack([boxes_yxyx.round(3), labels]), axis=0):
        draw_box(axes, box, int(label), classes[int(label)], linewidth=2)
