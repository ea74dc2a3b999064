import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import GATES, TOLERANCE, excitation, images, randomize

from sb_keras.layers import ShiftBalance


def built(trunk, x, rng, **arguments):
    layer = ShiftBalance(hidden_units=5, **arguments)
    layer.build([trunk.shape, x.shape])
    randomize(layer, rng)
    return layer


def expected_output(layer, trunk, x, training=False):
    """Equations 6 and 7."""
    a = GATES[layer.gate](excitation(x, layer.excitation, training))
    return trunk + layer.lambda_.numpy() * a[:, None, None, :]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gate", GATES)
def test_equals_equations_6_and_7(rng, gate, training):
    trunk, x = images(rng, 4, 3, 2, 8), images(rng, 4, 6, 5, 3)
    layer = built(trunk, x, rng, gate=gate)
    expected = expected_output(layer, trunk, x, training)
    np.testing.assert_allclose(layer([trunk, x], training=training), expected, **TOLERANCE)


@pytest.mark.parametrize("gate", GATES)
def test_predict_in_graph_mode(rng, gate):
    """TensorFlow's graph optimizer fuses a normalization and a tanh into a kernel that CPUs lack."""
    trunk, x = images(rng, 5, 3, 2, 8), images(rng, 5, 6, 5, 3)
    layer = built(trunk, x, rng, gate=gate)
    inputs = [keras.Input(trunk.shape[1:]), keras.Input(x.shape[1:])]
    model = keras.Model(inputs, layer(inputs))
    actual = model.predict([trunk, x], batch_size=2, verbose=0)
    np.testing.assert_allclose(actual, expected_output(layer, trunk, x), **TOLERANCE)


def test_starts_at_the_initial_lambda_with_as_many_hidden_units_as_channels():
    layer = ShiftBalance(lambda_init=0.05)
    layer.build([(None, 4, 4, 8), (None, 4, 4, 3)])
    np.testing.assert_allclose(layer.lambda_, np.full(8, 0.05), rtol=1e-6)
    assert layer.excitation.hidden_units == 8


def test_shift_is_at_most_lambda(rng):
    trunk, x = images(rng, 4, 3, 2, 8), images(rng, 4, 6, 5, 3)
    layer = built(trunk, x, rng)
    shift = np.abs(layer([trunk, x]).numpy() - trunk)
    assert (shift <= np.abs(layer.lambda_.numpy()) + 1e-6).all()  # the rounding of the sum


@pytest.mark.parametrize("gate", ["tanh", "sigmoid"])
@pytest.mark.parametrize("z", [-200.0, 200.0])
def test_saturated_gate_leaves_the_trunks_gradient(rng, gate, z):
    """Equations 8 and 9: with 1 − tanh² = 0 the gradient is the trunk's, to the last digit."""
    x = tf.constant(images(rng, 2, 5, 5, 3))
    conv = keras.layers.Conv2D(8, 3, padding="same")
    layer = built(conv(x), x, rng, gate=gate)
    layer.excitation.excite_bn.gamma.assign(np.ones(8))
    layer.excitation.excite_bn.beta.assign(np.full(8, z))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        trunk = conv(x)
        trunk_alone = tf.reduce_sum(trunk**2)
        y = layer([trunk, x])
        # A loss with the same gradient with respect to y as the trunk's own, 2 T(x).
        loss = tf.reduce_sum(tf.stop_gradient(2 * trunk) * y)
    np.testing.assert_array_equal(tape.gradient(loss, x), tape.gradient(trunk_alone, x))


@pytest.mark.parametrize("gate", GATES)
def test_trunk_receives_the_whole_gradient(rng, gate):
    trunk, x = tf.constant(images(rng, 4, 3, 2, 8)), tf.constant(images(rng, 4, 6, 5, 3))
    layer = built(trunk, x, rng, gate=gate)
    upstream = images(rng, 4, 3, 2, 8)
    with tf.GradientTape() as tape:
        tape.watch(trunk)
        loss = tf.reduce_sum(upstream * layer([trunk, x], training=True))
    np.testing.assert_array_equal(tape.gradient(loss, trunk), upstream)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gate": "softplus"}, r"`gate` must be one of \('tanh', .*\). Received: gate='softplus'"),
        ({"gate": None}, r"`gate` must be one of .* Received: gate=None"),
        ({"hidden_units": 0}, r"`hidden_units` must be a positive integer. Received: hidden_units=0"),
        ({"hidden_units": -3}, r"`hidden_units` must be a positive integer. Received: hidden_units=-3"),
        ({"lambda_init": np.nan}, r"`lambda_init` must be a finite number. Received: lambda_init=nan"),
        ({"lambda_init": np.inf}, r"`lambda_init` must be a finite number. Received: lambda_init=inf"),
        ({"lambda_init": "a"}, r"`lambda_init` must be a finite number. Received: lambda_init='a'"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\). Received: dropout=1.0"),
        ({"dropout": -0.1}, r"`dropout` must be a number in \[0, 1\). Received: dropout=-0.1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShiftBalance(**arguments)
