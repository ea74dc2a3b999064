"""Tests of the anchors."""

import hashlib
import math

import numpy as np
import pytest

from sb_keras.detection import ssdlite_anchors

SHAPES = [(160, 160), (320, 192), (192, 608), (512, 512), (640, 640), (352, 224)]


@pytest.mark.parametrize(("height", "width"), [(300, 300), *SHAPES])
def test_number_and_range(height, width):
    """Convolutions with padding "same" halve a side five times up to the head, and four times behind it."""
    cells = 0
    for halvings in range(4, 10):
        rows, columns = height, width
        for _ in range(halvings):
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        cells += rows * columns
    anchors = ssdlite_anchors((height, width, 3))
    assert anchors.shape == (6 * cells, 4)
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


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        # By hand, of 320×160 pixels: sides are the same shares of 160 as the paper's of 300, the maps have
        # 20×10, 10×5, 5×3, 3×2, 2×1 and 1×1 cells.
        (0, (8, 8, 32, 32)),
        (3, (8, 8, 32 * math.sqrt(2), 32 / math.sqrt(2))),
        (6, (8, 24, 32, 32)),
        (6 * 10, (24, 8, 32, 32)),
        (6 * 200, (16, 16, 56, 56)),
        (6 * 250, (32, 160 / 6, 80, 80)),
        (6 * 265, (320 / 6, 40, 104, 104)),
        (6 * 271, (80, 80, 128, 128)),
        (6 * 272, (240, 80, 128, 128)),
        (6 * 273, (160, 80, 152, 152)),
        (6 * 273 + 3, (160, 80, 152 * math.sqrt(2), 152 / math.sqrt(2))),
        (6 * 273 + 5, (160, 80, 152 * math.sqrt(3), 152 / math.sqrt(3))),
    ],
)
def test_of_another_size_by_hand(index, expected):
    anchors = ssdlite_anchors((320, 160, 3)) * [320, 160, 320, 160]
    assert len(anchors) == 6 * 274
    np.testing.assert_allclose(anchors[index], expected, rtol=1e-6)


def reference(height, width, shrinkages=None):
    """All anchors by arrays: (y, x, height, width) in pixels, then relative to the picture and clipped."""
    levels = []
    for number in range(6):
        rows, columns = (math.ceil(side / 2 ** (4 + number)) for side in (height, width))
        dy, dx = (height / rows, width / columns) if shrinkages is None else (shrinkages[number],) * 2
        y, x = np.meshgrid((np.arange(rows) + 0.5) * dy, (np.arange(columns) + 0.5) * dx, indexing="ij")
        side, following = ((60 + 45 * step) / 300 * min(height, width) for step in (number, number + 1))
        roots = np.sqrt([1, 1, 1 / 2, 2, 1 / 3, 3])  # height / side
        high, wide = side * roots, side / roots
        high[1] = wide[1] = np.sqrt(side * following)
        shape = (rows, columns, 6)
        columns_of = (y[..., None], x[..., None], high, wide)
        levels.append(np.stack([np.broadcast_to(each, shape) for each in columns_of], -1).reshape(-1, 4))
    return np.clip(np.concatenate(levels) / [height, width, height, width], 0, 1)


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_against_numpy(height, width):
    # float32's digits
    np.testing.assert_allclose(ssdlite_anchors((height, width, 3)), reference(height, width), rtol=2e-7)


def test_the_papers_are_as_they_always_were():
    """Networks and files that were trained with them have no others: not a bit may change."""
    anchors = ssdlite_anchors()
    np.testing.assert_array_equal(anchors, ssdlite_anchors((300, 300, 3)))
    expected = reference(300, 300, shrinkages=(16, 32, 64, 100, 150, 300))
    np.testing.assert_allclose(anchors, expected, rtol=2e-7)
    digest = "604008b0aa68e42a4beed5ef98b1b9c4d89ea460cd269b7ad41f93de75b59ef7"  # when there were no others
    assert hashlib.sha256(anchors.astype("<f4").tobytes()).hexdigest() == digest


def test_ratios_are_those_of_pixels():
    anchors = ssdlite_anchors((640, 160, 3)) * [640, 160, 640, 160]
    high, wide = anchors[:240, 2:].reshape(-1, 6, 2).transpose(2, 0, 1)  # of 32 pixels: none is clipped
    np.testing.assert_allclose(high / wide, np.tile([1, 1, 1 / 2, 2, 1 / 3, 3], (40, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    "input_shape",
    [(300, 320, 3), (128, 160, 3), (160, 672, 3), (170, 170, 3), (None, None, 3), (160, 160), 300, "abc"],
)
def test_other_sizes_are_refused(input_shape):
    expected = r"with 300×300 pixels or each side a multiple of 32 from 160 to 640\. Received: input_shape="
    with pytest.raises(ValueError, match=expected):
        ssdlite_anchors(input_shape)
