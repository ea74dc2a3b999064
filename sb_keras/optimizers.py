"""The paper's optimizer: SGD as PyTorch defines it."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="sb_keras")
class SGD(keras.optimizers.SGD):
    """SGD with momentum and coupled weight decay, step for step `torch.optim.SGD`.

    g ← ∂ℓ/∂w + weight_decay · w
    v ← momentum · v + g
    w ← w − learning_rate · v

    It differs from `keras.optimizers.SGD` in two places. The weight decay joins the gradient before the
    momentum and covers every trainable weight, where Keras's shrinks the weights beside the
    update. And the learning rate multiplies the velocity, where Keras's is inside it, so that a
    changed learning rate acts at once.

    Args:
        learning_rate: A float or a schedule.
        momentum: A float in [0, 1].
        nesterov: Whether the momentum is Nesterov's.
        *args: As `keras.optimizers.SGD`, in its order.
        coupled_weight_decay: The factor of w in the gradient; the paper's is 5e-4 on CIFAR-10, else 4e-5.
        **kwargs: As `keras.optimizers.SGD`; its `weight_decay` is Keras's own, beside the update.

    Raises:
        ValueError: If the momentum or the weight decay is out of range, or `nesterov` is not a bool.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    model.compile(sb_keras.optimizers.SGD(0.1, coupled_weight_decay=5e-4), "sparse_categorical_crossentropy")
    ```
    """

    def __init__(
        self, learning_rate=0.1, momentum=0.9, nesterov=False, *args, coupled_weight_decay=0.0, **kwargs
    ):
        if not isinstance(nesterov, bool):  # the weight decay was third once
            raise ValueError(f"`nesterov` must be True or False. Received: nesterov={nesterov!r}")
        if not 0 <= coupled_weight_decay < math.inf:
            raise ValueError(
                "`coupled_weight_decay` must be a finite number that is not negative. "
                f"Received: coupled_weight_decay={coupled_weight_decay}"
            )
        super().__init__(learning_rate, momentum, nesterov, *args, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.cast(gradient, variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        step = gradient + self.coupled_weight_decay * variable if self.coupled_weight_decay else gradient
        if not self.momentum:
            self.assign_sub(variable, learning_rate * step)
            return
        velocity = self.momentums[self._get_variable_index(variable)]
        if keras.backend.backend() == "tensorflow":
            self._apply_momentum(variable, velocity, step, learning_rate)
            return
        self.assign(velocity, self.momentum * velocity + step)
        step = step + self.momentum * velocity if self.nesterov else velocity
        self.assign_sub(variable, learning_rate * step)

    def _apply_momentum(self, variable, velocity, step, learning_rate):
        """One kernel for the last two lines: attention has a network take hundreds of small updates."""
        import tensorflow as tf

        def handle(x):
            return (x.value if isinstance(x, keras.Variable) else x).handle

        tf.raw_ops.ResourceApplyMomentum(
            var=handle(variable),
            accum=handle(velocity),
            lr=learning_rate,
            grad=step,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}
