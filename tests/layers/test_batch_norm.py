import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import images, randomize, to_numpy

from sb_keras.layers import BatchNormalization

# The largest relative error of one rounding, times a few for the sums that come in another order.
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 4 * 2**-8, "mixed_float16": 4 * 2**-11}


def pair(shape, rng, **arguments):
    """Our layer and Keras's, with the same arguments and random weights."""
    arguments = {"momentum": 0.9, "epsilon": 1e-5, **arguments}
    layers = BatchNormalization(**arguments), keras.layers.BatchNormalization(**arguments)
    for layer in layers:
        layer.build(shape)
    randomize(layers[0], rng)
    layers[1].set_weights(layers[0].get_weights())
    return layers


def step(layer, x, upstream):
    """Output and gradients (of the input first) of one call in training mode, in double precision."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, "float32") * upstream)
    return [to_numpy(t) for t in (y, *tape.gradient(loss, [x, *layer.trainable_variables]))]


def assert_close(ours, stock, tolerance):
    assert len(ours) == len(stock)
    for a, b in zip(ours, stock, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()))


def test_defaults_are_pytorchs():
    layer = BatchNormalization()
    assert (layer.momentum, layer.epsilon, layer.axis) == (0.9, 1e-5, -1)


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((4, 5, 6, 3), {}),
        ((4, 5, 6, 3), {"axis": 3}),
        ((4, 5, 6, 3), {"axis": 1}),
        ((4, 5, 6, 3), {"scale": False}),
        ((4, 5, 6, 3), {"center": False}),
        ((4, 5, 6, 3), {"momentum": 0.5, "epsilon": 0.1}),
        ((8, 3), {}),
        ((4, 5, 3), {}),
        ((2, 1, 1, 3), {}),
    ],
)
def test_three_steps_equal_keras(rng, shape, arguments, policy):
    ours, stock = pair(shape, rng, dtype=policy, **arguments)
    tolerance = TOLERANCE[policy]
    for _ in range(3):
        x, upstream = 3 * images(rng, *shape) + 5, images(rng, *shape)
        assert_close(step(ours, x, upstream), step(stock, x, upstream), tolerance)
        # The statistics are in single precision, whatever the policy, of inputs that are not.
        assert_close(ours.get_weights(), stock.get_weights(), tolerance)
    y = ours(x)
    assert y.dtype == ours.compute_dtype
    assert_close([to_numpy(y)], [to_numpy(stock(x))], tolerance)


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (8, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_inputs_of_another_type_equal_keras(rng, shape, dtype):
    """Keras casts what it is given; integers, and with `autocast=False` nothing, come as they are."""
    ours, stock = pair(shape, rng, autocast=False)
    x = rng.integers(0, 256, shape).astype(dtype)
    np.testing.assert_allclose(ours(x, training=True), stock(x, training=True), rtol=1e-5, atol=1e-5)
    assert_close(ours.get_weights(), stock.get_weights(), 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_pure_policies_equal_keras(rng, dtype):
    ours, stock = pair((4, 5, 6, 3), rng, dtype=dtype)
    x = images(rng, 4, 5, 6, 3)
    np.testing.assert_array_equal(to_numpy(ours(x, training=True)), to_numpy(stock(x, training=True)))


def test_the_fused_kernel_is_used_for_training_on_feature_maps():
    """Otherwise a training step takes twice as long, and nothing else shows it."""

    def operations(shape, training):
        layer = BatchNormalization()
        call = tf.function(lambda x: layer(x, training=training))
        graph = call.get_concrete_function(tf.TensorSpec(shape)).graph
        return {operation.type for operation in graph.get_operations()}

    assert "FusedBatchNormV3" in operations((None, 5, 6, 3), True)
    assert "FusedBatchNormV3" in operations((None, None, None, 3), True)
    assert "FusedBatchNormV3" not in operations((None, 3), True)
    assert "FusedBatchNormV3" not in operations((None, 5, 6, 3), False)


def test_training_in_graph_mode_with_unknown_sizes(rng):
    ours, stock = pair((None, None, None, 3), rng)
    call = tf.function(
        lambda x: ours(x, training=True), input_signature=[tf.TensorSpec((None, None, None, 3))]
    )
    for shape in ((4, 5, 6, 3), (1, 7, 2, 3)):
        x = images(rng, *shape)
        assert_close([call(x).numpy()], [stock(x, training=True).numpy()], 1e-5)
        assert_close(ours.get_weights(), stock.get_weights(), 1e-5)


def test_one_value_a_channel_is_not_nan(rng):
    """The kernel's unbiased variance is n / (n − 1) times the one that is averaged, and here n = 1."""
    ours, stock = pair((1, 1, 1, 3), rng)
    x, upstream = images(rng, 1, 1, 1, 3), images(rng, 1, 1, 1, 3)
    assert_close(step(ours, x, upstream), step(stock, x, upstream), 1e-5)
    assert_close(ours.get_weights(), stock.get_weights(), 1e-5)


def test_frozen_is_inference(rng):
    ours, stock = pair((4, 5, 6, 3), rng)
    ours.trainable = stock.trainable = False
    before = ours.get_weights()
    x = images(rng, 4, 5, 6, 3)
    np.testing.assert_array_equal(ours(x, training=True), stock(x, training=True))
    np.testing.assert_array_equal(ours(x, training=True), ours(x, training=False))
    np.testing.assert_array_equal(ours.get_weights(), before)


@pytest.mark.parametrize("ours_writes", [True, False])
def test_weight_files_are_keras(tmp_path, rng, ours_writes):
    x = images(rng, 4, 5, 6, 3)
    writer, reader = (
        keras.Sequential([keras.Input((5, 6, 3)), layer])
        for layer in pair(x.shape, rng)[:: 1 if ours_writes else -1]
    )
    expected = writer(x)
    writer.save_weights(tmp_path / "norm.weights.h5")
    reader.set_weights([np.zeros_like(w) for w in reader.get_weights()])
    reader.load_weights(tmp_path / "norm.weights.h5")
    np.testing.assert_array_equal(reader(x), expected)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_conv_norm_activation_at_inference_in_graph_mode(rng, activation):
    """A fused normalization would do here, were it not for a graph optimizer that fuses it with the tanh."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            BatchNormalization(),
            keras.layers.Activation(activation),
        ]
    )
    x = images(rng, 3, 8, 8, 3)
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x), rtol=1e-5, atol=1e-6)
