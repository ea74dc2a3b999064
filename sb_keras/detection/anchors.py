"""The anchors (priors) of SSDLite on images of 300×300 pixels."""

import dataclasses
import math

import numpy as np

IMAGE_SIZE = 300
RATIOS = (2, 3)
ANCHORS_PER_CELL = 2 + 2 * len(RATIOS)


@dataclasses.dataclass(frozen=True)
class Level:
    """The anchors of one feature map.

    Attributes:
        cells: Height and width of the feature map.
        shrinkage: Pixels of the image from one cell to the next.
        smallest: Side of the small square, in pixels.
        largest: Side of the next level's small square.
    """

    cells: int
    shrinkage: int
    smallest: int
    largest: int


# As in pytorch-ssd (https://github.com/qfgaohao/pytorch-ssd, mobilenetv1_ssd_config.py), the paper's base.
LEVELS = (
    Level(cells=19, shrinkage=16, smallest=60, largest=105),
    Level(cells=10, shrinkage=32, smallest=105, largest=150),
    Level(cells=5, shrinkage=64, smallest=150, largest=195),
    Level(cells=3, shrinkage=100, smallest=195, largest=240),
    Level(cells=2, shrinkage=150, smallest=240, largest=285),
    Level(cells=1, shrinkage=300, smallest=285, largest=330),
)


def ssdlite_anchors():
    """The 3,000 anchors of `sb_keras.SSDLite`, in the order of its outputs.

    A cell has six: the small square of side s, one of side √(s · next level's s), and for the ratios 2
    and 3 a wide and a tall rectangle of the small square's area. They are clipped to [0, 1], center and
    size, as in pytorch-ssd.

    Returns:
        A float32 array (3000, 4): center y, center x, height and width, relative to the image.

    Example:

    ```python
    anchors = sb_keras.detection.ssdlite_anchors()
    ```
    """
    anchors = []
    for level in LEVELS:
        centers = (np.arange(level.cells) + 0.5) * level.shrinkage / IMAGE_SIZE
        side = level.smallest / IMAGE_SIZE
        larger = math.sqrt(level.smallest * level.largest) / IMAGE_SIZE
        sizes = [(side, side), (larger, larger)]
        for ratio in map(math.sqrt, RATIOS):
            sizes += [(side / ratio, side * ratio), (side * ratio, side / ratio)]
        anchors += [(y, x, *size) for y in centers for x in centers for size in sizes]
    return np.clip(np.array(anchors, "float32"), 0, 1)
