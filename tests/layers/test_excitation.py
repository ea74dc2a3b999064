import keras
import numpy as np
import pytest
import tensorflow as tf
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


class TestTrainingPass:
    """On TensorFlow a branch in training is a function with its own gradient, elsewhere Keras's layers."""

    def expected(self, layer, x, mask):
        """F(x) of the layer's weights in Keras's operations, and the moving averages after it."""

        def norm(layer, x):
            x = keras.ops.cast(x, "float32")
            mean, variance = keras.ops.moments(x, axes=0)
            for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
                moved.append(layer.momentum * to_numpy(moving) + (1 - layer.momentum) * to_numpy(value))
            y = (x - mean) / keras.ops.sqrt(variance + layer.epsilon) * layer.gamma + layer.beta
            return keras.ops.cast(y, layer.compute_dtype)

        def dense(layer, x):
            y = keras.ops.matmul(x, keras.ops.cast(layer.kernel, layer.compute_dtype))
            return y if layer.bias is None else y + keras.ops.cast(layer.bias, layer.compute_dtype)

        moved = []
        h = keras.ops.relu(norm(layer.squeeze_bn, dense(layer.squeeze, x))) * keras.ops.cast(mask, x.dtype)
        return norm(layer.excite_bn, dense(layer.excite, h)), moved

    @pytest.mark.parametrize("use_bias", [False, True])
    @pytest.mark.parametrize("dropout", [0.0, 0.5])
    @pytest.mark.parametrize(
        # bfloat16 has 8 bits, and the gradient passes a dozen roundings.
        ("policy", "tolerance"),
        [("float32", 2e-5), ("mixed_bfloat16", 16 * 2**-8)],
    )
    def test_equals_automatic_differentiation(self, rng, use_bias, dropout, policy, tolerance):
        layer = Excitation(5, 3, dropout=dropout, use_bias=use_bias, dtype=policy)
        layer.build((None, 4))
        randomize(layer, rng)
        mask = rng.integers(0, 2, (7, 3)) / 0.5 if dropout else np.ones((7, 3))
        if dropout:
            layer.drop = lambda ones, training: tf.cast(mask, ones.dtype)
        x, upstream = (tf.constant(images(rng, 7, n), layer.compute_dtype) for n in (4, 5))
        results = []
        for call in (
            lambda x: self.expected(layer, x, mask),
            tf.function(lambda x: (layer(x, training=True), None)),
        ):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y, moved = call(x)
                loss = tf.reduce_sum(tf.cast(y * upstream, "float32"))
            results.append([to_numpy(t) for t in (y, *tape.gradient(loss, [x, *layer.trainable_variables]))])
            if moved:
                expected_moved = moved
        assert len(results[0]) == len(results[1]) == 2 + (8 if use_bias else 6)
        for ours, expected in zip(results[1], results[0], strict=True):
            scale = max(1, np.abs(expected).max())
            np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance * scale)
        norms = layer.squeeze_bn, layer.excite_bn
        moving = [to_numpy(v) for norm in norms for v in (norm.moving_mean, norm.moving_variance)]
        for ours, expected in zip(moving, expected_moved, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance)

    def test_branches_of_all_shapes_share_a_function(self):
        """Otherwise a network's first step takes twice as long, and nothing else shows it."""

        def functions(*sizes):
            layers = [Excitation(units, hidden) for _, hidden, units in sizes]

            @tf.function
            def gradients(*inputs):
                with tf.GradientTape() as tape:
                    loss = tf.add_n(
                        [tf.reduce_sum(f(x, training=True)) for f, x in zip(layers, inputs, strict=True)]
                    )
                return tape.gradient(loss, [w for layer in layers for w in layer.trainable_variables])

            for layer, (channels, _, _) in zip(layers, sizes, strict=True):
                layer.build((None, channels))
            specs = [tf.TensorSpec((None, channels)) for channels, _, _ in sizes]
            graph = gradients.get_concrete_function(*specs).graph
            calls = [op for op in graph.get_operations() if op.type == "PartitionedCall"]
            return len(graph.as_graph_def().library.function), len(calls)

        assert functions((4, 2, 3)) == (2, 2)
        assert functions((4, 2, 3), (8, 6, 5), (16, 16, 16)) == (2, 6)
