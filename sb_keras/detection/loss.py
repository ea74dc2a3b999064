"""The multibox loss (Liu et al., SSD, equations 1 to 3), a part for each output of the network.

L = (Σ cross-entropy + Σ smooth L1) / number of objects' anchors in the batch
"""

import math

import keras
from keras import ops

from sb_keras.arguments import check_count, check_positive
from sb_keras.detection.matching import BACKGROUND


@keras.saving.register_keras_serializable(package="sb_keras")
class ClassLoss(keras.losses.Loss):
    """Cross-entropy of the anchors with objects, and of those without that are most mistaken.

    In every image `negatives_per_positive` times as many anchors without objects count as there are with,
    those that the network is least sure to be background (hard negative mining), and at least
    `min_negatives`: without them an image without objects teaches nothing. It counts like an image with as
    many anchors with objects as would have these negatives.

    Args:
        negatives_per_positive: How many times as many.
        min_negatives: How many anchors without objects count in an image at least.
        name: Name of the loss.
        dtype: As `keras.losses.Loss`.

    Call arguments:
        y_true: `"classes"` of `match`, (batch, anchors).
        y_pred: Logits (batch, anchors, classes + 1), the background first.

    Example:

    ```python
    loss = sb_keras.detection.ClassLoss()
    loss(keras.ops.array([[0, 3, 0, 0, 0]]), keras.ops.zeros((1, 5, 21)))
    ```
    """

    def __init__(self, negatives_per_positive=3.0, min_negatives=0, name="class_loss", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.negatives_per_positive = check_positive("negatives_per_positive", negatives_per_positive)
        self.min_negatives = check_count("min_negatives", min_negatives)

    def call(self, y_true, y_pred):
        y_true = ops.cast(y_true, "int32")
        losses = -ops.log_softmax(y_pred, axis=-1)
        background = losses[..., BACKGROUND]
        is_object = y_true != BACKGROUND
        one_hot = ops.one_hot(y_true, y_pred.shape[-1], dtype=losses.dtype)
        own = ops.sum(losses * one_hot, axis=-1)

        objects = ops.sum(ops.cast(is_object, "int32"), axis=-1, keepdims=True)
        wanted = ops.cast(self.negatives_per_positive * ops.cast(objects, losses.dtype), "int32")
        wanted = ops.maximum(wanted, self.min_negatives)
        # Those with a larger loss than the last one wanted, and of those with the same as much as is lacking.
        candidates = ops.where(is_object, -1.0, ops.stop_gradient(background))
        ascending = ops.sort(candidates, axis=-1)
        last = ops.maximum(ops.shape(candidates)[-1] - wanted, 0)
        index = ops.minimum(last, ops.shape(candidates)[-1] - 1)
        limit = ops.maximum(ops.take_along_axis(ascending, index, axis=-1), 0.0)
        larger, same = (ops.cast(each, losses.dtype) for each in (candidates > limit, candidates == limit))
        lacking = ops.cast(wanted, losses.dtype) - ops.sum(larger, axis=-1, keepdims=True)
        share = ops.clip(lacking / ops.maximum(ops.sum(same, axis=-1, keepdims=True), 1.0), 0.0, 1.0)
        counted = ops.cast(is_object, losses.dtype) + larger + share * same
        least = math.ceil(self.min_negatives / self.negatives_per_positive)
        return _per_image(ops.sum(own * counted, axis=-1), ops.maximum(objects, least))

    def get_config(self):
        return {
            "negatives_per_positive": self.negatives_per_positive,
            "min_negatives": self.min_negatives,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="sb_keras")
class BoxLoss(keras.losses.Loss):
    """Smooth L1 of the offsets of anchors with objects.

    Args:
        name: Name of the loss.
        dtype: As `keras.losses.Loss`.

    Call arguments:
        y_true: `"boxes"` of `match`, (batch, anchors, 5).
        y_pred: Offsets (batch, anchors, 4).

    Example:

    ```python
    loss = sb_keras.detection.BoxLoss()
    loss(keras.ops.ones((1, 8, 5)), keras.ops.zeros((1, 8, 4)))
    ```
    """

    def __init__(self, name="box_loss", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def call(self, y_true, y_pred):
        offsets, found = y_true[..., :4], y_true[..., 4:]
        error = ops.abs(y_pred - offsets)
        smooth = ops.where(error < 1.0, 0.5 * ops.square(error), error - 0.5)
        return _per_image(ops.sum(found * smooth, axis=(-2, -1)), found)

    def get_config(self):
        return {"name": self.name}


def _per_image(sums, counts):
    """What each image adds to the loss, so that Keras's mean over the batch is Σ sums / Σ counts."""
    total = ops.maximum(ops.cast(ops.sum(counts), sums.dtype), 1.0)
    return sums * (ops.cast(ops.shape(sums)[0], sums.dtype) / total)
