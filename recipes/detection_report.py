"""What a detector finds on the test pictures: a class table, precision–recall curves, a sheet of pictures."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from recipes.drawing import draw_box, sheet
from sb_keras.detection import VocAveragePrecision

HEAD = ("class", "objects", "AP 11-point", "AP area")
SHOWN_SCORE = 0.4  # pytorch-ssd's, for showing
PICTURES = 16


def class_rows(classes, metrics):
    """For every class its name, its number of objects, and both average precisions (NaN without objects)."""
    eleven, area = (metric.result().tolist() for metric in metrics)
    return list(zip(classes, metrics[0].objects.tolist(), eleven, area, strict=True))


def metrics_of(split, found, classes):
    """VOC's two average precisions of detections, filled.

    Args:
        split: A `recipes.detection_data.Split`.
        found: For every picture `boxes_yxyx`, `classes` and `scores` of its detections.
        classes: Number of classes.
    """
    metrics = VocAveragePrecision(classes), VocAveragePrecision(classes, method="area")
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
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(2.4 * columns, 2.3 * rows + 0.4),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    figure.suptitle(title)
    for axes in grid.flat[len(present) :]:
        axes.axis("off")
    average_precision = metric.result()
    for axes, label in zip(grid.flat, present, strict=False):
        precision, recall = metric.curve(label)
        axes.plot(recall, precision, color="tab:blue", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_title(f"{classes[label]}: {100 * average_precision[label]:.1f} %", fontsize=9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("recall")
    figure.supylabel("precision")
    figure.savefig(path, dpi=120)
    plt.close(figure)


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

    sheet(pixels, draw, title, path)
