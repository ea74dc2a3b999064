"""Feature maps with their channels last, the only ones that this package's own layers read."""

import keras


class ChannelsLast(keras.layers.Layer):
    """Base class of the layers that read `(batch, height, width, channels)`.

    Args:
        data_format: `"channels_last"`, or None for Keras's setting, which must be that.
        **kwargs: As `keras.layers.Layer`.

    Raises:
        ValueError: If the format is another.
    """

    def __init__(self, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format != "channels_last":
            source = "" if data_format else ", Keras's setting (pass `data_format` to overrule it)"
            raise ValueError(
                f"{type(self).__name__} reads channels last only: `data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}{source}"
            )

    @classmethod
    def from_config(cls, config):
        # Earlier files do not say it, and were the same.
        return super().from_config({"data_format": "channels_last", **config})

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}
