"""Tests of the recipes as values: frozen, JSON and back, `--set`, and the learning rate."""

import dataclasses
import json
import math

import pytest

from recipes.compression import Compression
from recipes.errors import UserError
from recipes.recipe import Recipe
from recipes.registry import PAPER, RECIPES
from recipes.settings import Optimizer

RECIPE = RECIPES["cifar10-mobilenetv2-sb"]


def changed_json(**changes):
    return json.dumps({**json.loads(RECIPE.to_json()), **changes})


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_json_round_trip(recipe):
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.differences(recipe) == []


def test_json_is_readable():
    values = json.loads(RECIPE.to_json())
    assert values["model"]["attention"]["positions"] == ["expand", "depthwise", "project"]
    assert values["steps_per_epoch"] is None


@pytest.mark.parametrize(
    "part",
    [RECIPE, RECIPE.model, RECIPE.model.attention, RECIPE.data, RECIPE.optimizer, RECIPE.compression],
)
def test_frozen(part):
    field = dataclasses.fields(part)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(part, field, None)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("epochs=3", 3),
        ("optimizer.learning_rate=0.05", 0.05),
        ("optimizer.learning_rate=1e-3", 0.001),
        ("optimizer.learning_rate=1", 1.0),
        ("data.flip=false", False),
        ("data.flip=True", True),
        ("data.directory=/data/a=b", "/data/a=b"),
        ("data.directory=none", None),
        ("data.mean=0.1, 0.2,0.3", (0.1, 0.2, 0.3)),
        ("steps_per_epoch=5", 5),
        ("steps_per_epoch=None", None),
        ("model.width_multiplier=0.5", 0.5),
        ("model.attention.kind=se", "se"),
        ("model.attention.positions=expand,project", ("expand", "project")),
        ("model.attention.positions=expand", ("expand",)),
        ("model.attention.gate=linear", "linear"),
        ("model.attention.gate=none", None),
        ("model.attention.hidden_multiplier=3", 3.0),
        ("model.attention.dropout=0.2", 0.2),
        ("model.attention.blocks=1, 2,17", (1, 2, 17)),
        ("model.attention.blocks=none", None),
    ],
)
def test_set(assignment, expected):
    key = assignment.partition("=")[0]
    value = RECIPE.override([assignment])
    for name in key.split("."):
        value = getattr(value, name)
    assert value == expected
    assert type(value) is type(expected)


def test_set_changes_nothing_else():
    changed = RECIPE.override(["model.attention.lambda_init=0.05", "epochs=1"])
    assert changed.differences(RECIPE) == [("model.attention.lambda_init", 0.05, 0.1), ("epochs", 1, 200)]
    assert RECIPE.epochs == 200


def test_of_two_settings_of_a_key_the_last_counts():
    assert RECIPE.override(["epochs=1", "seed=3", "epochs=2"]).epochs == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "--set takes key=value. Received: 'epochs'"),
        ("epoch=3", "unknown key 'epoch' in --set. Did you mean epochs\\? `--help` lists the keys$"),
        ("=3", "unknown key ''"),
        ("model=3", "unknown key 'model' in --set. `--help` lists the keys$"),
        ("model.attention=sb", "unknown key 'model.attention'"),
        ("model.attention.kinds=sb", "unknown key 'model.attention.kinds'"),
        ("epochs.x=3", "unknown key 'epochs.x'"),
        ("epochs=many", "epochs must be an integer. Received: 'many'"),
        ("epochs=1.5", "epochs must be an integer. Received: '1.5'"),
        ("epochs=", "epochs must be an integer. Received: ''"),
        ("optimizer.momentum=high", "optimizer.momentum must be a number. Received: 'high'"),
        ("data.flip=1", "data.flip must be true or false. Received: '1'"),
        ("data.directory=", "data.directory must be a text that is not empty"),
        ("data.mean=1,2", "data.mean must be three numbers, one a channel"),
        ("data.mean=1,2,x", "must be a comma-separated list, each item a number. Received: '1,2,x'"),
        ("data.mean=1,,2", "must be a comma-separated list, each item a number. Received: '1,,2'"),
        ("data.mean=nan,0,0", "data.mean must be finite. Received: nan"),
        ("data.std=1,0,1", "data.std must be finite and more than 0. Received: 0.0"),
        ("data.std=1,inf,1", "data.std must be finite and more than 0. Received: inf"),
        ("data.name=mnist", "must be one of digits, .*, voc, voc_folder, coco, yolo, csv. Received: 'mnist'"),
        ("data.image_size=16", "data.image_size must be at least 32. Received: 16"),
        ("data.validation_fraction=1", "less than 1"),
        ("epochs=0", "epochs must be at least 1. Received: 0"),
        ("batch_size=-4", "batch_size must be at least 1. Received: -4"),
        ("steps_per_epoch=0", "steps_per_epoch must be at least 1"),
        ("seed=-1", "seed must be at least 0 and less than 2147483648. Received: -1"),
        (f"seed={10**400}", "seed must be at least 0"),
        ("precision=float64", "precision must be one of float32, mixed_bfloat16, mixed_float16"),
        ("optimizer.schedule=step", "optimizer.schedule must be one of cosine, linear, constant"),
        (
            "optimizer.learning_rate=nan",
            "optimizer.learning_rate must be finite and more than 0. Received: nan",
        ),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate must be finite"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay must be finite and at least 0"),
        ("compression.sparsity=1", "compression.sparsity must be finite and more than 0 and less than 1"),
        ("compression.clusters=1", "compression.clusters must be at least 2. Received: 1"),
        ("compression.epochs=0", "compression.epochs must be at least 1"),
        ("compression.steps_per_epoch=0", "compression.steps_per_epoch must be at least 1"),
        ("compression.learning_rate=0", "compression.learning_rate must be finite and more than 0"),
        ("model.builder=ResNet", "model.builder must be one of CifarMobileNetV2"),
        ("model.width_multiplier=0", "model.width_multiplier must be finite and more than 0"),
        ("model.attention.kind=cbam", "model.attention.kind: .*'se-block'.*Received: kind='cbam'"),
        ("model.attention.positions=head", "model.attention.positions: .*head"),
        ("model.attention.lambda_init=nan", "model.attention.lambda_init: .*finite"),
        ("model.attention.hidden_multiplier=0", "model.attention.hidden_multiplier: .*positive"),
        ("model.attention.gate=swish", "model.attention.gate: .*swish"),
        (
            "model.attention.blocks=1-7",
            "model.attention.blocks must be a comma-separated list, each item an integer. Received: '1-7'",
        ),
        (
            "model.attention.blocks=0",
            "model.attention.blocks: .*positive integers.*: blocks=\\(0,\\)",
        ),
        ("model.attention.blocks=2,18", "blocks must be from 1 to 17, which CifarMobileNetV2 has.*: 2,18"),
        ("lambda=0.1", "unknown key 'lambda' in --set. Did you mean model.attention.lambda_init"),
    ],
)
def test_set_refuses(assignment, message):
    with pytest.raises(UserError, match=message):
        RECIPE.override([assignment])


@pytest.mark.parametrize(
    ("recipe", "assignments", "message"),
    [
        (
            "cifar10-mobilenetv2-static",
            ["model.attention.lambda_init=1"],
            "where .*kind is static: it needs sb",
        ),
        ("cifar10-mobilenetv2-se", ["model.attention.lambda_init=1"], "where .*kind is se: it needs sb"),
        ("cifar10-mobilenetv2-se-block", ["model.attention.positions=expand"], "it needs se or sb or"),
        ("cifar10-mobilenetv2-static", ["model.attention.blocks=1"], "it needs se-block or se or sb or"),
        ("cifar10-mobilenetv2-dyconv", ["model.attention.placement=norm"], "it needs se or sb"),
        ("cifar10-mobilenetv2-sb", ["model.attention.experts=2"], "it needs dyconv or condconv"),
        ("cifar10-mobilenetv2-sb", ["temperature_epochs=3"], "it needs dyconv or condconv. Received: 3"),
        (
            "cifar10-mobilenetv2-dyconv",
            ["temperature_epochs=3", "model.attention.gate=sigmoid"],
            "temperature_epochs has no effect where model.attention.gate is sigmoid: it needs softmax",
        ),
        (
            "cifar10-mobilenetv2-sb",
            ["model.attention.dropout=0.2", "model.attention.kind=static"],
            "model.attention.dropout has no effect where model.attention.kind is static",
        ),
        ("imagenet-mobilenetv2-static", ["data.pad=4"], "where data.augmentation is random_resized_crop"),
        ("imagenet-mobilenetv2-static", ["data.test_splits=2007/test"], "where data.name is imagenet2012"),
        ("digits-mobilenetv2-sb", ["data.skip_bad=true"], "where data.name is digits: it needs"),
        ("voc-ssdlite-mobilenetv2-sb", ["model.dropout=0.1"], "where model.builder is SSDLite"),
        ("voc-ssdlite-mobilenetv2-sb", ["data.augmentation=none", "data.flip=false"], "it needs ssd"),
    ],
)
def test_what_has_no_effect_is_refused(recipe, assignments, message):
    with pytest.raises(UserError, match=message):
        RECIPES[recipe].override(assignments)
    assert RECIPES[recipe].override(assignments, idle=True) != RECIPES[recipe]


def test_what_has_an_effect_or_is_as_it_was_is_not_refused():
    static = RECIPES["cifar10-mobilenetv2-static"]
    assert static.override(["model.attention.lambda_init=0.1", "model.attention.gate=none"]) == static
    together = static.override(["model.attention.lambda_init=1", "model.attention.kind=sb"])
    assert together.model.attention.lambda_init == 1
    condconv = ["model.attention.kind=condconv", "model.attention.gate=softmax", "temperature_epochs=2"]
    assert static.override(condconv).temperature_epochs == 2
    earlier = static.override(["model.attention.lambda_init=1"], idle=True)
    assert Recipe.from_json(earlier.to_json()) == earlier
    assert earlier.override(["model.attention.lambda_init=1", "epochs=1"]).epochs == 1
    assert all(RECIPES[row.recipe].override([row.setting]) for row in PAPER if row.setting)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a recipe: .*line 1 column 2"),
        ("", "not a recipe"),
        ("3", "a recipe must be an object with the keys name, model.*Received: 3"),
        ("[]", "a recipe must be an object"),
        ("null", "a recipe must be an object"),
        ('{"name": "x"}', "must have exactly the keys .*Received: no batch_size, data"),
        (changed_json(colour=1), "must have exactly the keys .*Received: also colour"),
        (changed_json(model=3), "model must be an object with the keys builder.*Received: 3"),
        (changed_json(data={"name": "digits"}), "data must have exactly the keys .*Received: no directory"),
        (changed_json(epochs="many"), "epochs must be an integer. Received: 'many'"),
        (changed_json(epochs=True), "epochs must be an integer. Received: True"),
        (changed_json(epochs=2.0), "epochs must be an integer. Received: 2.0"),
        (changed_json(epochs=None), "epochs must be an integer. Received: None"),
        (changed_json(name=7), "name must be a text"),
        (changed_json(steps_per_epoch="all"), "steps_per_epoch must be an integer or null"),
        (changed_json(seed=-1), "seed must be at least 0"),
        (RECIPE.to_json().replace("0.9", "NaN"), "optimizer.momentum must be finite"),
        (RECIPE.to_json().replace("0.9", "true"), "optimizer.momentum must be a number"),
        (RECIPE.to_json().replace("0.4914", '"0.5"'), "data.mean must be a number"),
        (RECIPE.to_json().replace('"expand"', "1"), "model.attention.positions must be a text"),
        (RECIPE.to_json().replace('"sb"', '"cbam"'), "model.attention: .*cbam"),
    ],
)
def test_json_refuses(text, message):
    with pytest.raises(UserError, match=message):
        Recipe.from_json(text)


def test_json_from_before_there_was_compression():
    values = json.loads(RECIPE.to_json())
    del values["compression"]
    again = Recipe.from_json(json.dumps(values))
    assert again == RECIPE
    assert again.compression == Compression()


def test_json_takes_whole_numbers_for_floats():
    again = Recipe.from_json(RECIPE.to_json().replace("0.9", "0"))
    assert again.optimizer.momentum == 0.0
    assert isinstance(again.optimizer.momentum, float)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "mine.json: not a recipe"),
        (b"\xff\xfe", "mine.json: .*utf-8"),
        (None, "cannot read .*mine.json: No"),
    ],
)
def test_read_names_the_file(content, message, tmp_path):
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Recipe.read(path)


def test_cosine():
    """PyTorch's CosineAnnealingLR(T_max=200), stepped once an epoch."""
    for epoch in range(200):
        expected = 0.05 * (1 + math.cos(math.pi * epoch / 200))
        assert RECIPE.optimizer.learning_rate_at(epoch, 200) == pytest.approx(expected, rel=1e-12)
    at = RECIPE.optimizer.learning_rate_at
    # By hand: cos(π/4) = √½, cos(π/2) = 0; the last epoch is almost at zero, the one after would be.
    by_hand = {0: 0.1, 50: 0.0853553390593, 100: 0.05, 150: 0.0146446609407, 199: 6.1683779e-06}
    assert {epoch: at(epoch, 200) for epoch in by_hand} == pytest.approx(by_hand, rel=1e-6)
    assert at(200, 200) == 0


def test_linear_and_constant():
    linear, constant = (Optimizer(0.05, schedule=schedule) for schedule in ("linear", "constant"))
    assert [linear.learning_rate_at(e, 5) for e in range(5)] == pytest.approx([0.05, 0.04, 0.03, 0.02, 0.01])
    assert [constant.learning_rate_at(e, 5) for e in range(5)] == [0.05] * 5


def test_a_schedule_of_more_epochs():
    """Four of eight epochs are the first half of eight."""
    longer = Optimizer(0.05, schedule_epochs=8)
    expected = [Optimizer(0.05).learning_rate_at(epoch, 8) for epoch in range(4)]
    assert [longer.learning_rate_at(epoch, 4) for epoch in range(4)] == expected
    with pytest.raises(UserError, match=r"schedule_epochs must be at least epochs, 4\. Received: 3"):
        RECIPE.override(["epochs=4", "optimizer.schedule_epochs=3"])
    with pytest.raises(UserError, match=r"no effect where optimizer\.schedule is constant"):
        RECIPE.override(["optimizer.schedule=constant", "optimizer.schedule_epochs=900"])
