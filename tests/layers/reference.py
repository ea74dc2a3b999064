"""The paper's equations in NumPy and double precision, and weights worth testing them with.

Written from the paper and independent of the layers, of which only the weights are read.
"""

from typing import Any

import keras
import numpy as np

GATES = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
    "relu": lambda z: np.maximum(z, 0),
    "linear": lambda z: z,
}
# Rounding in single precision (6e-8) through two matrix products, and divided by the deviation over
# a batch of four, which may be small: a thousand times the rounding, and a thousandth of any mistake.
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor).astype("float64")


def batch_norm(x, norm, training=False):
    """γ (x − μ) / √(σ² + 1e-5) + β, with PyTorch's ε."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = to_numpy(norm.moving_mean), to_numpy(norm.moving_variance)
    if training:
        mean, variance = x.mean(axes), x.var(axes)
    return to_numpy(norm.gamma) * (x - mean) / np.sqrt(variance + 1e-5) + to_numpy(norm.beta)


def excitation(x, layer, training=False):
    """F(x) of figure 1: GAP → FC → BN → ReLU → FC → BN."""
    pooled = x.astype("float64").mean((1, 2))
    bias = [to_numpy(layer.squeeze.bias), to_numpy(layer.excite.bias)] if layer.use_bias else [0, 0]
    hidden = batch_norm(pooled @ to_numpy(layer.squeeze.kernel) + bias[0], layer.squeeze_bn, training)
    return batch_norm(
        np.maximum(hidden, 0) @ to_numpy(layer.excite.kernel) + bias[1], layer.excite_bn, training
    )


def randomize(layer, rng):
    """Gives every weight of a built layer a random value, with positive variances."""
    for weight in layer.weights:
        value = rng.normal(size=weight.shape)
        weight.assign(np.abs(value) + 0.5 if weight.name == "moving_variance" else value)


def images(rng, *shape):
    return rng.normal(size=shape).astype("float32")
