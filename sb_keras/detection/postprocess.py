"""From the outputs of a detector to boxes, classes and scores."""

import keras
from keras import ops

from sb_keras.detection.boxes import decode


def detect(
    outputs, anchors, score_threshold=0.01, iou_threshold=0.45, detections_per_class=100, detections=100
):
    """Boxes, classes and scores, without boxes that a better one of the same class covers.

    Args:
        outputs: `"classes"`, logits (batch, anchors, classes + 1), and `"boxes"`, offsets (batch, anchors,
            4).
        anchors: Shape (anchors, 4): center y, center x, height, width, relative to the image.
        score_threshold: Least score. 0.01 is that of pytorch-ssd's evaluation; to show, take 0.4.
        iou_threshold: Intersection over union from which on a box covers another.
        detections_per_class: Most boxes of a class.
        detections: Most boxes of an image.

    Returns:
        A dictionary of `"boxes_yxyx"` (batch, detections, 4), relative to the image, `"scores"` and
        `"classes"` (batch, detections), the classes from 0, and `"count"` (batch,), how many there are; what
        follows is zeros. The best come first.

    Example:

    ```python
    outputs = {"classes": keras.ops.zeros((1, 3000, 21)), "boxes": keras.ops.zeros((1, 3000, 4))}
    found = sb_keras.detection.detect(outputs, sb_keras.detection.ssdlite_anchors())
    ```
    """
    import tensorflow as tf  # what Keras lacks; the rest of the library does without

    scores = ops.softmax(outputs["classes"], axis=-1)[..., 1:]
    boxes_yxyx = decode(outputs["boxes"], anchors)
    if keras.backend.backend() != "tensorflow":
        boxes_yxyx, scores = map(ops.convert_to_numpy, (boxes_yxyx, scores))
    boxes_yxyx, scores, classes, count = tf.image.combined_non_max_suppression(
        boxes_yxyx[:, :, None],
        scores,
        detections_per_class,
        detections,
        iou_threshold,
        score_threshold,
        clip_boxes=True,
    )
    return {
        "boxes_yxyx": boxes_yxyx,
        "scores": scores,
        "classes": tf.cast(classes, tf.int32),
        "count": count,
    }
