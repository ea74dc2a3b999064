"""Per-channel affine maps x → scale · x + shift: what a batch normalization is at inference."""

import dataclasses

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Affine:
    """x → scale · x + shift, with one scale and one shift a channel, in double precision."""

    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, norm):
        """The map that a `BatchNormalization` layer computes at inference."""
        mean, variance = (keras.ops.convert_to_numpy(v) for v in (norm.moving_mean, norm.moving_variance))
        scale = 1.0 / np.sqrt(variance.astype("float64") + norm.epsilon)
        if norm.scale:
            scale = scale * keras.ops.convert_to_numpy(norm.gamma)
        beta = keras.ops.convert_to_numpy(norm.beta) if norm.center else 0.0
        return cls(scale, beta - mean * scale)

    @classmethod
    def identity(cls, channels):
        return cls(np.ones(channels), np.zeros(channels))

    def fold(self, kernel, bias):
        """Kernel (output channels last) and bias of the convolution that this map follows."""
        kernel = keras.ops.convert_to_numpy(kernel) * self.scale
        bias = 0.0 if bias is None else keras.ops.convert_to_numpy(bias)
        return kernel, bias * self.scale + self.shift


def call_with(layer, inputs, *weights):
    """Calls a new layer, then gives it its weights."""
    outputs = layer(inputs)
    layer.set_weights([np.asarray(w, "float32") for w in weights])
    return outputs
