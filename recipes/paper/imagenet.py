"""ImageNet (ILSVRC 2012), as in section 5.1 of the paper (Tables 1, 2 and 3).

Training pictures are cropped to a random part of 8 to 100 % of their area and an aspect ratio of 3/4 to 4/3,
resized to 224×224, and half of them mirrored; test pictures are resized to 256×256 and cropped to the central
224×224. Mean and standard deviation are those of PyTorch's example, the paper's base
(https://github.com/pytorch/examples/tree/main/imagenet). SGD with momentum 0.9, coupled weight decay 4e-5 on
every weight, batches of 256, 300 epochs, learning rate 0.1 falling to 0 on a line. Dropout of 0.2 before the
last layer. Accuracies are single runs, on the 50,000 validation pictures.

    python -m recipes.train imagenet-mobilenetv2-sb --run-dir runs/imagenet-sb --strategy mirrored
"""

import sb_keras
from recipes.paper import Result
from recipes.recipe import Data, Model, Optimizer, Recipe

WIDTHS = (0.35, 0.5, 0.75, 1.0)
POINTWISE = ("expand", "project")

DATA = Data(
    name="imagenet2012",
    image_size=224,
    augmentation="random_resized_crop",
    pad=0,
    flip=True,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    validation_fraction=0.0,
)
OPTIMIZER = Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=4e-5, schedule="linear")


def _name(kind, width):
    return f"imagenet-mobilenetv2-{kind}" + ("" if width == 0.35 else f"-x{width}")


def _recipe(name, builder, width, attention):
    model = Model(builder, width, attention, dropout=0.2)
    return Recipe(name=name, model=model, data=DATA, optimizer=OPTIMIZER, batch_size=256, epochs=300)


# Top-1 accuracies in %, a column a width, as in WIDTHS.
_TABLE_1 = {
    "static": (57.826, 62.712, 68.278, 70.806),
    "se-block": (59.106, 64.964, 70.104, 72.426),
    "dyconv": (62.136, 66.754, 71.392, 73.348),
    "sb": (62.290, 67.066, 71.044, 72.694),
}
# MobileNetV2 ×0.35, attention in the pointwise convolutions only, and in all.
_TABLE_2 = {
    "static": 57.826,
    "se-pointwise": 59.960,
    "sb-pointwise": 62.010,
    "se": 60.862,
    "sb": 62.290,
}
# ×0.5, attention in all three convolutions of the blocks.
_TABLE_3 = {
    ("ShuffleNetV2", "static"): 59.068,
    ("ShuffleNetV2", "se"): 58.482,
    ("ShuffleNetV2", "sb"): 62.314,
    ("MnasNet", "static"): 65.336,
    ("MnasNet", "se"): 63.720,
    ("MnasNet", "sb"): 68.114,
}

RECIPES = (
    *(
        _recipe(_name(kind, width), "MobileNetV2", width, sb_keras.Attention(kind))
        for kind in _TABLE_1
        for width in WIDTHS
    ),
    _recipe("imagenet-mobilenetv2-se", "MobileNetV2", 0.35, sb_keras.Attention("se")),
    *(
        _recipe(_name(f"{kind}-pointwise", 0.35), "MobileNetV2", 0.35, sb_keras.Attention(kind, POINTWISE))
        for kind in ("se", "sb")
    ),
    *(
        _recipe(f"imagenet-{builder.lower()}-{kind}", builder, 0.5, sb_keras.Attention(kind))
        for builder, kind in _TABLE_3
    ),
)

PAPER = (
    *(
        Result(1, _name(kind, width), "", accuracy, None)
        for kind, accuracies in _TABLE_1.items()
        for width, accuracy in zip(WIDTHS, accuracies, strict=True)
    ),
    *(Result(2, _name(kind, 0.35), "", accuracy, None) for kind, accuracy in _TABLE_2.items()),
    *(
        Result(3, f"imagenet-{builder.lower()}-{kind}", "", accuracy, None)
        for (builder, kind), accuracy in _TABLE_3.items()
    ),
)
