"""PASCAL VOC, as in section 5.2 of the paper (Table 4): SSDLite on MobileNetV2, 300×300 pixels.

Trained on the training and validation pictures of 2007 and 2012, tested on the test pictures of 2007, by the
11-point mean average precision. SGD with momentum 0.9, coupled weight decay 4e-5 on every weight, batches
of 32, 200 epochs, learning rate 0.01 falling to 0 on a cosine. Pictures are augmented and normalized as in
pytorch-ssd (https://github.com/qfgaohao/pytorch-ssd), the paper's base. The paper does not say what
the backbone begins with; `model.backbone` takes the run directory of a classifier.

    python -m recipes.train voc-ssdlite-mobilenetv2-sb --run-dir runs/voc-sb
"""

import sb_keras
from recipes.paper import Result
from recipes.recipe import Data, Model, Optimizer, Recipe

WIDTHS = (0.35, 0.5, 0.75, 1.0)
KINDS = ("static", "se", "sb")

DATA = Data(
    name="voc",
    train_splits=("2007/train+validation", "2012/train+validation"),
    test_splits=("2007/test",),
    image_size=300,
    augmentation="ssd",
    pad=0,
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    validation_fraction=0.0,
)


def _name(kind, width):
    return f"voc-ssdlite-mobilenetv2-{kind}" + ("" if width == 0.35 else f"-x{width}")


RECIPES = tuple(
    Recipe(
        name=_name(kind, width),
        model=Model("SSDLite", width, sb_keras.Attention(kind)),
        data=DATA,
        optimizer=Optimizer(learning_rate=0.01, momentum=0.9, weight_decay=4e-5, schedule="cosine"),
        batch_size=32,
        epochs=200,
    )
    for kind in KINDS
    for width in WIDTHS
)

# Mean average precision in %, a column a width, as in WIDTHS; one run each. "SE corrupts the model" at ×0.5.
_TABLE_4 = {
    "static": (45.409, 51.770, 56.304, 59.966),
    "se": (11.025, None, 14.125, 21.168),
    "sb": (46.795, 52.245, 57.325, 61.491),
}

PAPER = tuple(
    Result(4, _name(kind, width), "", value, None)
    for kind, values in _TABLE_4.items()
    for width, value in zip(WIDTHS, values, strict=True)
    if value is not None
)
