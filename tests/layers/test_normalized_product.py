"""Expand convolutions that are normalized through the covariance of their input."""

import numpy as np
import pytest
import tensorflow as tf
from reference import images, randomize, to_numpy

import sb_keras
from sb_keras.layers import BatchNormalization, Conv2D, ShiftBalance

CHANNELS, FILTERS = 5, 12
SHAPE = (6, 4, 3, CHANNELS)


def layers(rng, attention, **arguments):
    """A convolution, attention (or None) and a normalization, with random weights."""
    conv = Conv2D(FILTERS, 1, **{"use_bias": False, **arguments})
    attend = ShiftBalance(hidden_units=4, lambda_init=0.7) if attention else None
    norm = BatchNormalization()
    for layer in (conv, norm):
        layer.build((None, None, None, {conv: CHANNELS, norm: FILTERS}[layer]))
        randomize(layer, rng)
    if attend is not None:
        attend.build([(None, None, None, FILTERS), (None, None, None, CHANNELS)])
        # The branch's own normalization of six examples would magnify every rounding.
        attend.excitation.excite_bn.gamma.assign(rng.normal(size=FILTERS))
    return [layer for layer in (conv, attend, norm) if layer is not None]


def forward(chain, x):
    conv, *attend, norm = chain
    y = conv(x)
    for layer in attend:
        y = layer([y, x], training=True)
    return norm(y, training=True)


def step(chain, x, upstream):
    """Output and gradients of a training step, and the moving averages after it."""
    weights = [w for layer in chain for w in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = forward(chain, x)
        loss = tf.reduce_sum(y * upstream)
    gradients = tape.gradient(loss, [x, *(w.value for w in weights)])
    return [y, *gradients, *(tf.convert_to_tensor(w) for w in chain[-1].non_trainable_variables)]


def eager_and_graph(chain, x, upstream):
    """The same step operation by operation, with TensorFlow's kernel, and in a graph."""
    before = [layer.get_weights() for layer in chain]
    results = []
    for function in (step, tf.function(step, autograph=False)):
        for layer, values in zip(chain, before, strict=True):
            layer.set_weights(values)
        results.append([to_numpy(t) for t in function(chain, tf.constant(x), tf.constant(upstream))])
    return results


def kernels(chain, x):
    """Number of TensorFlow's normalization kernels in the graph of a step."""
    graph = tf.function(lambda x: forward(chain, x)).get_concrete_function(tf.constant(x)).graph
    return sum(o.type == "FusedBatchNormV3" for o in graph.get_operations())


def assert_equal(ours, reference, tolerance):
    for a, b in zip(ours, reference, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()))


@pytest.mark.parametrize("attention", [False, True])
def test_equals_the_kernel(rng, attention):
    chain = layers(rng, attention)
    x, upstream = images(rng, *SHAPE), images(rng, *SHAPE[:3], FILTERS)
    assert kernels(chain, x) == 0
    eager, graph = eager_and_graph(chain, x, upstream)
    # Sums of some hundred products in another order, and what normalizing a few examples magnifies.
    assert_equal(graph, eager, 2e-4 if attention else 2e-5)


def test_is_the_formula(rng):
    conv, norm = chain = layers(rng, False)
    x, upstream = 3 * images(rng, *SHAPE) + 5, images(rng, *SHAPE[:3], FILTERS)
    (kernel,), (gamma, beta, *moving) = (
        [w.astype("float64") for w in layer.get_weights()] for layer in (conv, norm)
    )
    y = x.astype("float64") @ kernel[0, 0]
    mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
    outputs, *_, moving_mean, moving_variance = eager_and_graph(chain, x, upstream)[1]
    np.testing.assert_allclose(
        outputs, (y - mean) / np.sqrt(variance + 1e-5) * gamma + beta, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(moving_mean, 0.9 * moving[0] + 0.1 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moving_variance, 0.9 * moving[1] + 0.1 * variance, rtol=1e-5)


def test_channels_that_hardly_vary_about_a_large_mean(rng):
    """E[xxᵀ] − E[x]E[x]ᵀ in single precision would have an error of 1e6 · 6e-8 times the variance."""
    chain = layers(rng, False)
    x = images(rng, *SHAPE) + 1000
    conv, norm = chain
    y = x.astype("float64") @ conv.get_weights()[0][0, 0].astype("float64")
    norm.moving_variance.assign(np.zeros(FILTERS))
    variance = eager_and_graph(chain, x, images(rng, *SHAPE[:3], FILTERS))[1][-1] / 0.1
    np.testing.assert_allclose(variance, y.var((0, 1, 2)), rtol=1e-5)


def test_channels_that_cancel(rng):
    """Of two equal channels with opposite weights nothing is left: the outputs stay finite, and β."""
    chain = layers(rng, False)
    x = 100 * images(rng, *SHAPE)
    x[..., 1:] = x[..., :1]
    kernel = np.zeros((1, 1, CHANNELS, FILTERS))
    kernel[0, 0, 0], kernel[0, 0, 1:] = 1, -1 / (CHANNELS - 1)
    chain[0].set_weights([kernel])
    outputs, *gradients = eager_and_graph(chain, x, images(rng, *SHAPE[:3], FILTERS))[1]
    assert all(np.isfinite(g).all() for g in gradients)
    # Rounding of numbers up to 300 over √ε.
    np.testing.assert_allclose(
        outputs, np.broadcast_to(to_numpy(chain[-1].beta), outputs.shape), atol=300 * 2**-22 / np.sqrt(1e-5)
    )


@pytest.mark.parametrize(
    "arguments", [{"use_bias": True, "bias_initializer": "ones"}, {"activation": "relu6"}, {"strides": 2}]
)
def test_what_is_more_than_a_product_has_the_kernel(rng, arguments):
    chain = layers(rng, False, **arguments)
    x = images(rng, *SHAPE)
    assert kernels(chain, x) == 1
    y = chain[0](tf.constant(x))
    eager, graph = eager_and_graph(chain, x, images(rng, *y.shape))
    assert_equal(graph, eager, 2e-5)


def test_two_shifts_have_the_kernel(rng):
    conv, attend, norm = layers(rng, True)
    again = ShiftBalance(hidden_units=4)
    again.build([(None, None, None, FILTERS), (None, None, None, CHANNELS)])
    x, upstream = images(rng, *SHAPE), images(rng, *SHAPE[:3], FILTERS)
    chain = [conv, attend, again, norm]
    assert kernels(chain, x) == 1
    eager, graph = eager_and_graph(chain, x, upstream)
    assert_equal(graph, eager, 2e-4)


def test_halves_have_the_kernel(rng):
    chain = [
        Conv2D(FILTERS, 1, use_bias=False, dtype="mixed_float16"),
        BatchNormalization(dtype="mixed_float16"),
    ]
    assert kernels(chain, images(rng, *SHAPE)) == 1


@pytest.mark.parametrize("kind", ["static", "sb"])
@pytest.mark.parametrize("shape", [(64, 64, 3), (None, None, 3)])
def test_networks(rng, kind, shape):
    """In a network every expand convolution and the head are normalized so, whatever the size."""
    model = sb_keras.MobileNetV2(shape, 0.35, attention=kind, classes=4)
    x = tf.constant(images(rng, 8, 64, 64, 3))
    before = model.get_weights()
    model(x, training=True)
    moving = [to_numpy(w) for w in model.non_trainable_variables]
    model.set_weights(before)
    call = tf.function(lambda x: model(x, training=True))
    kernels = [o.type for o in call.get_concrete_function(x).graph.get_operations()].count("FusedBatchNormV3")
    norms = [layer for layer in model.layers if isinstance(layer, BatchNormalization)]
    expanded = [layer for layer in norms if layer.name.endswith(("expand_bn", "head_bn"))]
    assert kernels == len(norms) - len(expanded)
    call(x)
    for ours, other in zip(model.non_trainable_variables, moving, strict=True):
        if "seed_generator" not in ours.path:
            np.testing.assert_allclose(ours, other, rtol=2e-3, atol=2e-3, err_msg=ours.path)


@pytest.mark.parametrize("attention", [False, True])
def test_what_is_not_a_number_is_seen_behind_a_relu6(rng, attention):
    """One kernel for convolution, bias and ReLU6 makes zeros of NaN, and hides that a training diverges."""
    chain = layers(rng, attention)
    x = images(rng, *SHAPE)
    x[0, 0, 0, 0] = np.nan
    outputs = tf.function(lambda x: tf.nn.relu6(forward(chain, x)))(tf.constant(x))
    assert np.isnan(outputs).all()
