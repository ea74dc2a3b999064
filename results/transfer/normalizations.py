"""Controls for `model.freeze`: what of the normalizations learns while their averages stay.

    python results/transfer/normalizations.py offsets|scales-and-offsets …  # … as for recipes.train

Frozen normalizations keep their averages, scales and offsets. Here offsets, or both, learn, still by the
averages: with `model.freeze=backbone` beside the classifier alone, without it beside everything. An offset
that learns is a shift, as Shift-and-Balance adds one, but the same for every image.
"""

import sys

from recipes import recipe, train
from recipes.command import exit_code, start_keras
from recipes.tasks.task import Task

SCALES_LEARN = {"offsets": False, "scales-and-offsets": True}


def main():
    scales_learn = SCALES_LEARN[sys.argv.pop(1)]
    start_keras()
    import keras

    from sb_keras.layers import BatchNormalization

    freeze_as_set, normalize = Task.freeze, BatchNormalization.call

    def freeze(task, model, settings):
        freeze_as_set(task, model, settings)
        for layer in model.layers:
            if isinstance(layer, BatchNormalization):
                layer.trainable = layer.stays = True
                layer.gamma.trainable = scales_learn

    def call(norm, inputs, training=None, mask=None):
        if getattr(norm, "stays", False):
            return keras.layers.BatchNormalization.call(norm, inputs, training=False, mask=mask)
        return normalize(norm, inputs, training=training, mask=mask)

    Task.freeze, BatchNormalization.call = freeze, call
    recipe.check_effects = lambda *args: None  # beside a frozen backbone the rate has an effect here
    return train.main()


if __name__ == "__main__":
    sys.exit(exit_code(main))
