"""The passes of attention over feature maps (batch, height, width, channels): average, shift, scale.

What is one value a channel has the shape (batch, channels). On TensorFlow each function has a gradient of
its own. Automatic differentiation goes over the feature map once more in each: the gradient of a mean
is divided after it was tiled, that of a broadcast is reduced by a general reduction, and the batch size,
known only when running, adds a dozen small operations.
"""

from typing import Any

import keras
from keras import ops


def global_average(inputs):
    """Mean over height and width: g = Σ x / (H · W), of shape `(batch, channels)`.

    Gradient: ∂ℓ/∂x = (∂ℓ/∂g) / (H · W) at every position; divided first, tiled then.
    """
    return _global_average(inputs) if _tensorflow() else ops.mean(inputs, axis=(1, 2))


def with_average(inputs) -> Any:
    """x itself and its `global_average` g, for a convolution and the attention beside it.

    Gradient: ∂ℓ/∂x + (∂ℓ/∂g) / (H · W) in one pass. Where each has its own way to x, the second is first
    written as a feature map and then added.
    """
    return _with_average(inputs) if _tensorflow() else (inputs, global_average(inputs))


def add_channelwise(inputs, shift):
    """y = x + s, the same shift at every position of a channel.

    Gradient: ∂ℓ/∂x = ∂ℓ/∂y, which costs nothing, and ∂ℓ/∂s = Σ ∂ℓ/∂y over the positions.
    """
    return _add(inputs, shift) if _tensorflow() else inputs + expand(shift)


def multiply_channelwise(inputs, scale):
    """y = x · a, the same factor at every position of a channel.

    Gradient: ∂ℓ/∂x = a · ∂ℓ/∂y and ∂ℓ/∂a = Σ x · ∂ℓ/∂y over the positions.
    """
    return _multiply(inputs, scale) if _tensorflow() else inputs * expand(scale)


def _tensorflow():
    return keras.backend.backend() == "tensorflow"


def expand(values, channels=None):
    return ops.reshape(values, (-1, 1, 1, channels or values.shape[-1]))


if _tensorflow():
    import tensorflow as tf

    def averages_of(x):
        height, width = x.shape[1:3]
        if height is None or width is None or x.dtype != tf.float32:
            return ops.mean(x, axis=(1, 2))  # sums halves in float32
        # The pooling kernel reads a feature map faster than the general reduction. It adds one number after
        # the other: a row first and then the rows, so that the rounding does not grow with the area.
        rows = tf.nn.avg_pool2d(x, (1, width), (1, width), "VALID")
        return tf.reshape(tf.nn.avg_pool2d(rows, (height, 1), 1, "VALID"), (-1, x.shape[-1]))

    def _positions(x):
        """Height, width and their product, which in float16 would be infinite from 256×256 on."""
        _, height, width, _ = x.shape
        if height is None or width is None:
            height, width = tf.unstack(tf.shape(x)[1:3])
            return height, width, tf.cast(height * width, tf.float32)
        return height, width, float(height * width)

    def _wide(x):
        return tf.cast(x, tf.float32) if x.dtype.size < 4 else x

    def _sums_of(x, count):
        if x.dtype == tf.float32:
            return averages_of(x) * count
        return tf.cast(tf.reduce_sum(_wide(x), axis=(1, 2)), x.dtype)

    def _shares_of(sums, count):
        wide = _wide(sums)
        return tf.cast(wide / tf.cast(count, wide.dtype), sums.dtype)

    @tf.custom_gradient
    def _global_average(x):
        height, width, count = _positions(x)

        def gradient(upstream):
            return tf.tile(expand(_shares_of(upstream, count), x.shape[-1]), (1, height, width, 1))

        return averages_of(x), gradient

    @tf.custom_gradient
    def _with_average(x):
        count = _positions(x)[-1]

        def gradient(upstream, upstream_of_average):
            return upstream + expand(_shares_of(upstream_of_average, count), x.shape[-1])

        return (tf.identity(x), averages_of(x)), gradient

    @tf.custom_gradient
    def _add(x, shift):
        count = _positions(x)[-1]

        def gradient(upstream):
            return upstream, _sums_of(upstream, count)

        return x + expand(shift), gradient

    @tf.custom_gradient
    def _multiply(x, scale):
        count = _positions(x)[-1]

        def gradient(upstream):
            return upstream * expand(scale), _sums_of(upstream * x, count)

        return x * expand(scale), gradient
