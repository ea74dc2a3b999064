import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import images

from sb_keras.layers import Conv2D


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 1},
        {"kernel_size": 1, "use_bias": False, "padding": "same"},
        {"kernel_size": 1, "activation": "relu6"},
        {"kernel_size": 1, "strides": 2},
        {"kernel_size": 1, "groups": 2},
        {"kernel_size": 3, "padding": "same"},
    ],
)
def test_outputs_and_gradients_equal_keras(rng, arguments):
    x = tf.constant(images(rng, 3, 5, 4, 6))
    ours = Conv2D(8, **arguments)
    stock = keras.layers.Conv2D(8, **arguments)
    ours.build(x.shape)
    stock.build(x.shape)
    stock.set_weights(ours.get_weights())

    def step(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * tf.sin(tf.cast(y, "float32")))
        return [y, *tape.gradient(loss, [x, *layer.trainable_variables])]

    for a, b in zip(step(ours), step(stock), strict=True):
        # Sums of six to a few hundred float32 products, in another order.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1, np.abs(b).max()))


def test_1x1_is_the_formula(rng):
    x = images(rng, 3, 5, 4, 6)
    layer = Conv2D(8, 1)
    y = layer(x)
    kernel, bias = (w.astype("float64") for w in layer.get_weights())
    np.testing.assert_allclose(y, np.einsum("nhwi,io->nhwo", x, kernel[0, 0]) + bias, rtol=1e-5, atol=1e-5)


def test_weights_are_keras(rng):
    ours, stock = Conv2D(8, 1), keras.layers.Conv2D(8, 1)
    for layer in (ours, stock):
        layer.build((None, None, None, 6))
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in stock.weights]
    stock.set_weights(ours.get_weights())


def test_1x1_is_computed_as_a_product():
    def operations(**arguments):
        layer = Conv2D(8, **arguments)
        graph = tf.function(layer).get_concrete_function(tf.TensorSpec((None, None, None, 6))).graph
        return {operation.type for operation in graph.get_operations()}

    assert "Conv2D" not in operations(kernel_size=1)
    assert "Conv2D" in operations(kernel_size=1, strides=2)
