"""Optimizers' updates on TensorFlow, some thirty weights in a call.

Keras has TensorFlow trace each weight's update on its own: a network with SB in every layer has 527, which is
half of a step's graph with AdamW. What is called here is traced once, whatever the weights' shapes.
"""

import functools
import math
from typing import Any

import keras
import tensorflow as tf

from sb_keras.called import called

_TOGETHER = 32


def can_group(variables):
    """Whether the weights are this process's and device's alone, in single precision."""
    return not tf.distribute.has_strategy() and all(
        keras.backend.standardize_dtype(variable.dtype) == "float32" for variable in variables
    )


def handle(variable):
    """What names a weight in TensorFlow's operations."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


def update(make, rows, *scalars):
    """Calls `make(count)`, a function of so many weights, on equal shares of the rows.

    Args:
        make: Gives a function of the columns of `count` rows and of the scalars.
        rows: For every weight its handle, those of its optimizer's variables, and its gradient.
        *scalars: What is the same for all.
    """
    size = math.ceil(len(rows) / math.ceil(len(rows) / _TOGETHER))
    for start in range(0, len(rows), size):
        share = rows[start : start + size]
        *handles, gradients = (list(column) for column in zip(*share, strict=True))
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding's is sparse
        make(len(share))(*handles, gradients, *(tf.cast(scalar, "float32") for scalar in scalars))


def apply_momentum(weight, velocity, gradient, rate, momentum, nesterov):
    """v ← momentum · v + g; w ← w − rate · v, in one kernel."""
    tf.raw_ops.ResourceApplyMomentum(
        var=weight, accum=velocity, lr=rate, grad=gradient, momentum=momentum, use_nesterov=nesterov
    )


@functools.cache
def momentum(coupled_weight_decay, momentum, nesterov, count):
    """SGD's: g ← g + coupled_weight_decay · w; v ← momentum · v + g; w ← w − rate · v."""

    def updates(weights, velocities, gradients, rate):
        for weight, velocity, gradient in zip(weights, velocities, gradients, strict=True):
            if coupled_weight_decay:
                gradient += coupled_weight_decay * tf.raw_ops.ReadVariableOp(resource=weight, dtype="float32")
            apply_momentum(weight, velocity, gradient, rate, momentum, nesterov)

    return _of_weights(updates, count, 2, 1)


@functools.cache
def adam(weight_decay, beta_1, beta_2, epsilon, count):
    """AdamW's; `decay_rate` is the learning rate of the decay, `step` counts from 1."""

    def updates(weights, momentums, velocities, gradients, rate, decay_rate, step):
        powers = tf.pow(beta_1, step), tf.pow(beta_2, step)
        for weight, *state, gradient in zip(weights, momentums, velocities, gradients, strict=True):
            if weight_decay:
                value = tf.raw_ops.ReadVariableOp(resource=weight, dtype="float32")
                tf.raw_ops.AssignSubVariableOp(resource=weight, value=value * weight_decay * decay_rate)
            tf.raw_ops.ResourceApplyAdam(
                var=weight,
                m=state[0],
                v=state[1],
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=epsilon,
                grad=gradient,
            )

    return _of_weights(updates, count, 3, 3)


def _of_weights(function, count, handles, scalars):
    """The function as one of so many weights, by as many handles each, their gradients, and scalars."""
    any_shape: Any = None
    resources = [tf.TensorSpec((), tf.resource)] * count
    tensors = [tf.TensorSpec(any_shape, "float32")] * count
    signature = [*[resources] * handles, tensors, *[tf.TensorSpec((), "float32")] * scalars]
    return called(function, signature)
