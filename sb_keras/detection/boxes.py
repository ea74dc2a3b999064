"""Boxes as offsets from anchors, and back."""

from keras import ops
from keras.utils import bounding_boxes

# What offsets are divided by, so that they vary by about 1: of the center, and of the logarithm of the size.
VARIANCES = (0.1, 0.1, 0.2, 0.2)
# Keras calls coordinates relative where it converts them; where all are, there is nothing to convert.
_CORNERS, _CENTERS = "yxyx", "center_yxhw"


def encode(boxes_yxyx, anchors):
    """Offsets of boxes from anchors (Liu et al., SSD, equation 2).

    (Δy / h, Δx / w) / 0.1 of the centers, with h and w of the anchor, and log(size / anchor's size) / 0.2.

    Args:
        boxes_yxyx: Shape (…, anchors, 4): ymin, xmin, ymax, xmax, relative to the image.
        anchors: Shape (anchors, 4): center y, center x, height, width, relative to the image.

    Returns:
        A tensor of the boxes' shape.

    Example:

    ```python
    anchors = sb_keras.detection.ssdlite_anchors()
    offsets = sb_keras.detection.encode(keras.ops.tile([[0.1, 0.1, 0.6, 0.9]], (3000, 1)), anchors)
    ```
    """
    anchors, boxes_yxyx = map(ops.convert_to_tensor, (anchors, boxes_yxyx))
    return bounding_boxes.encode_box_to_deltas(anchors, boxes_yxyx, _CENTERS, _CORNERS, variance=VARIANCES)


def decode(offsets, anchors):
    """The boxes that `encode` made offsets of: ymin, xmin, ymax, xmax, relative to the image.

    Args:
        offsets: Shape (…, anchors, 4).
        anchors: Shape (anchors, 4), as for `encode`.

    Returns:
        A tensor of the offsets' shape.

    Example:

    ```python
    anchors = sb_keras.detection.ssdlite_anchors()
    boxes_yxyx = sb_keras.detection.decode(keras.ops.zeros((3000, 4)), anchors)
    ```
    """
    anchors, offsets = map(ops.convert_to_tensor, (anchors, offsets))
    return bounding_boxes.decode_deltas_to_boxes(anchors, offsets, _CENTERS, _CORNERS, variance=VARIANCES)
