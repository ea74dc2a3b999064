"""Cross-entropy of integer labels, smoothed; Keras smooths one-hot labels only."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="sb_keras")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of probabilities and integer labels, a share ε of each label spread over all n classes.

    ℓ = −Σ_k q_k log p_k,  q_k = (1 − ε) · [k = label] + ε / n   (Szegedy et al., 2016, section 7)

    Args:
        label_smoothing: ε in [0, 1).
        **kwargs: As `keras.losses.Loss`.

    Shapes: labels (batch,), probabilities (batch, n).

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    model.compile(sb_keras.optimizers.SGD(0.1), sb_keras.losses.SmoothedCrossentropy(0.1), ["accuracy"])
    ```
    """

    def __init__(self, label_smoothing=0.1, name="smoothed_crossentropy", **kwargs):
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                "`label_smoothing` must be at least 0 and less than 1. "
                f"Received: label_smoothing={label_smoothing}"
            )
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        labels = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(labels, y_pred, label_smoothing=self.label_smoothing)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
