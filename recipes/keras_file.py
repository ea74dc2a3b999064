"""Reading `.keras` files, also those of strangers; the variables of networks, made quickly."""

import contextlib
import zipfile
import zlib
from typing import Any

from recipes.errors import UserError


def load_model(path) -> Any:  # Keras declares None and other things beside the model
    """Reads a `.keras` file. One from a stranger runs no code: `safe_mode` is Keras's default.

    Raises:
        UserError: If it is damaged, or holds something else than a model of known layers.
    """
    if not is_whole(path):
        raise UserError(f"{path} is damaged, or not a .keras file")
    import keras  # takes seconds, with its backend

    import sb_keras  # noqa: F401 (its layers are known to Keras then)

    try:
        with variables_of_one_name():
            return keras.saving.load_model(path)
    except Exception as error:  # whatever a stranger's file makes Keras, h5py and the layers raise
        # Keras puts the cause behind a page of configuration, and another behind it.
        reason = str(error).rpartition("Exception encountered: ")[2].strip().partition("\n")[0]
        raise UserError(f"{path} cannot be loaded ({type(error).__name__}: {reason[:300]})") from error


@contextlib.contextmanager
def variables_of_one_name():
    """Has TensorFlow call all variables of the block alike; Keras has names and paths of its own for them.

    TensorFlow makes a kernel for every name and shape that it has not seen, which takes a millisecond, most
    of what a variable costs. A network with SB has 1,325, with those of its optimizer.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    def create(next_creator, **kwargs):
        with tf.name_scope(""):
            return next_creator(**kwargs | {"name": "variable"})

    with tf.variable_creator_scope(create):
        yield


def is_whole(path):
    """Whether a `.keras` file, which is a zip archive, has every byte that was written (by its CRCs)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    # NotImplementedError and RuntimeError: compression or encryption that zipfile does not know
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError):
        return False
