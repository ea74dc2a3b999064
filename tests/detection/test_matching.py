"""Tests of the matching, against one in NumPy that goes pair by pair."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sb_keras.detection import decode, match, ssdlite_anchors

ANCHORS = ssdlite_anchors()
CORNERS = np.hstack([ANCHORS[:, :2] - ANCHORS[:, 2:] / 2, ANCHORS[:, :2] + ANCHORS[:, 2:] / 2])


def iou(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)


def matched(boxes, labels):
    """The classes by the words of the paper, and the object of each anchor."""
    overlap = np.array([[iou(box, anchor) for anchor in CORNERS] for box in boxes]).reshape(len(boxes), 3000)
    classes, objects = np.zeros(3000, int), np.full(3000, -1)
    for anchor in range(3000):
        if len(boxes) and overlap[:, anchor].max() >= 0.5:
            objects[anchor] = overlap[:, anchor].argmax()
    left = overlap.copy()
    for _ in boxes:
        row, column = np.unravel_index(left.argmax(), left.shape)
        objects[column] = row
        left[row], left[:, column] = -1, -1
    classes[objects >= 0] = 1 + np.array(labels, int)[objects[objects >= 0]]
    return classes, objects


CASES = {
    "none": [],
    "one": [(0.2, 0.3, 0.6, 0.7)],
    "several": [(0.2, 0.3, 0.6, 0.7), (0.25, 0.3, 0.7, 0.75), (0.0, 0.0, 1.0, 1.0)],
    "on the border": [(0.0, 0.0, 0.3, 0.2), (0.8, 0.9, 1.0, 1.0)],
    "tiny": [(0.5, 0.5, 0.503, 0.503)],  # overlaps no anchor by half
    "more than a cell has anchors": [(0.5, 0.5, 0.51 + i / 900, 0.51 + i / 800) for i in range(9)],
    "the same twice": [(0.2, 0.3, 0.6, 0.7), (0.2, 0.3, 0.6, 0.7)],
}


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name, padding):
    boxes = np.array(CASES[name], "float32").reshape(-1, 4)
    labels = np.arange(len(boxes)) % 20
    classes, objects = matched(boxes, labels)
    padded = np.vstack([boxes, np.zeros((padding, 4), "float32")])
    targets = match(padded, [*labels, *[-1] * padding], ANCHORS)
    np.testing.assert_array_equal(ops.convert_to_numpy(targets["classes"]), classes)
    assert {-1, *range(len(boxes))} == set(
        objects
    )  # every object has an anchor, and not all anchors have one
    found = ops.convert_to_numpy(targets["boxes"])
    np.testing.assert_array_equal(found[:, 4], objects >= 0)
    decoded = ops.convert_to_numpy(decode(found[:, :4], ANCHORS))
    np.testing.assert_allclose(decoded[objects >= 0], boxes[objects[objects >= 0]], atol=3e-6)
    np.testing.assert_array_equal(found[objects < 0], 0)


def test_difficult_objects_are_background():
    boxes = np.array([(0.2, 0.3, 0.6, 0.7), (0.5, 0.1, 0.9, 0.4)], "float32")
    targets = match(boxes, [4, 7], ANCHORS, difficult=[True, False])
    alone = match(boxes[1:], [7], ANCHORS)
    for key, values in alone.items():
        np.testing.assert_array_equal(ops.convert_to_numpy(targets[key]), ops.convert_to_numpy(values))


def test_in_a_data_pipeline():
    boxes = np.zeros((3, 5, 4), "float32")
    boxes[0, 0], boxes[2, 0], boxes[2, 1] = (0.2, 0.3, 0.6, 0.7), (0, 0, 0.3, 0.2), (0.1, 0.1, 0.9, 0.9)
    labels = np.array([[3, -1, -1, -1, -1], [-1] * 5, [0, 19, -1, -1, -1]])
    data = tf.data.Dataset.from_tensor_slices((boxes, labels)).map(lambda b, c: match(b, c, ANCHORS)).batch(3)
    (targets,) = data.as_numpy_iterator()
    for image in range(3):
        expected, _ = matched(boxes[image][labels[image] >= 0], labels[image][labels[image] >= 0])
        np.testing.assert_array_equal(targets["classes"][image], expected)
