"""Batch normalization of a 1×1 convolution in training, without a pass over what is normalized.

An expand convolution makes few channels many: y = x · W has six times the channels of x. What has to be
known of y to normalize it, its moments, is in those of x:

    E[y] = E[x] · W,  Var[y_k] = W_kᵀ · Cov[x] · W_k

and (y − E[y]) γ/σ + β = x · (W γ/σ) + (β − E[y] γ/σ) is a convolution with another kernel. So y is neither
written nor read, forwards or for the gradient. With Shift-and-Balance attention before the normalization,
y = x · W + s with a shift s of every example, the moments are those of x, of s, and of the examples'
averages of x together with s.

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
    from sb_keras.layers.moving_average import assign_moved, moved_average

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
            kept = values[2:]

            def gradient(upstream):
                sums = [] if shift is None else [averages_of(upstream)]
                by_x, *by_weights = backward(upstream, sums, x, scaled, weights, kept)
                by_x.set_shape(x.shape)
                return by_x, *by_weights

            # Not as a convolution: with its bias and a ReLU6 TensorFlow would make one kernel of it, which
            # is faster and makes zeros of NaN. A training that diverges has to be seen.
            y = tf.matmul(tf.reshape(x, (-1, channels)), scaled)
            if shift is None:
                y = tf.nn.bias_add(y, tf.reshape(offset, (filters,)))
                return tf.reshape(y, (-1, height, width, filters)), gradient
            return tf.reshape(y, (-1, height, width, filters)) + expand(offset, filters), gradient

        weights = [kernel, norm.gamma, norm.beta, *([] if shift is None else [shift])]
        y: Any = normalize(x, *map(tf.convert_to_tensor, weights))
        assign_moved(moving, moved)
        return y

    @functools.cache
    def _functions(epsilon, momentum, shifts):
        """All of it but the product itself, for feature maps of all shapes, and its gradient.

        With a the averages of the examples of x, m and C the mean and the covariance of x, q = s − E[s], and
        v the variance of y:

            v_k = W_kᵀ C W_k + E[q_k (q_k + 2 (a − m) W_k)],  f = γ / √(v + ε)
            BN(y) = x · Wf + (q − mW) f + β
        """
        maps, rows, vector = (tf.TensorSpec((None,) * rank) for rank in (4, 2, 1))
        weights = (rows, vector, vector, *[rows] * shifts)
        # 1/√(v + ε) and f, the mean of x and C · W; of the examples a, q and a · W − m · W
        kept = [vector, vector, rows, rows, *[rows] * 3 * shifts]

        def forward(x, weights, moving):
            kernel, gamma, beta, *shift = weights
            flat = tf.reshape(x, (-1, tf.shape(x)[-1]))
            averages = tf.reduce_mean(x, axis=(1, 2)) if shift else flat
            mean = tf.reduce_mean(averages, axis=0, keepdims=True)
            # Not E[xxᵀ] − E[x]E[x]ᵀ, in which a channel that hardly varies about a large mean would drown.
            centred = flat - mean
            covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(flat)[0], x.dtype)
            product_mean, products = tf.matmul(mean, kernel), tf.matmul(covariance, kernel)
            variance = tf.reduce_sum(kernel * products, axis=0)
            of_examples, total_mean, offset = [], product_mean, -product_mean
            if shift:
                shift_mean = tf.reduce_mean(shift[0], axis=0, keepdims=True)
                q, distance = shift[0] - shift_mean, tf.matmul(averages, kernel) - product_mean
                variance += tf.reduce_mean(q * (q + 2.0 * distance), axis=0)
                total_mean, offset = product_mean + shift_mean, q - product_mean
                of_examples = [averages, q, distance]
            inverse = tf.math.rsqrt(tf.maximum(variance, 0.0) + epsilon)
            factor = gamma * inverse
            pairs = zip(moving, (total_mean[0], variance), strict=True)
            moved = [moved_average(old, new, momentum) for old, new in pairs]
            kept = [inverse, factor, mean, products, *of_examples]
            return [kernel * factor, offset * factor + beta, *moved, *kept]

        def backward(upstream, sums, x, scaled, weights, kept):
            kernel, *_ = weights
            inverse, factor, mean, products, *of_examples = kept
            flat, by_y = (tf.reshape(t, (-1, tf.shape(t)[-1])) for t in (x, upstream))
            count = tf.cast(tf.shape(flat)[0], x.dtype)
            by_scaled = tf.matmul(flat, by_y, transpose_a=True)
            if of_examples:
                averages, q, distance = of_examples
                examples = tf.cast(tf.shape(averages)[0], x.dtype)
                by_offset = sums[0] * (count / examples)
                by_beta = tf.reduce_sum(by_offset, axis=0, keepdims=True)
                by_factor = tf.reduce_sum(by_offset * q, axis=0)
            else:  # as a product, a sum over rows is faster than TensorFlow's reductions
                by_beta = tf.matmul(tf.ones((1, tf.shape(flat)[0]), x.dtype), by_y)
                by_factor = 0.0
            by_factor += tf.reduce_sum(by_scaled * kernel, axis=0)
            by_factor -= by_beta[0] * tf.matmul(mean, kernel)[0]
            by_variance = by_factor * factor * inverse * inverse * -0.5
            by_mean = by_beta * factor
            by_products = kernel * (2.0 / count * by_variance)
            by_kernel = by_scaled * factor + 2.0 * products * by_variance
            by_kernel -= tf.matmul(mean, by_mean, transpose_a=True)
            # Of every row of x: by the product, and by the covariance for its distance to the mean.
            by_rows = tf.matmul(by_products, kernel, transpose_b=True)
            by_x = tf.matmul(by_y, scaled, transpose_b=True) + tf.matmul(flat, by_rows)
            by_all = -tf.matmul(by_mean, kernel, transpose_b=True) / count - tf.matmul(mean, by_rows)
            by_shift = []
            if of_examples:
                by_distance = q * (2.0 / examples * by_variance)
                by_q = by_offset * factor + by_distance + distance * (2.0 / examples * by_variance)
                by_shift = [by_q - tf.reduce_mean(by_q, axis=0)]
                by_kernel += tf.matmul(averages, by_distance, transpose_a=True)
                by_all += tf.matmul(by_distance, kernel, transpose_b=True) * (examples / count)
            by_x = tf.reshape(by_x, tf.shape(x)) + by_all[:, None, None]
            return [by_x, by_kernel, by_factor * inverse, by_beta[0], *by_shift]

        return (
            called(forward, [maps, weights, [vector] * 2]),
            called(backward, [maps, [rows] * shifts, maps, rows, weights, kept]),
        )
