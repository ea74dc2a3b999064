"""Average precision as the PASCAL VOC challenges define it."""

import numpy as np

from sb_keras.arguments import check_choice, check_positive_integer

METHODS = ("11-point", "area")


class VocAveragePrecision:
    """Average precision of every class (Everingham et al., The PASCAL VOC Challenge, section 4.2).

    The detections of a class, the best first, are correct if they overlap an object of the class by an
    intersection over union of at least 0.5 that no better one has found before. Overlapping a difficult
    object counts neither way, and difficult objects need not be found. With the precision p(r) at recall r,

    - `"11-point"`: AP = 1/11 Σ max over r' ≥ r of p(r'), r in 0, 0.1, …, 1 (VOC2007, and the paper);
    - `"area"`: AP = the area under max over r' ≥ r of p(r') (VOC2010 on).

    Boxes are areas, not pixels: the challenge's own program adds a pixel to both sides. The eleven recalls
    are the exact tenths. Programs that compare with `np.arange(0, 1.1, 0.1)`, whose fourth number is above
    0.3, give 3/11 instead of 4/11 where three of ten objects are found and nothing else.

    Args:
        classes: Number of classes.
        method: One of the two.
        iou: Least intersection over union, in (0, 1].

    Raises:
        ValueError: If an argument is out of range; from `update`, if arrays do not belong together, a label
            is not a class, or a score is NaN.

    Example:

    ```python
    metric = sb_keras.detection.VocAveragePrecision(classes=20)
    metric.update([[0.1, 0.1, 0.6, 0.9]], [7], [False], [[0.1, 0.1, 0.6, 0.8]], [7], [0.9])
    metric.mean()
    ```
    """

    def __init__(self, classes, method="11-point", iou=0.5):
        self.classes = check_positive_integer("classes", classes)
        self.method = check_choice("method", method, METHODS)
        if not 0 < iou <= 1:
            raise ValueError(f"`iou` must be a number in (0, 1]. Received: iou={iou!r}")
        self.iou = iou
        self.reset()

    def reset(self):
        """Forgets all images."""
        self.objects = np.zeros(self.classes, int)  # without the difficult ones
        self._scores = [[] for _ in range(self.classes)]
        self._correct = [[] for _ in range(self.classes)]

    def update(self, boxes_yxyx, labels, difficult, found_yxyx, found_labels, scores):
        """Adds an image.

        Args:
            boxes_yxyx: The objects' boxes, (objects, 4).
            labels: Their classes from 0, (objects,); −1 is no object.
            difficult: Whether they are difficult, (objects,).
            found_yxyx: The detections' boxes, (detections, 4).
            found_labels: Their classes, (detections,).
            scores: Their scores, (detections,).
        """
        labels, difficult, found_labels = map(np.asarray, (labels, difficult, found_labels))
        boxes_yxyx = np.asarray(boxes_yxyx, "float64").reshape(-1, 4)
        found_yxyx = np.asarray(found_yxyx, "float64").reshape(-1, 4)
        scores = np.asarray(scores, "float64")
        _check_sizes(boxes_yxyx=boxes_yxyx, labels=labels, difficult=difficult)
        _check_sizes(found_yxyx=found_yxyx, found_labels=found_labels, scores=scores)
        for name, values, least in (("labels", labels, -1), ("found_labels", found_labels, 0)):
            if np.any((values < least) | (values >= self.classes) | (values != np.floor(values))):
                raise ValueError(
                    f"`{name}` must be integers from {least} to {self.classes - 1}. Received: {values}"
                )
        if np.isnan(scores).any():
            raise ValueError(f"`scores` must be numbers. Received: {scores}")
        for label in range(self.classes):
            own, mine = labels == label, found_labels == label
            self.objects[label] += np.sum(own & ~difficult.astype(bool))
            order = np.argsort(-scores[mine], kind="stable")
            overlap = intersection_over_union(found_yxyx[mine][order], boxes_yxyx[own])
            self._scores[label] += scores[mine][order].tolist()
            self._correct[label] += self._judge(overlap, difficult[own].astype(bool))

    def _judge(self, overlap, difficult):
        """1 for right, 0 for wrong and NaN for neither, for detections with the best first."""
        taken, verdicts = np.zeros(len(difficult), bool), []
        for row in overlap:
            best = int(np.argmax(row)) if len(row) else -1
            if best < 0 or row[best] < self.iou:
                verdicts.append(0.0)
            elif difficult[best]:
                verdicts.append(np.nan)
            else:
                verdicts.append(float(not taken[best]))
                taken[best] = True
        return verdicts

    def curve(self, label):
        """Precision and recall of a class after each of its detections, the best first."""
        scores, correct = np.array(self._scores[label]), np.array(self._correct[label])
        counted = ~np.isnan(correct)
        correct = correct[counted][np.argsort(-scores[counted], kind="stable")]
        right = np.cumsum(correct)
        return right / np.arange(1, len(right) + 1), right / max(self.objects[label], 1)

    def result(self):
        """Average precision of every class, (classes,); NaN for classes without objects."""
        return np.array(
            [
                average_precision(*self.curve(label), self.method) if self.objects[label] else np.nan
                for label in range(self.classes)
            ]
        )

    def mean(self):
        """Mean average precision of the classes with objects; NaN if there are none."""
        present = self.objects > 0
        return float(np.mean(self.result()[present])) if present.any() else float("nan")


def _check_sizes(**arrays):
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        received = ", ".join(f"{size} {name}" for name, size in sizes.items())
        raise ValueError(
            f"`{'`, `'.join(sizes)}` must have a row each for the same things. Received: {received}"
        )


def intersection_over_union(first_yxyx, second_yxyx):
    """Of every box of (n, 4) with every one of (m, 4): (n, m)."""
    first, second = first_yxyx[:, None], second_yxyx[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (first, second)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)


def average_precision(precision, recall, method):
    """Average precision of a curve, as `VocAveragePrecision` defines it."""
    if method == "11-point":
        # The tenths as they are written: 0.1 + 0.1 + 0.1 is more than 0.3.
        best = [np.max(precision, initial=0.0, where=recall >= tenth / 10) for tenth in range(11)]
        return float(np.mean(best))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
