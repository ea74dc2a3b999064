"""COCO's average precision of detections, by pycocotools."""

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def coco_average_precision(split, found):
    """Mean average precision over IoU 0.5, 0.55, … 0.95 (Lin et al., COCO), and those at 0.5 and 0.75.

    Difficult objects are what COCO calls crowds: they need not be found, and finding one counts neither way.

    Args:
        split: A `recipes.data.objects.Objects`.
        found: For every picture `boxes_yxyx`, `classes` and `scores` of its detections.

    Returns:
        The three, as fractions.
    """
    truth, detections = [], []
    for image, count in enumerate((split.labels >= 0).sum(axis=-1)):
        for box, label, crowd in zip(
            split.boxes_yxyx[image, :count],
            split.labels[image, :count],
            split.difficult[image, :count],
            strict=True,
        ):
            row = _row(image, box, label)
            truth.append(
                {**row, "id": len(truth) + 1, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": int(crowd)}
            )
        each = found[image]
        for box, label, score in zip(each["boxes_yxyx"], each["classes"], each["scores"], strict=True):
            detections.append({**_row(image, box, label), "score": float(score)})
    if not detections:
        return 0.0, 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how it gets on
        reference: Any = COCO()  # its annotations know files only
        reference.dataset = {
            "images": [{"id": image} for image in range(len(split))],
            "annotations": truth,
            "categories": [{"id": label} for label in sorted({row["category_id"] for row in truth})],
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return tuple(float(value) for value in evaluation.stats[:3])


def _row(image, box_yxyx, label):
    ymin, xmin, ymax, xmax = map(float, box_yxyx)
    return {"image_id": image, "category_id": int(label), "bbox": [xmin, ymin, xmax - xmin, ymax - ymin]}
