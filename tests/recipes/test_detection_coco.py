"""Tests of COCO's average precision on cases that can be worked out by hand."""

import numpy as np
import pytest

from recipes.data.objects import Objects
from recipes.tasks.coco import coco_average_precision

BOX = (0.1, 0.1, 0.5, 0.5)


def objects_of(boxes, labels, difficult):
    n = len(boxes)
    return Objects(
        np.array(["x"] * n),
        np.array([b""] * n, object),
        np.array(boxes),
        np.array(labels),
        np.array(difficult),
    )


def found(boxes, classes, scores):
    return {"boxes_yxyx": np.array(boxes), "classes": np.array(classes), "scores": np.array(scores)}


def test_what_is_found_exactly():
    split = objects_of([[BOX], [BOX]], [[3], [4]], [[False], [False]])
    result = coco_average_precision(split, [found([BOX], [3], [0.9]), found([BOX], [4], [0.3])])
    assert result == pytest.approx((1, 1, 1))


def test_a_box_that_is_a_little_off():
    # Three quarters as wide: an IoU of 0.75, right up to the sixth of ten thresholds.
    split = objects_of([[BOX]], [[3]], [[False]])
    result = coco_average_precision(split, [found([(0.1, 0.1, 0.5, 0.401)], [3], [0.9])])
    assert result == pytest.approx((0.6, 1, 1))


def test_a_difficult_object_counts_neither_way():
    split = objects_of([[BOX, (0.6, 0.6, 0.9, 0.9)]], [[3, 3]], [[False, True]])
    result = coco_average_precision(split, [found([(0.6, 0.6, 0.9, 0.9), BOX], [3, 3], [0.9, 0.8])])
    assert result == pytest.approx((1, 1, 1))


def test_nothing_found():
    split = objects_of([[BOX]], [[3]], [[False]])
    assert coco_average_precision(split, [found(np.zeros((0, 4)), [], [])]) == (0, 0, 0)
