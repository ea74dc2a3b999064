"""Batch normalization of a 1×1 convolution in training, without a pass over what is normalized.

An expand convolution makes few channels many: y = x · W has six times the channels of x. What has to be
known of y to normalize it, its moments, is in those of x:

    E[y] = E[x] · W,  Var[y_k] = W_kᵀ · Cov[x] · W_k

and (y − E[y]) γ/σ + β = x · (W γ/σ) + (β − E[y] γ/σ) is a convolution with another kernel. So y is neither
written nor read, forwards or for the gradient, and convolution, normalization and ReLU6 are one pass.
With Shift-and-Balance attention before the normalization, y = x · W + s with a shift s of every example,
the moments are those of x, of s, and of the examples' averages of x together with s.

The layers stay what they are. A convolution leaves its input and its kernel with its output
(`note_product`), and the normalization takes them from there.
"""

import functools
from typing import Any, NamedTuple

import keras

# Output channels over input channels from which the covariance costs less than it saves.
LEAST_EXPANSION = 2


class Product(NamedTuple):
    """What a feature map y = x · W + s was computed from."""

    x: Any  # (batch, height, width, channels)
    kernel: Any  # (channels, filters)
    shift: Any = None  # (batch, filters)


def product_of(outputs):
    """The `Product` that a feature map is, or None where that isn't known."""
    return getattr(outputs, "_sb_keras_product", None)


def note_product(outputs, product):
    """Leaves with a feature map what it was computed from.

    Only in a graph, where nothing is computed that nobody reads, and in single precision.
    """
    if keras.backend.backend() == "tensorflow" and not tf.executing_eagerly() and outputs.dtype == tf.float32:
        outputs._sb_keras_product = product
    return outputs


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from sb_keras.called import called
    from sb_keras.layers.channelwise import averages_of, expand
    from sb_keras.layers.moving_average import moved_average

    def train_product(norm, product):
        """BN(x · W + s) of a batch in training; moves the moving averages.

        Args:
            norm: A `BatchNormalization`.
            product: A `Product`.

        Returns:
            The normalized feature map.
        """
        x, kernel, shift = product
        channels, filters = kernel.shape
        _, height, width, _ = keras.ops.shape(x)
        forward, backward = _functions(norm.epsilon, norm.momentum, shift is not None)
        moving, moved = (norm.moving_mean, norm.moving_variance), []

        @tf.custom_gradient
        def normalize(x, *weights):
            scaled, offset, *values = forward(x, weights, [tf.convert_to_tensor(v) for v in moving])
            moved.extend(values[:2])
            moments = values[2:]

            def gradient(upstream):
                sums = [] if shift is None else [averages_of(upstream)]
                by_x, *by_weights = backward(upstream, sums, x, scaled, moments, weights)
                by_x.set_shape(x.shape)
                return by_x, *by_weights

            if shift is None:  # of a convolution, its bias and a ReLU6 TensorFlow makes one pass
                kernels = tf.reshape(scaled, (1, 1, channels, filters))
                y = tf.nn.bias_add(tf.nn.conv2d(x, kernels, 1, "SAME"), tf.reshape(offset, (filters,)))
            else:
                y = tf.matmul(tf.reshape(x, (-1, channels)), scaled)
                y = tf.reshape(y, (-1, height, width, filters)) + expand(offset, filters)
            return y, gradient

        weights = [kernel, norm.gamma, norm.beta, *([] if shift is None else [shift])]
        y: Any = normalize(x, *map(tf.convert_to_tensor, weights))
        for variable, value in zip(moving, moved, strict=True):
            value.set_shape(variable.shape)
            variable.assign(value)
        return y

    @functools.cache
    def _functions(epsilon, momentum, shifts):
        """All of it but the product itself, for feature maps of all shapes, and its gradient."""
        maps, rows, vector = (tf.TensorSpec((None,) * rank) for rank in (4, 2, 1))
        shift = [rows] * shifts
        moments, weights = [rows, rows], (rows, vector, vector, *shift)

        def scale(averages, covariance, kernel, gamma, beta, *shift):
            """Kernel and offset of the normalized product, and the mean and the variance of the product.

            `averages` are those of the examples, or of all of them together where there is no shift.
            """
            mean = tf.matmul(tf.reduce_mean(averages, axis=0, keepdims=True), kernel)
            variance = tf.reduce_sum(kernel * tf.matmul(covariance, kernel), axis=0)
            offset = -mean
            if shift:
                shift_mean = tf.reduce_mean(shift[0], axis=0, keepdims=True)
                shifted, products = shift[0] - shift_mean, tf.matmul(averages, kernel) - mean
                variance += tf.reduce_mean(shifted * (shifted + 2.0 * products), axis=0)
                offset, mean = shifted - mean, mean + shift_mean
            factor = gamma * tf.math.rsqrt(tf.maximum(variance, 0.0) + epsilon)
            return kernel * factor, offset * factor + beta, mean[0], variance

        def forward(x, weights, moving):
            rows = tf.reshape(x, (-1, tf.shape(x)[-1]))
            if shifts:
                averages = tf.reduce_mean(x, axis=(1, 2))
                mean = tf.reduce_mean(averages, axis=0)
            else:
                averages = mean = tf.reduce_mean(rows, axis=0, keepdims=True)
            # Not E[xxᵀ] − E[x]E[x]ᵀ, in which a channel that hardly varies about a large mean would drown.
            centred = rows - mean
            covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(rows)[0], x.dtype)
            scaled, offset, *statistics = scale(averages, covariance, *weights)
            pairs = zip(moving, statistics, strict=True)
            moved = [moved_average(old, new, momentum) for old, new in pairs]
            return [scaled, offset, *moved, averages, covariance]

        def backward(upstream, sums, x, scaled, moments, weights):
            rows, flat = (tf.reshape(t, (-1, tf.shape(t)[-1])) for t in (x, upstream))
            count, examples = (tf.cast(tf.shape(t)[0], x.dtype) for t in (rows, moments[0]))
            by_scaled = tf.matmul(rows, flat, transpose_a=True)
            if shifts:
                by_offset = sums[0] * (count / examples)
            else:  # as a product, a sum over rows is faster than TensorFlow's reductions
                by_offset = tf.matmul(tf.ones((1, tf.shape(rows)[0]), x.dtype), flat)
            arguments = (*moments, *weights)
            with tf.GradientTape() as tape:
                tape.watch(arguments)
                outputs = scale(*arguments)[:2]
            by_averages, by_covariance, *by_weights = tape.gradient(
                outputs, arguments, output_gradients=[by_scaled, by_offset]
            )
            # Of the covariance, by every row: its distance to the mean, times this.
            by_rows = (by_covariance + tf.transpose(by_covariance)) / count
            mean = tf.reduce_mean(moments[0], axis=0, keepdims=True)
            by_averages = by_averages * (examples / count) - tf.matmul(mean, by_rows)
            by_x = tf.matmul(flat, scaled, transpose_b=True) + tf.matmul(rows, by_rows)
            by_x = tf.reshape(by_x, tf.shape(x)) + by_averages[:, None, None]
            return [by_x, *by_weights]

        return (
            called(forward, [maps, weights, [vector] * 2]),
            called(backward, [maps, shift, maps, rows, moments, weights]),
        )
