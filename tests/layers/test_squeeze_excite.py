import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import GATES, TOLERANCE, excitation, images, randomize

from sb_keras.layers import SqueezeExcite


def built(trunk, x, rng, **arguments):
    layer = SqueezeExcite(hidden_units=5, **arguments)
    layer.build([trunk.shape, x.shape])
    randomize(layer, rng)
    return layer


def expected_output(layer, trunk, x, training=False):
    """Equations 1 and 2."""
    return trunk * GATES[layer.gate](excitation(x, layer.excitation, training))[:, None, None, :]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gate", GATES)
def test_equals_equations_1_and_2(rng, gate, training):
    trunk, x = images(rng, 4, 3, 2, 8), images(rng, 4, 6, 5, 3)
    layer = built(trunk, x, rng, gate=gate)
    expected = expected_output(layer, trunk, x, training)
    np.testing.assert_allclose(layer([trunk, x], training=training), expected, **TOLERANCE)


@pytest.mark.parametrize("gate", GATES)
def test_predict_in_graph_mode(rng, gate):
    trunk, x = images(rng, 5, 3, 2, 8), images(rng, 5, 6, 5, 3)
    layer = built(trunk, x, rng, gate=gate)
    inputs = [keras.Input(trunk.shape[1:]), keras.Input(x.shape[1:])]
    model = keras.Model(inputs, layer(inputs))
    actual = model.predict([trunk, x], batch_size=2, verbose=0)
    np.testing.assert_allclose(actual, expected_output(layer, trunk, x), **TOLERANCE)


def test_the_original_form_excites_its_own_input(rng):
    x = images(rng, 4, 6, 5, 3)
    layer = built(x, x, rng)
    np.testing.assert_allclose(layer([x, x]), expected_output(layer, x, x), **TOLERANCE)


def gradients_through(x, z, rng):
    """Gradients of a loss with ∂ℓ/∂y = u with respect to x: through SE at F(x) = z, and without SE."""
    x = tf.constant(x)
    conv = keras.layers.Conv2D(8, 3, padding="same")
    layer = built(conv(x), x, rng)
    layer.excitation.excite_bn.gamma.assign(np.ones(8))
    layer.excitation.excite_bn.beta.assign(np.full(8, z))
    upstream = images(rng, *conv(x).shape)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        trunk = conv(x)
        trunk_alone = tf.reduce_sum(upstream * trunk)
        loss = tf.reduce_sum(upstream * layer([trunk, x]))
    return [keras.ops.convert_to_numpy(tape.gradient(y, x)) for y in (loss, trunk_alone)]


def test_gradient_vanishes_where_the_gate_is_saturated_at_zero(rng):
    """Equations 3 to 5: what Shift-and-Balance was made to avoid."""
    through_se, trunk_alone = gradients_through(images(rng, 2, 5, 5, 3), -200.0, rng)
    assert np.abs(trunk_alone).max() > 0.1
    np.testing.assert_array_equal(through_se, 0)


def test_gradient_is_the_trunks_where_the_gate_is_saturated_at_one(rng):
    """Equation 4 vanishes, equation 5 has S(z) = 1."""
    through_se, trunk_alone = gradients_through(images(rng, 2, 5, 5, 3), 200.0, rng)
    np.testing.assert_array_equal(through_se, trunk_alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gate": "softplus"}, r"`gate` must be one of \('tanh', .*\). Received: gate='softplus'"),
        ({"hidden_units": 1.5}, r"`hidden_units` must be a positive integer. Received: hidden_units=1.5"),
        ({"dropout": np.nan}, r"`dropout` must be a number in \[0, 1\). Received: dropout=nan"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SqueezeExcite(**arguments)


def test_the_usual_one_is_kerass_layers(rng):
    """Hu et al.'s, with biases and without normalization, as GAP, two dense layers and a product."""
    trunk, x = images(rng, 4, 3, 2, 8), images(rng, 4, 6, 5, 3)
    layer = SqueezeExcite(hidden_units=5, use_bias=True, normalize=False)
    layer.build([trunk.shape, x.shape])
    randomize(layer, rng)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    dense = [keras.layers.Dense(5, activation="relu"), keras.layers.Dense(8, activation="sigmoid")]
    weights = layer.get_weights()
    assert [w.name for w in layer.weights] == ["kernel", "bias"] * 2
    for stock, shape, own in zip(dense, [(4, 3), (4, 5)], (weights[:2], weights[2:]), strict=True):
        stock.build(shape)
        stock.set_weights(own)
    expected = trunk * keras.ops.convert_to_numpy(dense[1](dense[0](pooled)))[:, None, None]
    np.testing.assert_allclose(layer([trunk, x]), expected, **TOLERANCE)
