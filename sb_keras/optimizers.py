"""The paper's optimizer, SGD as PyTorch defines it, and AdamW; each with learning rates by layer."""

import functools
import math

import keras
from keras import ops

from sb_keras.arguments import check_positive

_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _TENSORFLOW:
    from sb_keras import grouped_updates


class _LayerRates(keras.optimizers.Optimizer):
    """Multiplies the learning rate of the layers that `learning_rate_multipliers` names."""

    def __init__(self, *args, learning_rate_multipliers=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.learning_rate_multipliers = dict(learning_rate_multipliers or {})
        for layer, multiplier in self.learning_rate_multipliers.items():
            check_positive(f"learning_rate_multipliers[{layer!r}]", multiplier)

    def build(self, variables):
        super().build(variables)
        layers = [variable.path.split("/")[:-1] for variable in variables]
        known = {name for path in layers for name in path}
        unknown = [name for name in self.learning_rate_multipliers if name not in known]
        if unknown:
            raise ValueError(
                "`learning_rate_multipliers` must name layers with trainable weights. "
                f"Received: {', '.join(unknown)}"
            )

        # Of a weight's layers the innermost that is named counts.
        named = [[name for name in path if name in self.learning_rate_multipliers] for path in layers]
        self._multipliers = [self.learning_rate_multipliers[path[-1]] if path else 1.0 for path in named]

    def rate_of(self, variable, learning_rate):
        """The learning rate of a weight."""
        multiplier = self._multipliers[self._get_variable_index(variable)]
        return learning_rate if multiplier == 1.0 else learning_rate * ops.cast(multiplier, variable.dtype)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Keras's hook, which calls `update_step` for each weight; TensorFlow updates many in a call here."""
        if not self._can_group(trainable_variables):
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        groups = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            kind = self._multipliers[index], self._use_weight_decay(variable)
            handles = (grouped_updates.handle(v) for v in (variable, *self._state(index)))
            groups.setdefault(kind, []).append((*handles, gradient))
        for (multiplier, decays), rows in groups.items():
            self._update_group(rows, learning_rate, multiplier, decays)

    def get_config(self):
        multipliers = self.learning_rate_multipliers
        return {**super().get_config(), **({"learning_rate_multipliers": multipliers} if multipliers else {})}


@keras.saving.register_keras_serializable(package="sb_keras")
class SGD(_LayerRates, keras.optimizers.SGD):
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
        learning_rate_multipliers: A dictionary from names of layers, or of models within the model, to
            factors of the learning rate: with `{"predictions": 10.0}` a new classifier learns faster.
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
        learning_rate = self.rate_of(variable, ops.cast(learning_rate, variable.dtype))
        step = gradient + self.coupled_weight_decay * variable if self.coupled_weight_decay else gradient
        if not self.momentum:
            self.assign_sub(variable, learning_rate * step)
            return
        velocity = self.momentums[self._get_variable_index(variable)]
        if _TENSORFLOW:
            handles = grouped_updates.handle(variable), grouped_updates.handle(velocity)
            grouped_updates.apply_momentum(*handles, step, learning_rate, self.momentum, self.nesterov)
            return
        self.assign(velocity, self.momentum * velocity + step)
        step = step + self.momentum * velocity if self.nesterov else velocity
        self.assign_sub(variable, learning_rate * step)

    def _can_group(self, variables):
        return _TENSORFLOW and self.momentum and grouped_updates.can_group(variables)

    def _state(self, index):
        return [self.momentums[index]]

    def _update_group(self, rows, learning_rate, multiplier, decays):
        del decays  # Keras's own decay, which is another one
        make = functools.partial(
            grouped_updates.momentum, self.coupled_weight_decay, self.momentum, self.nesterov
        )
        grouped_updates.update(make, rows, learning_rate * multiplier)

    def get_config(self):
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}


@keras.saving.register_keras_serializable(package="sb_keras")
class AdamW(_LayerRates, keras.optimizers.AdamW):
    """Keras's AdamW (Loshchilov and Hutter, 2019) with learning rates by layer.

    Args:
        learning_rate: A float or a schedule.
        weight_decay: As of `keras.optimizers.AdamW`: decoupled. A layer's multiplier is not applied to it.
        learning_rate_multipliers: As of `SGD`.
        **kwargs: As `keras.optimizers.AdamW`.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    optimizer = sb_keras.optimizers.AdamW(1e-4, learning_rate_multipliers={"predictions": 10.0})
    model.compile(optimizer, "sparse_categorical_crossentropy")
    ```
    """

    def update_step(self, gradient, variable, learning_rate):
        learning_rate = self.rate_of(variable, ops.cast(learning_rate, variable.dtype))
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables):
        if not self._can_group(variables):
            super()._apply_weight_decay(variables)

    def _can_group(self, variables):
        return _TENSORFLOW and not self.amsgrad and grouped_updates.can_group(variables)

    def _state(self, index):
        return [self._momentums[index], self._velocities[index]]

    def _update_group(self, rows, learning_rate, multiplier, decays):
        make = functools.partial(
            grouped_updates.adam,
            self.weight_decay if decays else None,
            self.beta_1,
            self.beta_2,
            self.epsilon,
        )
        grouped_updates.update(make, rows, learning_rate * multiplier, learning_rate, self.iterations + 1)
