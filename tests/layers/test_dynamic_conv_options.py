"""Tests of what dynamic convolutions have of Keras's: dilation, activation, regularizers and constraints."""

import keras
import numpy as np
import pytest
from reference import images, to_numpy
from test_dynamic_conv import CHANNELS, both, built

from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D


@pytest.mark.filterwarnings("ignore:.*softmax over axis -1")
@pytest.mark.parametrize("padding", ["same", "valid"])
@both
def test_dilation_and_activation_are_kerass(rng, make, padding):
    x = images(rng, 2, 9, 7, CHANNELS)
    arguments = {"padding": padding, "dilation_rate": (2, 2), "activation": "tanh"}
    layer = built(make(3, experts=1, **arguments), rng)
    stock_class = keras.layers.Conv2D if isinstance(layer, DynamicConv2D) else keras.layers.DepthwiseConv2D
    stock = stock_class(*([5] if isinstance(layer, DynamicConv2D) else []), 3, **arguments)
    stock.build(x.shape)
    stock.set_weights([to_numpy(layer.kernel).reshape(stock.kernel.shape), layer.bias])
    np.testing.assert_allclose(layer(x), stock(x), rtol=1e-5, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == stock(x).shape


def test_a_dilated_kernel_larger_than_the_image():
    with pytest.raises(ValueError, match=r"kernel_size=\(3, 3\), dilation_rate=\(2, 2\), shape="):
        DynamicConv2D(4, 3, dilation_rate=2, padding="valid")(np.ones((2, 4, 4, CHANNELS), "float32"))


@both
def test_regularizers_and_constraints(rng, make):
    """The L2 penalty of all kernels and the bias; the norm that one kernel is given, over its own axes."""
    names = ("depthwise" if make is DynamicDepthwiseConv2D else "kernel", "bias")
    layer = make(
        3,
        activity_regularizer="l1",
        **{f"{name}_regularizer": keras.regularizers.L2(0.5) for name in names},
        **{f"{names[0]}_constraint": keras.constraints.UnitNorm(axis=[0, 1, 2])},
    )
    layer = built(layer, rng)
    outputs = layer(images(rng, 2, 6, 5, CHANNELS))
    penalties = [0.5 * np.sum(np.square(to_numpy(weight))) for weight in (layer.kernel, layer.bias)]
    expected = [*penalties, 0.01 * np.abs(to_numpy(outputs)).sum() / len(outputs)]
    np.testing.assert_allclose(sorted(map(float, layer.losses)), sorted(expected), rtol=1e-5)
    optimizer = keras.optimizers.SGD(0.0)
    optimizer.apply([keras.ops.zeros(layer.kernel.shape)], [layer.kernel])
    norms = np.sqrt(np.sum(np.square(to_numpy(layer.kernel)), axis=(1, 2, 3)))
    np.testing.assert_allclose(norms, np.ones(norms.shape), rtol=1e-5)


@both
def test_dilation_is_in_the_configuration(make):
    layer = make(3, dilation_rate=2)
    assert type(layer).from_config(layer.get_config()).dilation_rate == (2, 2)
