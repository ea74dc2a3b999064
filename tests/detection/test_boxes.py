"""Tests of the coding of boxes."""

import numpy as np
import pytest
from keras import ops

from sb_keras.detection import decode, encode, ssdlite_anchors


def random_boxes(rng, *shape):
    corners = rng.uniform(0, 1, size=(*shape, 2, 2))
    low, high = corners.min(axis=-2), corners.max(axis=-2) + 0.01
    return np.concatenate([low, high], axis=-1).astype("float32")


def test_against_the_formula():
    anchor = np.array([[0.4, 0.5, 0.2, 0.4]], "float32")  # center y, center x, height, width
    box = np.array([[0.3, 0.4, 0.7, 0.5]], "float32")  # center (0.5, 0.45), 0.4 high, 0.1 wide
    expected = [0.1 / 0.2 / 0.1, -0.05 / 0.4 / 0.1, np.log(2) / 0.2, np.log(1 / 4) / 0.2]
    np.testing.assert_allclose(ops.convert_to_numpy(encode(box, anchor))[0], expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3000,), (2, 3000)])
def test_there_and_back(shape, rng):
    anchors, boxes = ssdlite_anchors(), random_boxes(rng, *shape)
    decoded = ops.convert_to_numpy(decode(encode(boxes, anchors), anchors))
    # Offsets of up to 50 lose 3e-6 of them in float32, times 0.1 of an anchor of at most 1.
    np.testing.assert_allclose(decoded, boxes, atol=3e-6)


def test_no_offset_is_the_anchor():
    anchors = ssdlite_anchors()
    decoded = ops.convert_to_numpy(decode(np.zeros((3000, 4), "float32"), anchors))
    centers, sizes = anchors[:, :2], anchors[:, 2:]
    np.testing.assert_allclose(decoded, np.hstack([centers - sizes / 2, centers + sizes / 2]), atol=1e-6)
