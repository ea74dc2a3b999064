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
        scale = 1.0 / np.sqrt(to_numpy(norm.moving_variance) + norm.epsilon)
        if norm.scale:
            scale = scale * to_numpy(norm.gamma)
        beta = to_numpy(norm.beta) if norm.center else 0.0
        return cls(scale, beta - to_numpy(norm.moving_mean) * scale)

    @classmethod
    def identity(cls, channels):
        return cls(np.ones(channels), np.zeros(channels))

    def fold(self, kernel, bias):
        """Kernel (output channels last) and bias of the convolution that this map follows."""
        bias = 0.0 if bias is None else to_numpy(bias)
        return to_numpy(kernel) * self.scale, bias * self.scale + self.shift

    def fold_in_front(self, kernel, bias):
        """Kernel (inputs, outputs) and bias of the dense layer that this map precedes."""
        bias = 0.0 if bias is None else to_numpy(bias)
        return self.scale[:, None] * to_numpy(kernel), bias + self.shift @ to_numpy(kernel)


def to_numpy(weight):
    """The values of a weight in double precision."""
    return np.asarray(keras.ops.convert_to_numpy(weight), "float64")


def call_with(layer, inputs, *weights):
    """Calls a new layer, then gives it its weights."""
    outputs = layer(inputs)
    layer.set_weights([np.asarray(w, "float32") for w in weights])
    return outputs
