"""Tests of the anchors."""

import itertools
import math

import numpy as np
import pytest

from sb_keras.detection import ssdlite_anchors
from sb_keras.detection.anchors import LEVELS


def test_number_and_range():
    anchors = ssdlite_anchors()
    assert anchors.shape == (3000, 4)
    assert anchors.dtype == np.float32
    assert anchors.min() > 0
    assert anchors.max() <= 1


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        # By hand: the first cell's center is half a cell of 16 pixels from the corner; the small square has
        # 60 pixels, the next one the geometric mean of 60 and 105, and the ratios are of 60² pixels.
        (0, (8, 8, 60, 60)),
        (1, (8, 8, math.sqrt(60 * 105), math.sqrt(60 * 105))),
        (2, (8, 8, 60 / math.sqrt(2), 60 * math.sqrt(2))),
        (3, (8, 8, 60 * math.sqrt(2), 60 / math.sqrt(2))),
        (4, (8, 8, 60 / math.sqrt(3), 60 * math.sqrt(3))),
        (5, (8, 8, 60 * math.sqrt(3), 60 / math.sqrt(3))),
        (6, (8, 24, 60, 60)),  # x runs first
        (6 * 19, (24, 8, 60, 60)),
        (6 * 361, (16, 16, 105, 105)),
        (6 * 461, (32, 32, 150, 150)),
        (2994, (150, 150, 285, 285)),
        (2995, (150, 150, 300, 300)),  # √(285 · 330) is more than the image
    ],
)
def test_by_hand(index, expected):
    np.testing.assert_allclose(300 * ssdlite_anchors()[index], expected, rtol=1e-6)


def test_levels_cover_the_image():
    for level, after in itertools.pairwise(LEVELS):
        assert level.largest == after.smallest
    assert sum(6 * level.cells**2 for level in LEVELS) == 3000
