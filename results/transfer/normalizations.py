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

LEARNS = {"offsets": ("beta",), "scales-and-offsets": ("gamma", "beta")}


def main(arguments=None):
    learns = LEARNS[sys.argv.pop(1)]
    start_keras()
    import keras

    from sb_keras.layers import BatchNormalization

    normalize = BatchNormalization.call

    def freeze(task, model, settings):
        own = {*task.head(model), *task.attention(model)}
        for layer in model.layers:
            if isinstance(layer, BatchNormalization):
                layer.stays = True
                for name in ("gamma", "beta"):
                    getattr(layer, name).trainable = name in learns
            elif settings.freeze == "backbone" and layer.name not in own:
                layer.trainable = False

    def call(norm, inputs, training=None, mask=None):
        if getattr(norm, "stays", False):
            return keras.layers.BatchNormalization.call(norm, inputs, training=False, mask=mask)
        return normalize(norm, inputs, training=training, mask=mask)

    Task.freeze, BatchNormalization.call = freeze, call
    recipe.check_effects = lambda *args: None  # beside a frozen backbone the rate has an effect here
    return train.main(arguments)


if __name__ == "__main__":
    sys.exit(exit_code(main))
