"""tensorflow-model-optimization (TFMOT), imported without what its import does to the rest of the process.

TFMOT works on tf_keras only. To have it everywhere, it sets TF_USE_LEGACY_KERAS, which decides what
`tf.keras` becomes when it is first used, here and in every process started from here.
"""

import os
import warnings

import tensorflow as tf

from recipes.errors import UserError

_SWITCH = "TF_USE_LEGACY_KERAS"


def _import_tfmot():
    tf.keras.layers  # noqa: B018 (its first use, which makes it Keras 3)
    before = os.environ.get(_SWITCH)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it compares versions with distutils
            import tensorflow_model_optimization
        import tf_keras
    except ImportError as error:
        raise UserError(
            f"pruning, clustering and quantization-aware training need {error.name}, which is not installed; "
            "`make test` installs it"
        ) from error
    finally:
        if before is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = before
    return tensorflow_model_optimization, tf_keras


tfmot, tf_keras = _import_tfmot()
