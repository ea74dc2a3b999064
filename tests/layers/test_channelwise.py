"""The passes of attention and their hand-written gradients, against NumPy in double precision."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import images, to_numpy

from sb_keras.layers.channelwise import add_channelwise, global_average, multiply_channelwise, with_average

# Sums of 30 rounded numbers of size one.
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
SIZES = [(5, 6), (None, 6), (None, None)]


@pytest.fixture
def tensors(rng):
    """Feature map, one value a channel, and a gradient of each one's shape."""
    x, upstream = images(rng, 4, 5, 6, 3), images(rng, 4, 5, 6, 3)
    s, upstream_of_mean = images(rng, 4, 3), images(rng, 4, 3)
    return x, s, upstream, upstream_of_mean


def graph_step(function, size, upstream, *inputs):
    """Output and gradients by the inputs, of a graph that knows no more than `size` of the feature map."""
    signature = [tf.TensorSpec((None, *size, 3) if x.ndim == 4 else (None, 3)) for x in (*inputs, upstream)]

    @tf.function(input_signature=signature)
    def step(*tensors):
        *inputs, upstream = tensors
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = function(*inputs)
        return [y, *tape.gradient(y, inputs, output_gradients=upstream)]

    return [to_numpy(t) for t in step(*inputs, upstream)]


@pytest.mark.parametrize("size", SIZES)
def test_global_average(tensors, size):
    x, _, _, upstream = tensors
    y, dx = graph_step(global_average, size, upstream, x)
    np.testing.assert_allclose(y, np.float64(x).mean((1, 2)), **TOLERANCE)
    np.testing.assert_allclose(dx, np.broadcast_to(upstream[:, None, None] / 30, x.shape), **TOLERANCE)


def test_the_average_of_a_large_map_is_exact_to_a_few_roundings(rng):
    """Twelve thousand numbers added one after the other would be off by 3e-6."""
    x = 1 + np.abs(images(rng, 2, 112, 112, 24))
    expected = np.float64(x).mean((1, 2))
    np.testing.assert_allclose(to_numpy(global_average(tf.constant(x))), expected, rtol=1.2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_add(tensors, size):
    x, s, upstream, _ = tensors
    y, dx, ds = graph_step(add_channelwise, size, upstream, x, s)
    np.testing.assert_allclose(y, x + s[:, None, None], **TOLERANCE)
    np.testing.assert_array_equal(dx, upstream)
    np.testing.assert_allclose(ds, np.float64(upstream).sum((1, 2)), **TOLERANCE)


@pytest.mark.parametrize("size", SIZES)
def test_multiply(tensors, size):
    x, s, upstream, _ = tensors
    y, dx, ds = graph_step(multiply_channelwise, size, upstream, x, s)
    np.testing.assert_allclose(y, x * s[:, None, None], **TOLERANCE)
    np.testing.assert_allclose(dx, upstream * s[:, None, None], **TOLERANCE)
    np.testing.assert_allclose(ds, (np.float64(upstream) * x).sum((1, 2)), **TOLERANCE)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("function", [global_average, add_channelwise, multiply_channelwise])
def test_halves(tensors, function, dtype):
    """Every gradient has the type of what it is the gradient of, and is close to that in float32."""
    x, s, *_ = tensors
    inputs = [tf.constant(x)] if function is global_average else [tf.constant(x), tf.constant(s)]

    def step(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = function(*inputs)
        return [y, *tape.gradient(y, inputs)]

    single, half = step(inputs), step([tf.cast(t, dtype) for t in inputs])
    rounding = keras.ops.convert_to_numpy(2.0 ** (-8 if dtype == "bfloat16" else -11))
    for a, b in zip(half, single, strict=True):
        assert a.dtype == dtype
        # A few roundings; the sum of 30 numbers is rounded as it grows.
        np.testing.assert_allclose(to_numpy(a), b, atol=8 * rounding * np.abs(b).max())


@pytest.mark.parametrize("size", [(256, 256), (None, None)])
@pytest.mark.parametrize("function", [global_average, with_average, add_channelwise, multiply_channelwise])
def test_halves_of_large_maps(function, size, rng):
    """256×256 is more than float16 can hold: gradients were infinite, and a training skipped every step."""
    x, s = (tf.constant(images(rng, *shape), "float16") for shape in ((2, 256, 256, 3), (2, 3)))
    inputs = [x] if function in (global_average, with_average) else [x, s]

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, *size, 3) if t.shape.rank == 4 else (None, 3), t.dtype) for t in inputs
        ]
    )
    def gradients(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = tf.nest.flatten(function(*inputs))
            ones = [
                tf.ones_like(each) if each.shape.rank == 2 else 2.0**-10 * tf.ones_like(each)
                for each in outputs
            ]
        return tape.gradient(outputs, inputs, output_gradients=ones)

    found = [to_numpy(each).astype("float64") for each in gradients(*inputs)]
    wide, shifts = (to_numpy(each).astype("float64") for each in (x, s))
    if function is global_average:
        expected = [np.full(wide.shape, 2.0**-16)]
    elif function is with_average:
        expected = [np.full(wide.shape, 2.0**-10 + 2.0**-16)]
    elif function is add_channelwise:
        expected = [np.full(wide.shape, 2.0**-10), np.full(shifts.shape, 2.0**6)]
    else:
        by_x = np.broadcast_to(2.0**-10 * shifts[:, None, None], wide.shape)
        expected = [by_x, 2.0**-10 * wide.sum((1, 2))]
    # A product and a number of 11 bits each, rounded; the sum of 65,536 of them has an error of its own.
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3 if ours.ndim == 2 else 0)
