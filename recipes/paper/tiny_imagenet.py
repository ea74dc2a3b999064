"""Tiny-ImageNet: the networks of section 5.1 of the paper (Tables 1, 2 and 3) on 64×64 pixels.

100,000 training and 10,000 test pictures of 200 classes (http://cs231n.stanford.edu/tiny-imagenet-200.zip).
They are kept in memory, decoded: 1.4 GB. Everything is as in `recipes.paper.imagenet`, but for the size of
the pictures and the length of the schedule: 15 epochs instead of 300. The paper has no such experiment; see
results/README.md for what came out.

    python -m recipes.train tinyimagenet-mobilenetv2-sb --set data.directory=FOLDER --run-dir runs/tiny
"""

import dataclasses

import sb_keras
from recipes.paper.imagenet import DATA, OPTIMIZER
from recipes.recipe import Model, Recipe

KINDS = ("static", "se-block", "se", "sb", "dyconv")
WIDTHS = {"MobileNetV2": 0.35, "MnasNet": 0.5, "ShuffleNetV2": 0.5}

RECIPES = tuple(
    Recipe(
        name=f"tinyimagenet-{builder.lower()}-{kind}",
        model=Model(builder, width, sb_keras.Attention(kind), dropout=0.2),
        data=dataclasses.replace(DATA, name="tiny_imagenet", image_size=64),
        optimizer=OPTIMIZER,
        batch_size=256,
        epochs=15,
    )
    for builder, width in WIDTHS.items()
    for kind in KINDS
)
