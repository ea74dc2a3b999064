import keras
import numpy as np
import pytest
from reference import TOLERANCE, excitation, images, randomize, to_numpy

from sb_keras.layers import Excitation


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_figure_1(rng, training, use_bias):
    x = images(rng, 4, 5, 6, 3)
    layer = Excitation(units=8, hidden_units=7, use_bias=use_bias)
    layer.build(x.shape)
    randomize(layer, rng)
    expected = excitation(x, layer, training)
    np.testing.assert_allclose(layer(x, training=training), expected, **TOLERANCE)


def test_training_moves_the_statistics(rng):
    x = images(rng, 4, 5, 6, 3)
    layer = Excitation(units=8, hidden_units=7)
    layer.build(x.shape)
    hidden = x.mean((1, 2)) @ to_numpy(layer.squeeze.kernel)
    layer(x, training=True)
    norm = layer.squeeze_bn
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.1 * hidden.mean(0), **TOLERANCE)
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0.9 + 0.1 * hidden.var(0), **TOLERANCE)


def test_dropout_acts_on_the_hidden_units_in_training_only(rng):
    x = np.ones((1000, 1, 1, 3), "float32")
    layer = Excitation(units=1, hidden_units=5, dropout=0.2, normalize=False, use_bias=True)
    layer.build(x.shape)
    for weight in layer.trainable_weights:
        weight.assign(keras.ops.ones_like(weight) / weight.shape[0])
    # Every hidden unit is 1 + 1/5 before the dropout, so the output counts those that are kept.
    kept = (to_numpy(layer(x, training=True)) - 1) / 1.2 * 0.8 * 5
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-4)
    assert kept.mean() == pytest.approx(0.8 * 5, abs=0.15)  # deviation 0.9 / √1000 = 0.03
    np.testing.assert_allclose(layer(x), 2.2, rtol=1e-6)


def test_weights_are_named_and_without_bias():
    layer = Excitation(units=8, hidden_units=7)
    layer.build((None, None, None, 3))
    assert {w.path.split("/", 1)[1]: tuple(w.shape) for w in layer.trainable_weights} == {
        "squeeze/kernel": (3, 7),
        "squeeze_bn/gamma": (7,),
        "squeeze_bn/beta": (7,),
        "excite/kernel": (7, 8),
        "excite_bn/gamma": (8,),
        "excite_bn/beta": (8,),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, r"`units` must be a positive integer. Received: units=0"),
        ({"units": 2.5}, r"`units` must be a positive integer. Received: units=2.5"),
        ({"hidden_units": -1}, r"`hidden_units` must be a positive integer. Received: hidden_units=-1"),
        ({"hidden_units": None}, r"`hidden_units` must be a positive integer. Received: hidden_units=None"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\). Received: dropout=1.0"),
        ({"dropout": "a"}, r"`dropout` must be a number in \[0, 1\). Received: dropout='a'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Excitation(**{"units": 4, "hidden_units": 2, **arguments})
