"""A training step's pass through an attention branch F on TensorFlow: one call forwards, one backwards.

Layer by layer, a branch is a hundred small operations with their gradients, and a MobileNetV2 with SB in
every layer has 51: they took four fifths of the time to trace a step and to prepare its graph. The
functions here are traced once for branches of all shapes; a step's graph has a call where a branch was.
"""

import functools
from typing import Any

import tensorflow as tf

from sb_keras.called import called
from sb_keras.layers.channelwise import global_average
from sb_keras.layers.moving_average import assign_moved, moved_average


def train_branch(excitation, inputs):
    """F(x) = BN(W₂ · Dropout(ReLU(BN(W₁ · GAP(x))))) of a batch in training; moves the moving averages.

    Args:
        excitation: An `Excitation` with batch normalization.
        inputs: Feature maps or their averages.

    Returns:
        F(x), before the gate.
    """
    x: Any = global_average(inputs) if len(inputs.shape) == 4 else inputs
    dense, norms = (excitation.squeeze, excitation.excite), (excitation.squeeze_bn, excitation.excite_bn)
    mask = []
    if excitation.drop is not None:  # which scales what it keeps: its mask is what it makes of ones
        ones = tf.ones((tf.shape(x)[0], excitation.hidden_units), x.dtype)
        mask.append(excitation.drop(ones, training=True))
    forward, backward = _functions(
        x.dtype.name, excitation.use_bias, bool(mask), *((norm.epsilon, norm.momentum) for norm in norms)
    )
    moving = [v for norm in norms for v in (norm.moving_mean, norm.moving_variance)]
    moved = []

    @tf.custom_gradient
    def branch(x, *weights):
        y, values, kept = forward(x, mask, weights, [tf.convert_to_tensor(v) for v in moving])
        moved.extend(values)

        def gradient(upstream):
            return backward(upstream, x, mask, weights, kept)

        return y, gradient

    weights = [layer.kernel for layer in dense]
    weights += [layer.bias for layer in dense] if excitation.use_bias else []
    weights += [norm.gamma for norm in norms] + [norm.beta for norm in norms]
    y: Any = branch(x, *(tf.convert_to_tensor(w) for w in weights))
    assign_moved(moving, moved)
    y.set_shape((x.shape[0], excitation.units))
    return y


@functools.cache
def _functions(dtype, use_bias, dropout, squeeze_norm, excite_norm):
    """The pass of all branches of a kind, and its gradient; a norm is its (epsilon, momentum)."""
    rows, vector = tf.TensorSpec((None, None), dtype), tf.TensorSpec((None,), "float32")
    mask = [rows] * dropout
    weights = (rows, rows, *[tf.TensorSpec((None,), dtype)] * 2 * use_bias, *[vector] * 4)
    normalized = tf.TensorSpec((None, None), "float32")
    kept = [normalized, vector, rows, normalized, vector]

    def forward(x, mask, weights, moving):
        squeeze, excite, *biases, squeeze_gamma, excite_gamma, squeeze_beta, excite_beta = weights
        h = tf.matmul(x, squeeze)
        h = h + biases[0] if use_bias else h
        h, statistics, kept = _normalize(h, squeeze_gamma, squeeze_beta, squeeze_norm[0])
        h = tf.nn.relu(h)
        h = h * mask[0] if dropout else h
        y = tf.matmul(h, excite)
        y = y + biases[1] if use_bias else y
        y, more_statistics, more_kept = _normalize(y, excite_gamma, excite_beta, excite_norm[0])
        momentums = (squeeze_norm[1],) * 2 + (excite_norm[1],) * 2
        moved = [
            moved_average(old, new, momentum)
            for old, new, momentum in zip(moving, statistics + more_statistics, momentums, strict=True)
        ]
        return y, moved, [*kept, h, *more_kept]

    def backward(upstream, x, mask, weights, kept):
        squeeze, excite, *_, squeeze_gamma, excite_gamma, _, _ = weights
        squeezed, squeezed_inverse, h, excited, excited_inverse = kept
        upstream, by_excite_gamma, by_excite_beta = _normalize_gradient(
            upstream, excite_gamma, excited, excited_inverse
        )
        by_excite = tf.matmul(h, upstream, transpose_a=True)
        by_excite_bias = tf.reduce_sum(upstream, axis=0)
        upstream = tf.matmul(upstream, excite, transpose_b=True)
        upstream = upstream * mask[0] if dropout else upstream
        upstream = tf.where(h > 0, upstream, 0)
        upstream, by_squeeze_gamma, by_squeeze_beta = _normalize_gradient(
            upstream, squeeze_gamma, squeezed, squeezed_inverse
        )
        by_squeeze = tf.matmul(x, upstream, transpose_a=True)
        by_squeeze_bias = tf.reduce_sum(upstream, axis=0)
        by_biases = [by_squeeze_bias, by_excite_bias] if use_bias else []
        by_norms = [by_squeeze_gamma, by_excite_gamma, by_squeeze_beta, by_excite_beta]
        return [tf.matmul(upstream, squeeze, transpose_b=True), by_squeeze, by_excite, *by_biases, *by_norms]

    return (
        called(forward, [rows, mask, weights, [vector] * 4]),
        called(backward, [rows, rows, mask, weights, kept]),
    )


def _normalize(x, gamma, beta, epsilon):
    """Normalized rows (batch, channels); their mean and variance; what the gradient needs."""
    rows = tf.cast(x, "float32")  # halves are normalized in single precision, as Keras does
    mean = tf.reduce_mean(rows, axis=0)
    centred = rows - mean
    variance = tf.reduce_mean(tf.square(centred), axis=0)
    inverse = tf.math.rsqrt(variance + epsilon)
    normalized = centred * inverse
    return tf.cast(normalized * gamma + beta, x.dtype), [mean, variance], [normalized, inverse]


def _normalize_gradient(upstream, gamma, normalized, inverse):
    """With x̂ = (x − μ) / σ and y = γ x̂ + β, and Σ over the batch of n, the gradients of x, γ and β:

    ∂ℓ/∂β = Σ ∂ℓ/∂y,  ∂ℓ/∂γ = Σ x̂ ∂ℓ/∂y,  ∂ℓ/∂x = γ/σ (∂ℓ/∂y − (∂ℓ/∂β + x̂ ∂ℓ/∂γ) / n)
    """
    by_y = tf.cast(upstream, "float32")
    by_beta = tf.reduce_sum(by_y, axis=0)
    by_gamma = tf.reduce_sum(by_y * normalized, axis=0)
    count = tf.cast(tf.shape(by_y)[0], "float32")
    by_x = gamma * inverse * (by_y - (by_beta + normalized * by_gamma) / count)
    return tf.cast(by_x, upstream.dtype), by_gamma, by_beta
