"""A .tflite file that takes a picture: what `classify` and `detect` share. Without TensorFlow and Keras."""

import numpy as np
from PIL import Image

from recipes.data import normalized
from recipes.errors import UserError
from tflite.interpreter import open_interpreter
from tflite.metadata import read_metadata


class PictureFile:
    """A .tflite file whose metadata say how its one input, an RGB image, is normalized.

    Args:
        path: Path of the file.

    Raises:
        UserError: If it cannot be read, or does not say so.
    """

    def __init__(self, path):
        metadata = read_metadata(path)
        if metadata is None or metadata.mean is None:
            raise UserError(
                f"{path} does not say how its input is normalized: it has no metadata. "
                "Convert it again, with --mean and --std or from a run directory"
            )
        self._normalization = metadata.mean, metadata.std
        self.labels = metadata.labels or ()
        self.interpreter = open_interpreter(path)
        ends = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        # Of the inputs, and of the outputs; a subclass looks whether they are what it expects.
        self.shapes = [[tuple(tensor["shape"].tolist()) for tensor in tensors] for tensors in ends]

    def image_of(self, picture):
        """A Pillow image of mode RGB as the file takes it: stretched to its size, and normalized."""
        (_, height, width, _), *_ = self.shapes[0]
        return normalized(stretched(picture, height, width), *self._normalization)


def stretched(picture, height, width):
    """The pixels, uint8, of a whole Pillow image at another size, by antialiased triangular interpolation."""
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
