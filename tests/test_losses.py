"""Tests of the smoothed cross-entropy against NumPy."""

import keras
import numpy as np
import pytest

import sb_keras


def probabilities(rng, rows=6, classes=5):
    logits = np.exp(rng.normal(size=(rows, classes)))
    return (logits / logits.sum(axis=-1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_against_numpy(smoothing, shape, rng):
    p, labels = probabilities(rng), np.array([0, 1, 2, 3, 4, 0])
    q = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
    expected = np.mean(-np.sum(q * np.log(p), axis=-1))
    loss = sb_keras.losses.SmoothedCrossentropy(smoothing)(labels.reshape(shape), p)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)  # float32, of a logarithm


def test_config():
    loss = keras.losses.deserialize(keras.losses.serialize(sb_keras.losses.SmoothedCrossentropy(0.3)))
    assert isinstance(loss, sb_keras.losses.SmoothedCrossentropy)
    assert loss.label_smoothing == 0.3


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_refuses(smoothing):
    with pytest.raises(ValueError, match=r"at least 0 and less than 1\. Received: label_smoothing="):
        sb_keras.losses.SmoothedCrossentropy(smoothing)
