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


def test_images_without_objects_teach(rng):
    """Their three anchors that are most mistaken count, as those of an image with one anchor of an object."""
    classes = np.zeros((3, 50), "int32")
    classes[1, 7] = 2  # three negatives besides, as without a minimum
    logits = rng.normal(size=(3, 50, 4))
    losses = cross_entropies(classes, logits)
    empty = np.sort(losses[[0, 2]], axis=-1)[:, -3:].sum()
    expected = losses[1, 7] + np.sort(np.delete(losses[1], 7))[-3:].sum() + empty
    assert float(ClassLoss(min_negatives=3)(classes, logits)) == pytest.approx(expected / 3, rel=1e-5)
    actual = ClassLoss(min_negatives=3)(classes[[0, 2]], logits[[0, 2]])
    assert float(actual) == pytest.approx(empty / 2, rel=1e-5)


@pytest.mark.parametrize("least", [0, 3])
def test_anchors_that_are_equally_mistaken_count_as_one_wants(least, rng):
    """A black frame makes hundreds of them."""
    classes, logits = np.zeros((2, 50), "int32"), np.zeros((2, 50, 4))
    classes[0, 7] = 2
    logits[0, 20] = [-5, 0, 0, 0]  # one anchor is more mistaken
    losses = cross_entropies(classes, logits)
    expected = losses[0, 7] + losses[0, 20] + 2 * np.log(4) + least * np.log(4)
    actual = float(ClassLoss(min_negatives=least)(classes, logits))
    assert actual == pytest.approx(expected / (2 if least else 1), rel=1e-5)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, None])
def test_wrong_minimum(wrong):
    with pytest.raises(ValueError, match=r"`min_negatives` must be a whole number from 0\. Received: min_"):
        ClassLoss(min_negatives=wrong)


@pytest.mark.parametrize("loss", [ClassLoss(2.0, min_negatives=5), BoxLoss()])
def test_config(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
