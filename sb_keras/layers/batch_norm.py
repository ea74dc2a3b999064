"""Batch normalization that is fused where TensorFlow can fuse it."""

import functools

import keras

from sb_keras.layers.normalized_product import product_of

PAPER_MOMENTUM = 0.9
PAPER_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="sb_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, trained by TensorFlow's fused kernel.

    Keras 3 computes the moments and the normalization as separate operations, each a pass over
    the feature map. TensorFlow has one kernel for all of it, and one for its gradient; a training
    step of a MobileNetV2 takes less than half the time with them. The fused kernel serves
    training on feature maps (rank 4, channels last) on the TensorFlow backend; behind a 1×1
    convolution that expands, `normalized_product.py` does without it. Everything else
    (other ranks, inference, other backends, masks, `renorm`, `synchronized`, inputs of another type than the
    layer computes in) is Keras's own code; the rows of attention branches are normalized in `branch.py`.

    The weights, their names and order, and the values are those of the Keras layer, so weight files
    load either way. Only the defaults differ: the paper trained in PyTorch, whose `momentum=0.1`
    is 0.9 in Keras's terms and whose `eps` is 1e-5.

    Args:
        axis: Axis of the channels.
        momentum: Momentum of the moving statistics.
        epsilon: Added to the variance.
        *args: As `keras.layers.BatchNormalization`, in its order.
        **kwargs: As `keras.layers.BatchNormalization`.

    Example:

    ```python
    x = keras.ops.ones((8, 32, 32, 16))
    y = sb_keras.layers.BatchNormalization()(x, training=True)
    ```
    """

    def __init__(self, axis=-1, momentum=PAPER_MOMENTUM, epsilon=PAPER_EPSILON, *args, **kwargs):
        super().__init__(axis, momentum, epsilon, *args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if (
            training
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.is_fused(inputs)
        ):
            product = product_of(inputs)
            if product is not None:
                return train_product(self, product)
            return _train_maps(self, inputs)
        # Inference stays with Keras: for a convolution, a fused batch norm and a tanh in a row,
        # TensorFlow's graph optimizer picks a CPU kernel that does not exist.
        return super().call(inputs, training=training, mask=mask)

    def is_fused(self, inputs):
        """Whether training is left to TensorFlow, in feature maps here or in an attention branch."""
        return (
            keras.backend.backend() == "tensorflow"
            and self.trainable
            and self.scale
            and self.center
            and not self.renorm
            and not self.synchronized
            and self.variable_dtype == "float32"
            and self.compute_dtype in ("float32", "bfloat16", "float16")
            and keras.backend.standardize_dtype(inputs.dtype) == self.compute_dtype
        )


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from sb_keras.called import called
    from sb_keras.layers.moving_average import assign_moved, moved_average
    from sb_keras.layers.normalized_product import train_product

    def _train_maps(norm, x):
        """Normalized feature maps: one kernel, and one for the gradient; moves the moving averages."""
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=norm.gamma,
            offset=norm.beta,
            mean=[],
            variance=[],
            epsilon=norm.epsilon,
            is_training=True,
        )
        moving = norm.moving_mean, norm.moving_variance
        moved = _moved(norm.momentum, x.dtype.name)(x, mean, variance, *map(tf.convert_to_tensor, moving))
        assign_moved(moving, moved)
        return outputs

    @functools.cache
    def _moved(momentum, dtype):
        def moved(x, mean, variance, moving_mean, moving_variance):
            # The kernel returns the unbiased variance, n / (n - 1) times the one that Keras averages.
            count = tf.cast(tf.size(x) // tf.size(mean), variance.dtype)
            pairs = (moving_mean, mean), (moving_variance, variance * ((count - 1.0) / count))
            return [moved_average(*pair, momentum) for pair in pairs]

        vector = tf.TensorSpec((None,), "float32")
        signature = [tf.TensorSpec((None,) * 4, dtype), *[vector] * 4]
        return called(moved, signature)
