"""Tests of the multibox loss against NumPy."""

import keras
import numpy as np
import pytest

from sb_keras.detection import BoxLoss, ClassLoss


def cross_entropies(classes, logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return -np.log(
        np.take_along_axis(exponentials / exponentials.sum(-1, keepdims=True), classes[..., None], -1)
    )[..., 0]


def test_classes(rng):
    classes = np.zeros((4, 200), "int32")
    classes[0, [3, 50, 51]], classes[1, 7], classes[3, :80] = [1, 5, 20], 9, 2  # the third image is empty
    logits = rng.normal(size=(4, 200, 21))
    losses, total = cross_entropies(classes, logits), 0.0
    background = cross_entropies(np.zeros_like(classes), logits)
    for image in range(4):
        objects = classes[image] > 0
        negatives = np.sort(background[image][~objects])[::-1][: 3 * objects.sum()]
        total += losses[image][objects].sum() + negatives.sum()
    actual = ClassLoss()(classes, logits.astype("float32"))
    assert float(actual) == pytest.approx(total / 84, rel=1e-5)


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_negatives_per_positive(ratio, rng):
    classes = np.zeros((1, 10), "int32")
    classes[0, 4] = 1
    logits = rng.normal(size=(1, 10, 3))
    losses = cross_entropies(classes, logits)[0]
    hardest = np.sort(np.delete(losses, 4))[::-1][: int(ratio)].sum()
    assert float(ClassLoss(ratio)(classes, logits)) == pytest.approx(losses[4] + hardest, rel=1e-5)


def test_no_gradient_for_easy_negatives(rng):
    import tensorflow as tf

    classes, logits = np.zeros((1, 50), "int32"), tf.Variable(rng.normal(size=(1, 50, 3)))
    classes[0, 0] = 2
    with tf.GradientTape() as tape:
        loss = ClassLoss()(classes, logits)
    moved = np.abs(keras.ops.convert_to_numpy(tape.gradient(loss, logits))).sum(-1) > 0
    assert moved.sum() == 4
    assert moved[0, 0]


def test_boxes(rng):
    offsets, predicted = rng.normal(size=(2, 9, 4)), rng.normal(size=(2, 9, 4))
    found = np.zeros((2, 9, 1))
    found[0, 3:5] = found[1, 0] = 1
    error = np.abs(predicted - offsets)
    expected = np.sum(found * np.where(error < 1, error**2 / 2, error - 0.5)) / 3
    actual = BoxLoss()(np.concatenate([offsets, found], -1).astype("float32"), predicted.astype("float32"))
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def test_no_objects_at_all(rng):
    assert float(ClassLoss()(np.zeros((2, 9), "int32"), rng.normal(size=(2, 9, 4)))) == 0
    assert float(BoxLoss()(np.zeros((2, 9, 5)), rng.normal(size=(2, 9, 4)))) == 0


@pytest.mark.parametrize("loss", [ClassLoss(2.0), BoxLoss()])
def test_config(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
