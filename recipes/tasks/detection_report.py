"""What a detector finds on the test pictures: a class table, precision–recall curves, a sheet of pictures."""

import keras
import numpy as np

from recipes.plots import draw_box, draw_sheet, new_figure, save
from recipes.tasks.coco import coco_average_precision as coco_average_precision
from sb_keras import detection

HEAD = ("class", "objects", "AP 11-point", "AP area")
SHOWN_SCORE = 0.4  # pytorch-ssd's, for showing
PICTURES = 16


def class_rows(classes, metrics):
    """For every class its name, its number of objects, and both average precisions (NaN without objects)."""
    eleven, area = (metric.result().tolist() for metric in metrics)
    return list(zip(classes, metrics[0].objects.tolist(), eleven, area, strict=True))


def plot_precision_recall(classes, metric, title, path):
    """Draws a precision–recall curve for every class with objects.

    Args:
        classes: Names of the classes.
        metric: A filled `VocAveragePrecision`.
        title: Title of the picture.
        path: The PNG file to write.
    """
    present = [label for label in range(len(classes)) if metric.objects[label]]
    columns = min(5, len(present))
    rows = -(-len(present) // columns)
    size = (2.4 * columns, 2.3 * rows + 0.4)
    figure, grid = new_figure(rows, columns, size, title, sharex=True, sharey=True)
    for axes in grid.flat[len(present) :]:
        axes.axis("off")
    average_precision = metric.result()
    for axes, label in zip(grid.flat, present, strict=False):
        precision, recall = metric.curve(label)
        axes.plot(recall, precision, color="tab:blue", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_title(f"{classes[label]}: {100 * average_precision[label]:.1f} %", fontsize=9)
    figure.supxlabel("recall")
    figure.supylabel("precision")
    save(figure, path)


def detection_sheet(split, pixels, found, classes, title, path):
    """Draws pictures with their objects, in white dashes, and what was found on them with some certainty."""

    def draw(axes, number):
        for box, label in zip(split.boxes_yxyx[number], split.labels[number], strict=True):
            if label >= 0:
                draw_box(axes, box, linestyle="--", linewidth=1)
        each = found[number]
        for row in np.flatnonzero(each["scores"] >= SHOWN_SCORE):
            label = int(each["classes"][row])
            draw_box(axes, each["boxes_yxyx"][row], label, f"{classes[label]} {each['scores'][row]:.0%}")

    draw_sheet(pixels, draw, title, path)


def draw_objects(axes, target, image_size, classes):
    """Draws the objects that a picture's targets stand for, and in dots the anchors that are to find them."""
    anchors = detection.ssdlite_anchors((image_size, image_size, 3))
    objects = target["classes"] > 0
    labels = target["classes"][objects] - 1
    boxes_yxyx = keras.ops.convert_to_numpy(detection.decode(target["boxes"][..., :4], anchors))[objects]
    for center, label in zip(anchors[objects], labels, strict=True):
        corners = (*(center[:2] - center[2:] / 2), *(center[:2] + center[2:] / 2))
        draw_box(axes, corners, label, linestyle=":", linewidth=0.7)
    # Several anchors have the same object; what is decoded differs in the last digits.
    for *box, label in np.unique(np.column_stack([boxes_yxyx.round(3), labels]), axis=0):
        draw_box(axes, box, int(label), classes[int(label)], linewidth=2)
