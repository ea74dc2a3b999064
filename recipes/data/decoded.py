"""Training pictures that are decoded once and kept as pixels, in memory or in files (`data.cache`)."""

import contextlib
import os
import pathlib
import sys
import threading

import numpy as np
import tensorflow as tf

from recipes.data import remembered
from recipes.data.augmentation import shrunk
from recipes.data.pictures import decode
from recipes.errors import CannotWrite

# The longer side of what is kept, as a multiple of what training sees: the smallest crop, 8 % of a picture of
# 4:3, still has 0.96 of its pixels.
FINEST = 4


class Store:
    """Pixels by the path of their picture's file.

    Args:
        place: `"memory"`, or a folder, which may not exist yet. A file of its own, by the path, size and date
            of the picture's, holds the pixels; all may be deleted at any time.
        most: Longer side in pixels; larger pictures are made smaller.

    Raises:
        CannotWrite: If the folder cannot be made.
    """

    def __init__(self, place, most):
        self.most = most
        self._in_memory = {} if place == "memory" else None
        self._folder = pathlib.Path(place, f"{most}px-tensorflow-{tf.__version__}")
        self._complained = False
        if self._in_memory is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CannotWrite(f"data.cache: cannot write to {self._folder}: {error.strerror}") from error

    def read(self, path):
        """Pixels, uint8 (height, width, 3), of the file that a scalar string tensor names; in a graph."""
        found = tf.numpy_function(self._find, [path], tf.uint8)

        def new():
            pixels = shrunk(decode(tf.io.read_file(path)), self.most)
            return tf.numpy_function(self._keep, [path, tf.cast(tf.round(pixels), tf.uint8)], tf.uint8)

        pixels = tf.cond(tf.size(found) > 0, lambda: found, new)
        return tf.ensure_shape(pixels, (None, None, 3))

    def _find(self, path):
        """The pixels of a file; empty if they are not kept."""
        none = np.empty((0, 0, 3), "uint8")
        if self._in_memory is not None:
            return self._in_memory.get(path, none)
        try:
            return np.load(self._file(path))
        except (OSError, ValueError, EOFError):  # there is none, or it is damaged
            return none

    def _keep(self, path, pixels):
        """The same pixels, which are kept; where they cannot be written they are decoded again next time."""
        if self._in_memory is not None:
            self._in_memory[path] = pixels = np.array(pixels)  # and not TensorFlow's memory
            return pixels
        file = self._file(path)
        # Other threads and processes may be writing the same.
        temporary = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as opened:
                np.save(opened, pixels)
            os.replace(temporary, file)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if not self._complained:
                self._complained = True
                text = f"data.cache: cannot write to {self._folder} ({error.strerror})"
                print(f"{text}; what is not kept is decoded each time", file=sys.stderr)
        return pixels

    def _file(self, path):
        (key,) = remembered.keys_of([path])
        name = f"{key:016x}"
        return self._folder / name[:2] / f"{name}.npy"
