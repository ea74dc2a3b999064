from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import GATES, excitation, images, randomize, to_numpy

from sb_keras.layers import DynamicConv2D, DynamicDepthwiseConv2D

CHANNELS = 3
# As the other layers', times the ten of the outputs, which are sums of about a hundred products.
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


def full(*args, **kwargs):
    return DynamicConv2D(5, *args, **kwargs)


both = pytest.mark.parametrize("make", [full, DynamicDepthwiseConv2D], ids=["full", "depthwise"])


def built(layer, rng):
    layer.build((None, None, None, CHANNELS))
    randomize(layer, rng)
    if layer.temperature is not None:
        layer.temperature.assign(2.5)
    return layer


def coefficients(layer, x, training=False):
    """π(x): the gate of F(x), for the softmax with its temperature."""
    z = excitation(x, layer.routing_network, training)
    return GATES[layer.gate](z / to_numpy(layer.temperature) if layer.gate == "softmax" else z)


def convolve(x, kernels, strides, padding):
    """A convolution with a kernel an example: (batch, rows, columns, channels[, filters])."""
    sizes = kernels.shape[1:3]
    if padding == "same":
        outputs = [-(-extent // stride) for extent, stride in zip(x.shape[1:3], strides, strict=True)]
        totals = [
            max((output - 1) * stride + size - extent, 0)
            for output, stride, size, extent in zip(outputs, strides, sizes, x.shape[1:3], strict=True)
        ]
        # TensorFlow puts the odd pixel at the end.
        x = np.pad(x, [(0, 0), *[(total // 2, total - total // 2) for total in totals], (0, 0)])
    rows = range(0, x.shape[1] - sizes[0] + 1, strides[0])
    columns = range(0, x.shape[2] - sizes[1] + 1, strides[1])
    subscripts = "bijc,bijcf->bf" if kernels.ndim == 5 else "bijc,bijc->bc"
    return np.stack(
        [
            np.stack(
                [np.einsum(subscripts, x[:, i : i + sizes[0], j : j + sizes[1]], kernels) for j in columns],
                axis=1,
            )
            for i in rows
        ],
        axis=1,
    )


def expected_output(layer, x, training=False):
    """(Σ πₖ(x) Wₖ) * x + b of section 3.2."""
    kernels = np.tensordot(coefficients(layer, x, training), to_numpy(layer.kernel), 1)
    outputs = convolve(x.astype("float64"), kernels, layer.strides, layer.padding)
    return outputs + (to_numpy(layer.bias) if layer.use_bias else 0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gate", GATES)
@both
def test_equals_section_3_2(rng, make, gate, training):
    x = images(rng, 4, 6, 5, CHANNELS)
    layer = built(make(3, gate=gate, hidden_units=4), rng)
    expected = expected_output(layer, x, training)
    np.testing.assert_allclose(layer(x, training=training), expected, **TOLERANCE)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@both
def test_geometry(rng, make, padding, strides, kernel_size):
    layer = built(make(kernel_size, strides=strides, padding=padding, hidden_units=4), rng)
    # A graph that learns the batch and the sizes only when it runs.
    graph = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, CHANNELS))])
    for shape in ((2, 7, 6), (1, 8, 5)):
        x = images(rng, *shape, CHANNELS)
        expected = expected_output(layer, x)
        np.testing.assert_allclose(layer(x), expected, **TOLERANCE)
        np.testing.assert_allclose(graph(x), expected, **TOLERANCE)
        assert layer.compute_output_shape(x.shape) == expected.shape


def test_rectangular_kernels_and_strides(rng):
    x = images(rng, 2, 7, 8, CHANNELS)
    layer = built(DynamicConv2D(5, (3, 2), strides=(1, 3)), rng)
    np.testing.assert_allclose(layer(x), expected_output(layer, x), **TOLERANCE)


@pytest.mark.filterwarnings("ignore:.*softmax over axis -1")
@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@both
def test_one_expert_is_keras(rng, make, padding, strides, kernel_size):
    x = images(rng, 2, 7, 6, CHANNELS)
    layer = built(make(kernel_size, strides=strides, padding=padding, experts=1), rng)
    arguments = {"strides": strides, "padding": padding}
    if isinstance(layer, DynamicConv2D):
        stock = keras.layers.Conv2D(5, kernel_size, **arguments)
    else:
        stock = keras.layers.DepthwiseConv2D(kernel_size, **arguments)
    stock.build(x.shape)
    stock.set_weights([to_numpy(layer.kernel).reshape(stock.kernel.shape), layer.bias])
    np.testing.assert_allclose(layer(x), stock(x), rtol=1e-5, atol=1e-5)


@both
def test_mixing_kernels_is_mixing_outputs(rng, make):
    """The convolution is linear in its kernel."""
    x = images(rng, 4, 6, 5, CHANNELS)
    layer = built(make(3, use_bias=False), rng)
    one_kernel = np.stack([np.stack([kernel] * len(x)) for kernel in to_numpy(layer.kernel)])
    outputs = np.stack([convolve(x, kernels, (1, 1), "same") for kernels in one_kernel], axis=1)
    mixed = np.einsum("bk,bk...->b...", coefficients(layer, x), outputs)
    np.testing.assert_allclose(layer(x), mixed, **TOLERANCE)


@both
def test_every_example_has_its_own_kernel(rng, make):
    x = images(rng, 3, 6, 5, CHANNELS)
    layer = built(make(3, hidden_units=4), rng)
    kernels = layer.mix(layer.routing(x)).numpy()
    assert len(kernels) == 3
    assert all(np.abs(kernels[a] - kernels[b]).max() > 1e-3 for a, b in ((0, 1), (0, 2), (1, 2)))
    # ... and so its output does not depend on the others in its batch.
    alone = np.concatenate([layer(x[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(layer(x), alone, rtol=1e-5, atol=1e-5)


@both
def test_temperature_changes_a_compiled_predict_and_is_saved(tmp_path, rng, make):
    x = images(rng, 2, 6, 5, CHANNELS)
    layer = built(make(3, temperature=30.0), rng)
    model = keras.Sequential([keras.Input((6, 5, CHANNELS)), layer])
    before = model.predict(x, verbose=0)
    layer.temperature.assign(0.5)
    after = model.predict(x, verbose=0)
    assert np.abs(after - before).max() > 1e-2
    np.testing.assert_allclose(after, expected_output(layer, x), **TOLERANCE)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.layers[0].temperature == 0.5
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), after)


@both
def test_temperature_is_the_softmaxs_alone_and_not_trained(make):
    layer = make(3, temperature=20.0)
    layer.build((None, None, None, CHANNELS))
    assert layer.temperature == 20
    assert "temperature" in [w.name for w in layer.non_trainable_weights]

    condconv = make(3, gate="sigmoid")
    condconv.build((None, None, None, CHANNELS))
    assert "temperature" not in [w.name for w in condconv.weights]


@both
def test_a_high_temperature_uses_all_kernels_alike(rng, make):
    layer = built(make(3), rng)
    layer.temperature.assign(1e6)
    pi = layer.routing(images(rng, 2, 6, 5, CHANNELS))
    np.testing.assert_allclose(pi, np.full((2, 4), 0.25), atol=1e-4)


@pytest.mark.parametrize(
    "initializer",
    [
        pytest.param(lambda: "glorot_uniform", id="unseeded"),
        pytest.param(lambda: keras.initializers.HeNormal(seed=3), id="number"),
        pytest.param(lambda: keras.initializers.HeNormal(keras.random.SeedGenerator(3)), id="generator"),
    ],
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_experts_differ_and_each_is_drawn_as_one_kernel(depthwise, initializer):
    if depthwise:
        layer = DynamicDepthwiseConv2D(3, kernel_initializer=initializer())
        stock = keras.layers.DepthwiseConv2D(3, depthwise_initializer=initializer())
    else:
        layer = DynamicConv2D(40, 3, kernel_initializer=initializer())
        stock = keras.layers.Conv2D(40, 3, kernel_initializer=initializer())
    channels = 400 if depthwise else 20
    layer.build((None, None, None, channels))
    stock.build((None, None, None, channels))
    kernels, kernel = to_numpy(layer.kernel), to_numpy(stock.kernel)
    for a in range(4):
        # At least 3,600 values: the relative error of their deviation is 1 / √7200 = 1.2 %.
        assert kernels[a].std() == pytest.approx(kernel.std(), rel=0.07)
        for b in range(a):
            assert abs(np.corrcoef(kernels[a].ravel(), kernels[b].ravel())[0, 1]) < 0.1


def test_a_seed_gives_the_same_kernels_again():
    def kernel():
        layer = DynamicConv2D(4, 3, kernel_initializer=keras.initializers.HeNormal(seed=3))
        layer.build((None, None, None, CHANNELS))
        return layer.kernel.numpy()

    np.testing.assert_array_equal(kernel(), kernel())


def test_hidden_units_are_a_quarter_of_the_channels():
    for channels, hidden in ((16, 4), (3, 1)):
        layer = DynamicConv2D(4, 1)
        layer.build((None, None, None, channels))
        assert layer.routing_network.hidden_units == hidden


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experts": 0}, r"`experts` must be a positive integer. Received: experts=0"),
        ({"experts": 2.5}, r"`experts` must be a positive integer. Received: experts=2.5"),
        ({"temperature": 0}, r"`temperature` must be a positive, finite number. Received: temperature=0"),
        ({"temperature": np.nan}, r"`temperature` must be a positive.* Received: temperature=nan"),
        ({"temperature": "hot"}, r"`temperature` must be a positive.* Received: temperature='hot'"),
        ({"padding": "causal"}, r"`padding` must be one of \('same', 'valid'\). Received: padding='causal'"),
        ({"strides": 0}, r"`strides` must be a positive integer or a pair of them. Received: strides=0"),
        ({"strides": (1, 2, 3)}, r"`strides` must be .* Received: strides=\(1, 2, 3\)"),
        ({"gate": "max"}, r"`gate` must be one of .* Received: gate='max'"),
        ({"groups": 2}, r"`groups` must be 1 in a dynamic convolution. Received: groups=2"),
        ({"depth_multiplier": 2}, r"`depth_multiplier` must be 1 .* Received: depth_multiplier=2"),
        ({"strides": 2, "dilation_rate": 2}, r"`strides` or `dilation_rate` must be 1, as in Keras"),
        ({"hidden_units": 0}, r"`hidden_units` must be a positive integer. Received: hidden_units=0"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\). Received: dropout=1.0"),
    ],
)
@both
def test_wrong_arguments(make, arguments, message):
    if set(arguments) & ({"groups"} if make is DynamicDepthwiseConv2D else {"depth_multiplier"}):
        pytest.skip("the other kind's")
    with pytest.raises(ValueError, match=message):
        make(3, **arguments)


@both
def test_kernel_larger_than_the_image(make):
    with pytest.raises(
        ValueError, match=r"Received: kernel_size=\(5, 5\), dilation_rate=\(1, 1\), shape=\(2, 6, 3, 3\)"
    ):
        make(5, padding="valid")(np.ones((2, 6, 3, CHANNELS), "float32"))


def test_wrong_arguments_of_one_kind():
    with pytest.raises(ValueError, match=r"`filters` must be a positive integer. Received: filters=0"):
        DynamicConv2D(0, 3)
    with pytest.raises(ValueError, match=r"`kernel_size` must be .* Received: kernel_size='3'"):
        DynamicConv2D(4, "3")
    with pytest.raises(ValueError, match=r"`strides` must be equal .* Received: strides=\(1, 2\)"):
        DynamicDepthwiseConv2D(3, strides=(1, 2))
