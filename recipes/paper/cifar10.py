"""CIFAR-10, as in section 5.3 of the paper (Tables 5 to 10).

Images are padded with two zero pixels a side (32 → 36) and cropped back, and half of them mirrored; each
channel is normalized to mean 0 and standard deviation 1 over the training images. SGD with momentum 0.9,
coupled weight decay 5e-4 on every weight, batches of 128, 200 epochs, learning rate 0.1 falling to 0 on a
cosine, stepped every epoch. The paper reports the mean and standard deviation of five runs; see `PAPER`.

One epoch of ×0.35 takes one to three minutes on two cores.

    python -m recipes.train cifar10-mobilenetv2-sb --run-dir runs/cifar10-sb
"""

import sb_keras
from recipes.paper import Result
from recipes.recipe import Data, Model, Optimizer, Recipe

WIDTHS = (0.35, 0.5, 0.75, 1.0)
KINDS = ("static", "se-block", "se", "sb", "dyconv")
POSITIONS = ("expand", "expand,project", "expand,depthwise,project")

DATA = Data(
    name="cifar10",
    image_size=32,
    pad=2,
    flip=True,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    validation_fraction=0.0,
)
OPTIMIZER = Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=5e-4, schedule="cosine")


def _name(kind, width):
    return f"cifar10-mobilenetv2-{kind}" + ("" if width == 0.35 else f"-x{width}")


RECIPES = tuple(
    Recipe(
        name=_name(kind, width),
        model=Model("CifarMobileNetV2", width, sb_keras.Attention(kind)),
        data=DATA,
        optimizer=OPTIMIZER,
        batch_size=128,
        epochs=200,
    )
    for kind in KINDS
    for width in WIDTHS
)

# Accuracies in %, mean and standard deviation of five runs; a column a width, as in WIDTHS.
_TABLE_5 = {
    ("se", POSITIONS[0]): ((90.980, 0.191), (91.582, 0.368), (92.812, 0.106), (93.172, 0.185)),
    ("se", POSITIONS[1]): ((90.040, 0.518), (90.624, 0.382), (91.484, 0.342), (92.508, 0.216)),
    ("se", POSITIONS[2]): ((84.184, 2.583), (84.476, 1.697), (87.380, 1.879), (86.784, 1.797)),
    ("sb", POSITIONS[0]): ((90.826, 0.117), (91.340, 0.123), (92.496, 0.139), (92.746, 0.212)),
    ("sb", POSITIONS[1]): ((91.252, 0.255), (91.700, 0.167), (92.452, 0.238), (92.870, 0.115)),
    ("sb", POSITIONS[2]): ((91.220, 0.137), (91.746, 0.151), (92.590, 0.073), (92.972, 0.142)),
}
_TABLE_6 = {
    "static": ((90.854, 0.155), (91.240, 0.268), (92.228, 0.146), (92.410, 0.084)),
    "dyconv": ((90.974, 0.268), (91.614, 0.249), (92.506, 0.102), (92.694, 0.100)),
    "sb": ((91.220, 0.137), (91.746, 0.151), (92.590, 0.082), (92.920, 0.156)),
}
_TABLE_7 = {  # ×1.0
    ("se", 0.0): (86.784, 1.797),
    ("se", 0.2): (87.966, 1.711),
    ("sb", 0.0): (92.972, 0.142),
    ("sb", 0.2): (93.216, 0.138),
}
_TABLE_8 = {
    0.01: ((91.288, 0.214), (91.888, 0.324), (92.714, 0.180), (92.976, 0.092)),
    0.05: ((91.440, 0.358), (91.862, 0.168), (92.706, 0.160), (93.054, 0.249)),
    0.1: ((91.220, 0.137), (91.746, 0.151), (92.590, 0.073), (92.972, 0.142)),
    0.5: ((90.584, 0.474), (91.430, 0.064), (92.266, 0.163), (92.760, 0.202)),
    1.0: ((89.084, 0.388), (90.310, 0.547), (91.330, 0.446), (92.310, 0.302)),
}
_TABLE_9 = {
    "tanh": ((91.220, 0.137), (91.746, 0.151), (92.590, 0.073), (92.972, 0.142)),
    "sigmoid": ((91.306, 0.244), (91.728, 0.193), (92.466, 0.096), (92.854, 0.131)),
    "softmax": ((90.894, 0.435), (91.482, 0.227), (92.136, 0.180), (92.494, 0.241)),
    "relu": ((90.604, 0.728), (91.624, 0.148), (92.438, 0.096), (92.760, 0.171)),
    "linear": ((90.762, 0.570), (91.296, 0.681), (92.654, 0.164), (92.988, 0.075)),
}
_TABLE_10 = {1: (91.220, 0.137), 2: (91.286, 0.265), 3: (91.562, 0.122), 4: (90.900, 0.416)}  # ×0.35


def _rows(table, results, recipe_kind, setting):
    """A `Result` for every cell of a table with a column a width."""
    return [
        Result(table, _name(recipe_kind(key), width), setting(key), *accuracy)
        for key, accuracies in results.items()
        for width, accuracy in zip(WIDTHS, accuracies, strict=True)
    ]


PAPER = (
    *_rows(5, _TABLE_5, lambda key: key[0], lambda key: f"model.attention.positions={key[1]}"),
    *_rows(6, _TABLE_6, lambda kind: kind, lambda kind: ""),
    *(
        Result(7, _name(kind, 1.0), f"model.attention.dropout={dropout}", *accuracy)
        for (kind, dropout), accuracy in _TABLE_7.items()
    ),
    *_rows(8, _TABLE_8, lambda _: "sb", lambda lambda_: f"model.attention.lambda_init={lambda_}"),
    *_rows(9, _TABLE_9, lambda _: "sb", lambda gate: f"model.attention.gate={gate}"),
    *(
        Result(10, _name("sb", 0.35), f"model.attention.hidden_multiplier={multiplier}", *accuracy)
        for multiplier, accuracy in _TABLE_10.items()
    ),
)
