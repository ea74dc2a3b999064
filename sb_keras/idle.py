"""Calls of layers that change nothing at inference, as Dropout and random augmentation."""

import inspect
import itertools

import keras
import numpy as np

# What stands for unknown sizes where a layer is tried: a picture of one size may be what it makes of others.
_UNKNOWN_SIZES = (37, 41, 43), (53, 29, 31)


def is_idle(node):
    """Whether a call does nothing but in training, as Dropout and RandomFlip do, or a user's own layer.

    It is tried, on numbers of either sign and any size.
    """
    layer, arguments = node.operation, node.arguments
    if (
        not isinstance(layer, keras.layers.Layer)
        or isinstance(layer, keras.Model | keras.layers.Lambda)
        or layer.weights
        or "training" not in inspect.signature(layer.call).parameters
        or (arguments.kwargs.get("training") and not trains_by_default(layer))  # Keras notes down a default
        or not (len(arguments.args) == len(node.input_tensors) == 1)
    ):
        return False
    (tensor,) = node.input_tensors
    if arguments.args[0] is not tensor:
        return False
    tried = type(layer).from_config({**layer.get_config(), "dtype": "float32"})
    dtype = "float32" if keras.backend.is_float_dtype(tensor.dtype) else tensor.dtype  # as what is folded
    tries = _UNKNOWN_SIZES if None in tensor.shape[1:] else _UNKNOWN_SIZES[:1]
    return all(_changes_nothing(tried, tensor.shape, sizes, dtype) for sizes in tries)


def _changes_nothing(layer, shape, sizes, dtype):
    unknown = itertools.chain(sizes, itertools.repeat(sizes[-1]))
    shape = [next(unknown) if size is None else size for size in (2, *shape[1:])]
    inputs = (100 * np.random.default_rng(0).normal(size=shape)).astype(dtype)
    try:
        outputs = layer(inputs, training=False)
    except Exception:  # a user's layer may refuse sizes
        return False
    return (
        isinstance(outputs, type(keras.ops.convert_to_tensor(inputs)))
        and keras.backend.standardize_dtype(outputs.dtype) == dtype
        and np.array_equal(keras.ops.convert_to_numpy(outputs), inputs)
    )


def trains_by_default(layer):
    """Whether a layer that is not told the mode behaves as in training, as Keras's augmentation does."""
    parameter = inspect.signature(layer.call).parameters.get("training")
    return parameter is not None and parameter.default is True
