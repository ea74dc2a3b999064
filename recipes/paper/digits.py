"""The embedded default: scikit-learn's 1,797 handwritten digits, 8×8 pixels, enlarged to 32×32 RGB.

No network and no wait: a few seconds an epoch on two cores. The paper has no such experiment; the settings
are those of its CIFAR-10 section, with a shorter schedule, without mirror images (a mirrored 2 is
no digit), smaller batches and a smaller learning rate, since there are few images.

    python -m recipes.train digits-mobilenetv2-sb --run-dir runs/digits
"""

import sb_keras
from recipes.recipe import Data, Model, Optimizer, Recipe

KINDS = ("static", "se-block", "se", "sb", "dyconv")

RECIPES = tuple(
    Recipe(
        name=f"digits-mobilenetv2-{kind}",
        model=Model("CifarMobileNetV2", width_multiplier=0.35, attention=sb_keras.Attention(kind)),
        data=Data("digits", flip=False),
        optimizer=Optimizer(learning_rate=0.05),
        batch_size=32,
        epochs=10,
    )
    for kind in KINDS
)
