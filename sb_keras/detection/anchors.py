"""The anchors (priors) of SSDLite."""

import dataclasses
import math

import numpy as np

PAPER_SIZE = 300  # pixels; the paper's pictures are square
SIZES = range(160, 641, 32)  # other heights and widths, each of them any of these
RATIOS = (2, 3)
ANCHORS_PER_CELL = 2 + 2 * len(RATIOS)


@dataclasses.dataclass(frozen=True)
class Level:
    """The anchors of one feature map.

    Attributes:
        stride: Pixels of the picture from one cell to the next, as the convolutions make it.
        shrinkage: What pytorch-ssd takes for it where the picture has 300×300 pixels.
        smallest: Side of the small square, in pixels of a picture of 300×300.
        largest: Side of the next level's small square.
    """

    stride: int
    shrinkage: int
    smallest: int
    largest: int

    def centers(self, size):
        """The centers of the cells along a side of `size` pixels, relative to it."""
        cells = -(-size // self.stride)  # padding "same" rounds up; a map of one cell stays one
        shrinkage = self.shrinkage if size == PAPER_SIZE else size / cells
        return (np.arange(cells) + 0.5) * shrinkage / size


# As in pytorch-ssd (https://github.com/qfgaohao/pytorch-ssd, mobilenetv1_ssd_config.py), the paper's base.
LEVELS = (
    Level(stride=16, shrinkage=16, smallest=60, largest=105),
    Level(stride=32, shrinkage=32, smallest=105, largest=150),
    Level(stride=64, shrinkage=64, smallest=150, largest=195),
    Level(stride=128, shrinkage=100, smallest=195, largest=240),
    Level(stride=256, shrinkage=150, smallest=240, largest=285),
    Level(stride=512, shrinkage=300, smallest=285, largest=330),
)


def ssdlite_anchors(input_shape=(PAPER_SIZE, PAPER_SIZE, 3)):
    """The anchors of an `sb_keras.SSDLite` of this input shape, in the order of its outputs.

    A cell has six: the small square of side s, one of side √(s · next level's s), and for the ratios 2
    and 3 a wide and a tall rectangle of the small square's area. They are clipped to [0, 1], center and
    size, as in pytorch-ssd.

    The paper's picture of 300×300 pixels has 3,000 anchors, s of 60, 105, 150, 195, 240 and 285 pixels, and
    cells 16, 32, 64, 100, 150 and 300 pixels apart. On other pictures

    - s is the same share of the shorter side, 0.2 to 0.95, so that squares are squares in pixels and the
      ratios true, as in TensorFlow's Object Detection API (its `multiple_grid_anchor_generator.py`);
    - a map has ⌈side / stride⌉ cells along a side, with strides of 16, 32, 64, 128, 256 and 512 pixels, and
      the cells share the side evenly. A map of one cell is followed by one of one cell.

    Args:
        input_shape: `(height, width, channels)` in pixels: 300×300, or each side a multiple of 32 from 160 to
            640. That of a model is `model.input_shape[1:]`.

    Returns:
        A float32 array (anchors, 4): center y, center x, height and width, relative to the picture's.

    Raises:
        ValueError: If the height or width is another one.

    Example:

    ```python
    anchors = sb_keras.detection.ssdlite_anchors((320, 512, 3))
    ```
    """
    height, width = height_and_width(input_shape)
    scale = min(height, width) / PAPER_SIZE
    anchors = []
    for level in LEVELS:
        high, wide = level.smallest * scale / height, level.smallest * scale / width
        larger = math.sqrt(level.smallest * level.largest) * scale
        sizes = [(high, wide), (larger / height, larger / width)]
        for ratio in map(math.sqrt, RATIOS):
            sizes += [(high / ratio, wide * ratio), (high * ratio, wide / ratio)]
        centers = ((y, x) for y in level.centers(height) for x in level.centers(width))
        anchors += [(*center, *size) for center in centers for size in sizes]
    return np.clip(np.array(anchors, "float32"), 0, 1)


def height_and_width(input_shape):
    """Those of an `SSDLite`'s input shape; a `ValueError` if it cannot have them."""
    # No `match`: TensorFlow's AutoGraph, which comes here in input pipelines, does not know it.
    if isinstance(input_shape, (list, tuple)) and len(input_shape) == 3:
        height, width, _ = input_shape
        if height == width == PAPER_SIZE or (height in SIZES and width in SIZES):
            return height, width
    raise ValueError(
        "`input_shape` must be (height, width, channels), with 300×300 pixels or each side a multiple of 32 "
        f"from {SIZES[0]} to {SIZES[-1]}. Received: input_shape={input_shape!r}"
    )
