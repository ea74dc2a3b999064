"""Tests of the registered recipes against the paper, whose tables are typed out here once more."""

import collections
import re

import keras
import pytest

import sb_keras
from recipes import registry
from recipes.errors import UserError
from recipes.registry import PAPER, RECIPES
from recipes.settings import BLOCKS, Model

WIDTHS = (0.35, 0.5, 0.75, 1.0)
KINDS = ("static", "se-block", "se", "sb", "dyconv")

C1, C13, C123 = ("expand",), ("expand", "project"), ("expand", "depthwise", "project")

# Each line: what is varied, then accuracy ± deviation; as in the paper, width by width.
TABLE_5 = {
    ("se", C1): "90.980 ± 0.191  91.582 ± 0.368  92.812 ± 0.106  93.172 ± 0.185",
    ("se", C13): "90.040 ± 0.518  90.624 ± 0.382  91.484 ± 0.342  92.508 ± 0.216",
    ("se", C123): "84.184 ± 2.583  84.476 ± 1.697  87.380 ± 1.879  86.784 ± 1.797",
    ("sb", C1): "90.826 ± 0.117  91.340 ± 0.123  92.496 ± 0.139  92.746 ± 0.212",
    ("sb", C13): "91.252 ± 0.255  91.700 ± 0.167  92.452 ± 0.238  92.870 ± 0.115",
    ("sb", C123): "91.220 ± 0.137  91.746 ± 0.151  92.590 ± 0.073  92.972 ± 0.142",
}
TABLE_6 = {
    "static": "90.854 ± 0.155  91.240 ± 0.268  92.228 ± 0.146  92.410 ± 0.084",
    "dyconv": "90.974 ± 0.268  91.614 ± 0.249  92.506 ± 0.102  92.694 ± 0.100",
    "sb": "91.220 ± 0.137  91.746 ± 0.151  92.590 ± 0.082  92.920 ± 0.156",
}
TABLE_7 = {"se": "86.784 ± 1.797  87.966 ± 1.711", "sb": "92.972 ± 0.142  93.216 ± 0.138"}  # without, with
TABLE_8 = {
    0.01: "91.288 ± 0.214  91.888 ± 0.324  92.714 ± 0.180  92.976 ± 0.092",
    0.05: "91.440 ± 0.358  91.862 ± 0.168  92.706 ± 0.160  93.054 ± 0.249",
    0.1: "91.220 ± 0.137  91.746 ± 0.151  92.590 ± 0.073  92.972 ± 0.142",
    0.5: "90.584 ± 0.474  91.430 ± 0.064  92.266 ± 0.163  92.760 ± 0.202",
    1.0: "89.084 ± 0.388  90.310 ± 0.547  91.330 ± 0.446  92.310 ± 0.302",
}
TABLE_9 = {
    "tanh": "91.220 ± 0.137  91.746 ± 0.151  92.590 ± 0.073  92.972 ± 0.142",
    "sigmoid": "91.306 ± 0.244  91.728 ± 0.193  92.466 ± 0.096  92.854 ± 0.131",
    "softmax": "90.894 ± 0.435  91.482 ± 0.227  92.136 ± 0.180  92.494 ± 0.241",
    "relu": "90.604 ± 0.728  91.624 ± 0.148  92.438 ± 0.096  92.760 ± 0.171",
    "linear": "90.762 ± 0.570  91.296 ± 0.681  92.654 ± 0.164  92.988 ± 0.075",
}
TABLE_10 = {"x1-x4": "91.220 ± 0.137  91.286 ± 0.265  91.562 ± 0.122  90.900 ± 0.416"}


# Single runs; a column a width.
TABLE_1 = {
    "static": (57.826, 62.712, 68.278, 70.806),
    "se-block": (59.106, 64.964, 70.104, 72.426),
    "dyconv": (62.136, 66.754, 71.392, 73.348),
    "sb": (62.290, 67.066, 71.044, 72.694),
}
TABLE_2 = {  # ×0.35
    ("static", C123): 57.826,
    ("se", C13): 59.960,
    ("sb", C13): 62.010,
    ("se", C123): 60.862,
    ("sb", C123): 62.290,
}
TABLE_3 = {  # ×0.5
    ("ShuffleNetV2", "static"): 59.068,
    ("ShuffleNetV2", "se"): 58.482,
    ("ShuffleNetV2", "sb"): 62.314,
    ("MnasNet", "static"): 65.336,
    ("MnasNet", "se"): 63.720,
    ("MnasNet", "sb"): 68.114,
}
TABLE_4 = {
    (0.35, "static"): 45.409,
    (0.35, "se"): 11.025,
    (0.35, "sb"): 46.795,
    (0.5, "static"): 51.770,
    (0.5, "sb"): 52.245,
    (0.75, "static"): 56.304,
    (0.75, "se"): 14.125,
    (0.75, "sb"): 57.325,
    (1.0, "static"): 59.966,
    (1.0, "se"): 21.168,
    (1.0, "sb"): 61.491,
}


def numbers(line):
    """The pairs of accuracy and deviation in a line."""
    return [(float(a), float(b)) for a, b in re.findall(r"([\d.]+) ± ([\d.]+)", line)]


def expected_rows():
    """Every row of the tables: (table, builder, width, attention) -> (accuracy, deviation)."""
    cifar = cifar_rows()
    rows = {(table, "CifarMobileNetV2", *key): cell for (table, *key), cell in cifar.items()}
    for kind, cells in TABLE_1.items():
        for width, x in zip(WIDTHS, cells, strict=True):
            rows[1, "MobileNetV2", width, sb_keras.Attention(kind)] = (x, None)
    for (kind, positions), x in TABLE_2.items():
        rows[2, "MobileNetV2", 0.35, sb_keras.Attention(kind, positions=positions)] = (x, None)
    for (builder, kind), x in TABLE_3.items():
        rows[3, builder, 0.5, sb_keras.Attention(kind)] = (x, None)
    for (width, kind), x in TABLE_4.items():
        rows[4, "SSDLite", width, sb_keras.Attention(kind)] = (x, None)
    return rows


def cifar_rows():
    rows = {}
    for (kind, positions), line in TABLE_5.items():
        for width, cell in zip(WIDTHS, numbers(line), strict=True):
            rows[5, width, sb_keras.Attention(kind, positions=positions)] = cell
    for kind, line in TABLE_6.items():
        for width, cell in zip(WIDTHS, numbers(line), strict=True):
            rows[6, width, sb_keras.Attention(kind)] = cell
    for kind, line in TABLE_7.items():
        for dropout, cell in zip((0.0, 0.2), numbers(line), strict=True):
            rows[7, 1.0, sb_keras.Attention(kind, dropout=dropout)] = cell
    for lambda_init, line in TABLE_8.items():
        for width, cell in zip(WIDTHS, numbers(line), strict=True):
            rows[8, width, sb_keras.Attention("sb", lambda_init=lambda_init)] = cell
    for gate, line in TABLE_9.items():
        for width, cell in zip(WIDTHS, numbers(line), strict=True):
            rows[9, width, sb_keras.Attention("sb", gate=gate)] = cell
    for multiplier, cell in zip((1, 2, 3, 4), numbers(TABLE_10["x1-x4"]), strict=True):
        rows[10, 0.35, sb_keras.Attention("sb", hidden_multiplier=multiplier)] = cell
    return rows


def test_names():
    cifar10 = [f"cifar10-mobilenetv2-{kind}" for kind in KINDS]
    wide = [f"{name}-x{width}" for name in cifar10 for width in WIDTHS[1:]]
    digits = [f"digits-mobilenetv2-{kind}" for kind in KINDS]
    voc = [f"voc-ssdlite-mobilenetv2-{kind}" for kind in ("static", "se", "sb")]
    wide_voc = [f"{name}-x{width}" for name in voc for width in WIDTHS[1:]]
    imagenet = [f"imagenet-mobilenetv2-{kind}" for kind in ("static", "se-block", "dyconv", "sb")]
    wide_imagenet = [f"{name}-x{width}" for name in imagenet for width in WIDTHS[1:]]
    table_2 = [f"imagenet-mobilenetv2-{kind}" for kind in ("se", "se-pointwise", "sb-pointwise")]
    table_3 = [
        f"imagenet-{net}-{kind}" for net in ("mnasnet", "shufflenetv2") for kind in ("static", "se", "sb")
    ]
    networks = [f"tinyimagenet-{net}" for net in ("mobilenetv2", "mnasnet", "shufflenetv2")]
    imagenet = {*imagenet, *wide_imagenet, *table_2, *table_3}
    imagenet |= {f"{network}-{kind}" for network in networks for kind in KINDS}
    photos = [f"photos-mobilenetv2-{kind}" for kind in ("static", "sb")]
    boxes = [f"boxes-ssdlite-mobilenetv2-{kind}" for kind in ("static", "sb")]
    assert set(RECIPES) == {*digits, *cifar10, *wide, *voc, *wide_voc, *imagenet, *photos, *boxes}
    assert registry.DEFAULT in RECIPES
    assert all(recipe.name == name for name, recipe in RECIPES.items())


def test_every_row_of_the_paper_is_reached_by_a_name_and_at_most_one_setting():
    reached = {}
    for result in PAPER:
        recipe = registry.find(result.recipe).override([result.setting] if result.setting else [])
        model = recipe.model
        key = (result.table, model.builder, model.width_multiplier, model.attention)
        assert not (result.setting and result.table < 4)  # a name of its own for every row of ImageNet
        assert key not in reached
        reached[key] = (result.accuracy, result.spread)
    assert reached == expected_rows()


def test_number_of_rows_a_table():
    counts = {1: 16, 2: 5, 3: 6, 4: 11, 5: 24, 6: 12, 7: 4, 8: 20, 9: 20, 10: 4}
    assert collections.Counter(r.table for r in PAPER) == counts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_cifar10_settings_are_those_of_section_5_3(kind, width):
    recipe = RECIPES[f"cifar10-mobilenetv2-{kind}" + ("" if width == 0.35 else f"-x{width}")]
    assert recipe.model.width_multiplier == width
    assert recipe.model.attention == sb_keras.Attention(kind)
    assert recipe.model.dropout == 0
    data, optimizer = recipe.data, recipe.optimizer
    assert (data.name, data.image_size, data.pad, data.flip) == ("cifar10", 32, 2, True)
    assert data.image_size + 2 * data.pad == 36
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 5e-4)
    assert (optimizer.learning_rate, optimizer.schedule) == (0.1, "cosine")
    assert (recipe.batch_size, recipe.epochs, recipe.steps_per_epoch) == (128, 200, None)
    assert data.validation_fraction == 0  # all 50,000 images are for training


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("imagenet-")])
def test_imagenet_settings_are_those_of_section_5_1(name):
    recipe = RECIPES[name]
    data, optimizer = recipe.data, recipe.optimizer
    assert (data.name, data.image_size, data.augmentation) == ("imagenet2012", 224, "random_resized_crop")
    assert data.flip
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 4e-5)
    assert (optimizer.learning_rate, optimizer.schedule) == (0.1, "linear")
    assert (recipe.batch_size, recipe.epochs, recipe.steps_per_epoch) == (256, 300, None)
    assert recipe.model.dropout == 0.2


@pytest.mark.parametrize("kind", ["static", "se", "sb"])
@pytest.mark.parametrize("width", WIDTHS)
def test_voc_settings_are_those_of_section_5_2(kind, width):
    recipe = RECIPES[f"voc-ssdlite-mobilenetv2-{kind}" + ("" if width == 0.35 else f"-x{width}")]
    assert recipe.model.builder == "SSDLite"
    assert recipe.model.width_multiplier == width
    assert recipe.model.attention == sb_keras.Attention(kind)
    data, optimizer = recipe.data, recipe.optimizer
    assert data.train_splits == ("2007/train+validation", "2012/train+validation")
    assert (data.test_splits, data.image_size, data.augmentation) == (("2007/test",), 300, "ssd")
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 4e-5)
    assert (optimizer.learning_rate, optimizer.schedule) == (0.01, "cosine")
    assert (recipe.batch_size, recipe.epochs, recipe.steps_per_epoch) == (32, 200, None)
    assert data.validation_fraction == 0


@pytest.mark.parametrize(
    ("name", "parameters"),
    # In millions, Tables 5 and 10 of the paper; the tests of the models have the others.
    [
        ("cifar10-mobilenetv2-se --set model.attention.positions=expand", 1.089),
        ("cifar10-mobilenetv2-sb --set model.attention.hidden_multiplier=4", 4.460),
    ],
)
def test_parameters_are_the_papers(name, parameters):
    name, *settings = name.split(" --set ")
    recipe = registry.find(name).override(settings)
    with keras.StatelessScope(initialize_variables=False):  # weights have shapes and are not drawn
        model = recipe.model.build(image_size=32, classes=10)
    keras.utils.clear_session()  # and never will be
    assert round(sb_keras.profile(model).total.parameters / 1e6, 3) == parameters


@pytest.mark.parametrize("builder", BLOCKS)
def test_blocks_are_those_of_the_networks(builder):
    first, last = BLOCKS[builder]
    with keras.StatelessScope(initialize_variables=False):  # weights have shapes and are not drawn
        Model(builder, attention=sb_keras.Attention("sb", blocks=(first, last))).build(320, 10)
        for block in {first - 1, last + 1} - {0}:
            attention = sb_keras.Attention("sb", blocks=(block,))
            with pytest.raises(UserError, match=f"from {first} to {last}, which {builder} has"):
                Model(builder, attention=attention)
            with pytest.raises(ValueError, match=f"numbers from {first} to {last}"):
                getattr(sb_keras, builder)(attention=attention)
    keras.utils.clear_session()  # and never will be


def test_find_a_file(tmp_path):
    recipe = RECIPES["digits-mobilenetv2-se"].override(["name=mine"])
    path = tmp_path / "mine.json"
    path.write_text(recipe.to_json())
    assert registry.find(str(path)) == recipe


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet", "unknown recipe 'resnet'. .*recipes.list"),
        ("no/such.json", "cannot read no/such.json: No such"),
    ],
)
def test_find_refuses(name, message):
    with pytest.raises(UserError, match=message):
        registry.find(name)
