"""Which anchor is to find which object."""

from keras import ops
from keras.utils import bounding_boxes

from sb_keras.detection.boxes import encode

BACKGROUND = 0
MATCH_IOU = 0.5


def match(boxes_yxyx, labels, anchors, difficult=None):
    """Assigns the objects of one image to anchors, as targets of `ClassLoss` and `BoxLoss`.

    Every object gets an anchor of its own: of all pairs the one that overlaps most, then of what is left
    the next, and so on. Every other anchor gets the object that it overlaps most if their intersection
    over union is at least 0.5, and is background otherwise (Liu et al., SSD, section 2.2).

    Difficult objects are background, as in pytorch-ssd, which leaves them out of the training.

    Args:
        boxes_yxyx: Shape (objects, 4), relative to the image.
        labels: Shape (objects,), the classes from 0; −1 where there is no object.
        anchors: Shape (anchors, 4): center y, center x, height, width, relative to the image.
        difficult: Shape (objects,), booleans; None for none.

    Returns:
        A dictionary: `"classes"` of shape (anchors,), int32, 0 for the background and c + 1 for class c;
        `"boxes"` of shape (anchors, 5), the four offsets and 1 where there is an object, else 0.

    Example:

    ```python
    anchors = sb_keras.detection.ssdlite_anchors()
    targets = sb_keras.detection.match([[0.1, 0.1, 0.6, 0.9]], [7], anchors)
    ```
    """
    boxes_yxyx = ops.convert_to_tensor(boxes_yxyx, "float32")
    labels, anchors = ops.cast(labels, "int32"), ops.convert_to_tensor(anchors, "float32")
    valid = labels >= 0
    if difficult is not None:
        valid = ops.logical_and(valid, ops.logical_not(ops.cast(difficult, "bool")))
    corners = bounding_boxes.convert_format(anchors, source="center_yxhw", target="yxyx")
    iou = bounding_boxes.compute_iou(boxes_yxyx, corners, bounding_box_format="yxyx")
    iou = ops.where(valid[:, None], iou, -1.0)

    # One row more, so that there is a maximum where there are no objects.
    padded = ops.concatenate([iou, ops.full_like(corners[None, :, 0], -1.0)])
    matched = ops.cast(ops.argmax(padded, axis=0), "int32")
    is_object = ops.max(padded, axis=0) >= MATCH_IOU
    own = _anchor_of_each_object(padded, ops.sum(ops.cast(valid, "int32")))
    matched, is_object = ops.where(own >= 0, own, matched), ops.logical_or(own >= 0, is_object)

    labels = ops.pad(labels, [(0, 1)])
    boxes_yxyx = ops.pad(boxes_yxyx, [(0, 1), (0, 0)])
    classes = ops.where(is_object, ops.take(labels, matched) + 1, BACKGROUND)
    found = ops.cast(is_object, "float32")[:, None]
    offsets = found * encode(ops.take(boxes_yxyx, matched, axis=0), anchors)
    return {"classes": classes, "boxes": ops.concatenate([offsets, found], axis=-1)}


def _anchor_of_each_object(iou, objects):
    """For each anchor the object that it is the own one of, or −1; one more step for every object."""
    rows, columns = ops.shape(iou)
    row_numbers, column_numbers = ops.arange(rows, dtype="int32"), ops.arange(columns, dtype="int32")

    def assign(step, state):
        iou, own = state
        best = ops.cast(ops.argmax(ops.reshape(iou, (-1,))), "int32")
        row, column = best // columns, best % columns
        own = ops.where(column_numbers == column, row, own)
        taken = ops.logical_or((row_numbers == row)[:, None], (column_numbers == column)[None])
        return ops.where(taken, -1.0, iou), own

    own = ops.full((columns,), -1, dtype="int32")
    return ops.fori_loop(0, objects, assign, (iou, own))[1]
