"""Convolution whose 1×1 kernels are trained as what they are: matrix products."""

import keras
from keras import ops

from sb_keras.layers.normalized_product import LEAST_EXPANSION, Product, note_product


@keras.saving.register_keras_serializable(package="sb_keras")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D`; on TensorFlow, a 1×1 convolution of stride 1 is one matrix product.

    With k = 1 nothing is left of a convolution but y = x · W at every position. TensorFlow's product
    takes less time than its convolution, forwards and backwards, and these are most of a mobile
    network's layers. Everything else is Keras's own code: arguments, weights, their names and order, and
    the values.

    Args: As `keras.layers.Conv2D`.

    Example:

    ```python
    y = sb_keras.layers.Conv2D(24, 1, use_bias=False)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def convolution_op(self, inputs, kernel):
        if not self._is_product(inputs):
            return super().convolution_op(inputs, kernel)
        _, height, width, channels = ops.shape(inputs)
        kernel = ops.reshape(kernel, (channels, self.filters))
        outputs = ops.matmul(ops.reshape(inputs, (-1, channels)), kernel)
        outputs = ops.reshape(outputs, (-1, height, width, self.filters))
        if self.filters < LEAST_EXPANSION * channels:
            return outputs
        return note_product(outputs, Product(inputs, kernel))

    def _is_product(self, inputs):
        return (
            keras.backend.backend() == "tensorflow"
            and self.kernel_size == self.strides == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
            and inputs.shape[-1] is not None
        )
