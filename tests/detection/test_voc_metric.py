"""Tests of average precision: by hand, and against a program written after the challenge's MATLAB code."""

import numpy as np
import pytest

from sb_keras.detection import VocAveragePrecision


def reference(images, label, method, least=0.5):
    """VOCevaldet.m, translated: all detections in one list, and flags on the objects."""
    detections = [
        (score, image, box)
        for image, (_, _, _, boxes, labels, scores) in enumerate(images)
        for box, found, score in zip(boxes, labels, scores, strict=True)
        if found == label
    ]
    objects = [
        [
            {"box": box, "difficult": hard, "found": False}
            for box, own, hard in zip(boxes, labels, difficult, strict=True)
            if own == label
        ]
        for boxes, labels, difficult, *_ in images
    ]
    positives = sum(not each["difficult"] for image in objects for each in image)
    if not positives:
        return np.nan
    right, wrong = [], []
    for _, image, box in sorted(detections, key=lambda each: -each[0]):
        best, overlap = None, -np.inf
        for each in objects[image]:
            other = each["box"]
            height = min(box[2], other[2]) - max(box[0], other[0])
            width = min(box[3], other[3]) - max(box[1], other[1])
            if height > 0 and width > 0:
                union = (
                    (box[2] - box[0]) * (box[3] - box[1])
                    + (other[2] - other[0]) * (other[3] - other[1])
                    - height * width
                )
                if height * width / union > overlap:
                    best, overlap = each, height * width / union
        is_right = is_wrong = 0
        if overlap >= least:
            if not best["difficult"]:
                is_right, is_wrong = int(not best["found"]), int(best["found"])
                best["found"] = True
        else:
            is_wrong = 1
        right.append(is_right)
        wrong.append(is_wrong)
    tp, fp = np.cumsum(right), np.cumsum(wrong)
    recall, precision = tp / positives, tp / np.maximum(tp + fp, 1e-12)
    if method == "11-point":
        total = 0.0
        for tenth in range(11):
            at_least = precision[recall >= tenth / 10]
            total += (at_least.max() if len(at_least) else 0.0) / 11
        return total
    recall, precision = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.where(recall[1:] != recall[:-1])[0] + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def random_images(rng, images=40, classes=4):
    """Objects, some difficult, and detections near them, twice, or elsewhere, with scores that are ties."""
    for _ in range(images):
        count = rng.integers(0, 5)
        low = rng.uniform(0, 0.6, size=(count, 2))
        boxes = np.hstack([low, low + rng.uniform(0.1, 0.4, size=(count, 2))])
        labels, difficult = rng.integers(0, classes, count), rng.uniform(size=count) < 0.25
        found = np.concatenate(
            [boxes + rng.normal(0, 0.03, boxes.shape), boxes, rng.uniform(0, 1, size=(2, 4))]
        )
        found = np.hstack([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])])
        found_labels = np.concatenate([labels, rng.permutation(labels), rng.integers(0, classes, 2)])
        scores = np.round(rng.uniform(size=len(found)), 1)
        yield boxes, labels, difficult, found, found_labels, scores


@pytest.mark.parametrize("method", ["11-point", "area"])
@pytest.mark.parametrize("seed", range(5))
def test_against_the_challenge(method, seed):
    rng = np.random.default_rng(seed)
    images = list(random_images(rng))
    metric = VocAveragePrecision(5, method)  # the fifth class has no objects
    for image in images:
        metric.update(*image)
    expected = [reference(images, label, method) for label in range(5)]
    np.testing.assert_allclose(metric.result(), expected, atol=1e-12)
    assert np.isnan(metric.result()[4])
    assert metric.mean() == pytest.approx(np.nanmean(expected))


def test_by_hand():
    """Two of three objects found, at ranks 1 and 3."""
    box, other, third, nowhere = (0, 0, 0.4, 0.4), (0.5, 0.5, 1, 1), (0, 0.6, 0.2, 1), (0.6, 0, 0.8, 0.2)
    image = ((box, other, third), (0, 0, 0), (0, 0, 0), (box, nowhere, other), (0, 0, 0), (0.9, 0.8, 0.7))
    points = VocAveragePrecision(1)
    points.update(*image)
    # Recall 1/3 with precision 1 covers 0 to 0.3; recall 2/3 with precision 2/3 covers 0.4 to 0.6.
    assert points.mean() == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    area = VocAveragePrecision(1, "area")
    area.update(*image)
    assert area.mean() == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_padding_is_no_object():
    metric = VocAveragePrecision(1)
    metric.update([(0, 0, 1, 1), (0, 0, 0, 0)], [0, -1], [False, False], [(0, 0, 1, 1)], [0], [0.5])
    assert metric.objects.tolist() == [1]
    assert metric.mean() == 1


def test_difficult_objects():
    metric = VocAveragePrecision(1)
    # The better detection is of a difficult object, twice, which counts neither way.
    metric.update(
        [(0, 0, 0.4, 0.4), (0.5, 0.5, 1, 1)],
        [0, 0],
        [True, False],
        [(0, 0, 0.4, 0.4), (0, 0, 0.4, 0.4), (0.5, 0.5, 1, 1)],
        [0, 0, 0],
        [0.9, 0.8, 0.7],
    )
    assert metric.mean() == 1


def test_no_images():
    assert np.isnan(VocAveragePrecision(3).mean())
    with pytest.raises(ValueError, match="method"):
        VocAveragePrecision(3, "12-point")


def test_recalls_are_exact_tenths():
    """Three of ten found: recall 0.3 reaches the fourth of eleven points, which np.arange puts above it."""
    boxes = [(0, left / 10, 0.1, (left + 0.9) / 10) for left in range(10)]
    metric = VocAveragePrecision(1)
    metric.update(boxes, [0] * 10, [False] * 10, boxes[:3], [0] * 3, [0.9, 0.8, 0.7])
    assert metric.mean() == pytest.approx(4 / 11)
    assert sum(point <= 0.3 for point in np.arange(0, 1.1, 0.1)) == 3


BOX = (0.0, 0.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (([BOX], [3], [False], [], [], []), r"`labels` must be integers from -1 to 2. Received: \[3\]"),
        (([BOX], [0.5], [False], [], [], []), "`labels` must be integers"),
        (([], [], [], [BOX], [-1], [0.5]), "`found_labels` must be integers from 0 to 2"),
        (([], [], [], [BOX], [3], [0.5]), "`found_labels` must be integers from 0 to 2"),
        (([], [], [], [BOX], [0], [np.nan]), r"`scores` must be numbers. Received: \[nan\]"),
        (([BOX], [0, 1], [False], [], [], []), "Received: 1 boxes_yxyx, 2 labels, 1 difficult"),
        (([], [], [], [BOX], [0], []), "Received: 1 found_yxyx, 1 found_labels, 0 scores"),
    ],
)
def test_wrong_images(image, message):
    metric = VocAveragePrecision(3)
    with pytest.raises(ValueError, match=message):
        metric.update(*image)
    assert not metric.objects.any()


@pytest.mark.parametrize("iou", [0, -0.5, 1.5, float("nan")])
def test_wrong_iou(iou):
    with pytest.raises(ValueError, match=rf"`iou` must be a number in \(0, 1\]. Received: iou={iou}"):
        VocAveragePrecision(3, iou=iou)
