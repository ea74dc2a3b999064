"""Channel shuffle, ShuffleNet's way of mixing two groups of channels."""

import keras
from keras import ops

from sb_keras.arguments import check_positive_integer
from sb_keras.layers.channels_last import ChannelsLast
from sb_keras.layers.excitation import known_channels


@keras.saving.register_keras_serializable(package="sb_keras")
class ChannelShuffle(ChannelsLast):
    """Interleaves groups of channels (Ma et al., 2018): (a₁ a₂ … b₁ b₂ …) becomes (a₁ b₁ a₂ b₂ …).

    Args:
        groups: Number of groups; it divides the number of channels.
        **kwargs: As `keras.layers.Layer`, and `data_format`: `"channels_last"`, or None for Keras's setting,
            which must be that.

    Input and output shape: `(batch, height, width, channels)`.

    Raises:
        ValueError: If the channels cannot be divided into the groups.

    Example:

    ```python
    y = sb_keras.layers.ChannelShuffle(2)(keras.ops.ones((8, 32, 32, 16)))
    ```
    """

    def __init__(self, groups=2, **kwargs):
        super().__init__(**kwargs)
        self.groups = check_positive_integer("groups", groups)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        self.input_spec = known_channels(self, input_shape)
        if input_shape[-1] % self.groups:
            raise ValueError(
                f"The number of channels must be a multiple of groups={self.groups}. "
                f"Received shape: {input_shape}"
            )

    def call(self, inputs):
        _, height, width, channels = ops.shape(inputs)
        grouped = ops.reshape(inputs, (-1, height, width, self.groups, channels // self.groups))
        return ops.reshape(ops.transpose(grouped, (0, 1, 2, 4, 3)), (-1, height, width, channels))

    def fold(self, inputs, affine=None):
        """The same function in stock layers, which need to know the size of the feature map."""
        _, height, width, channels = inputs.shape
        if height is None or width is None:
            return type(self).from_config({**self.get_config(), "dtype": "float32"})(inputs)
        grouped = (height, width, self.groups, channels // self.groups)
        x = keras.layers.Reshape(grouped, dtype="float32", name=f"{self.name}_split")(inputs)
        x = keras.layers.Permute((1, 2, 4, 3), dtype="float32", name=f"{self.name}_transpose")(x)
        return keras.layers.Reshape((height, width, channels), dtype="float32", name=self.name)(x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}
