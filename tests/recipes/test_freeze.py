"""Tests of `model.freeze`: what a network learns that begins trained, and what stays as it was."""

import keras
import numpy as np
import pytest

import sb_keras
from recipes.errors import UserError
from recipes.pretrained import remark
from recipes.registry import RECIPES
from recipes.tasks import task_of

pytestmark = pytest.mark.usefixtures("networks_of_few_blocks")

FREEZES = ("none", "batch_norm", "backbone")
SIZES = {"photos": 32, "boxes": 160}


@pytest.fixture(scope="module")
def weights(tmp_path_factory, networks_of_few_blocks):
    path = tmp_path_factory.mktemp("trained") / "best.keras"
    keras.utils.set_random_seed(1)
    sb_keras.MobileNetV2((32, 32, 3), 0.1, classes=7).save(path)
    return path


def compiled(name, freeze, weights="none", *settings):
    size = SIZES[name.partition("-")[0]]
    recipe = RECIPES[name].override(
        [
            *(f"model.weights={weights}", f"model.freeze={freeze}", f"data.image_size={size}"),
            *("model.width_multiplier=0.1", "optimizer.name=sgd", *settings),
        ],
        idle=True,
    )
    model = task_of(recipe).compiled_model(recipe, 3)
    model.run_eagerly = True  # two steps take less time than tracing one
    return task_of(recipe), model


def changed_by_training(model, task, steps=2):
    """The layers whose weights two steps change: after the first one λ is no longer 0."""
    images = np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype("float32")
    if task.counted == "pictures":
        targets = np.arange(4) % 3
    else:
        anchors = model.get_layer("boxes").output.shape[1]
        targets = {"classes": np.ones((4, anchors), "int32"), "boxes": np.ones((4, anchors, 5), "float32")}
    before = {layer.name: layer.get_weights() for layer in model.layers}
    for _ in range(steps):
        model.train_on_batch(images, targets)
    return {
        layer.name
        for layer in model.layers
        if not all(map(np.array_equal, layer.get_weights(), before[layer.name]))
    }


@pytest.mark.parametrize("freeze", FREEZES)
@pytest.mark.parametrize("name", ["photos-mobilenetv2-sb", "boxes-ssdlite-mobilenetv2-sb"])
def test_what_is_frozen_stays(weights, name, freeze):
    task, model = compiled(name, freeze, weights)
    weighted = {layer.name for layer in model.layers if layer.weights}
    anew = {*task.head(model), *task.attention(model)}
    norms = {each.name for each in model.layers if isinstance(each, keras.layers.BatchNormalization)} - anew
    assert norms
    assert anew < weighted
    expected = {"none": weighted, "batch_norm": weighted - norms, "backbone": anew}[freeze]
    assert changed_by_training(model, task) == expected


def test_nothing_is_frozen_that_begins_anew():
    task, model = compiled("photos-mobilenetv2-static", "backbone")
    assert changed_by_training(model, task) == {layer.name for layer in model.layers if layer.weights}


@pytest.mark.parametrize("freeze", FREEZES[1:])
def test_frozen_networks_normalize_as_at_inference(weights, freeze, rng):
    _, model = compiled("photos-mobilenetv2-static", freeze, weights, "model.dropout=0")
    images = rng.normal(size=(4, 32, 32, 3)).astype("float32")
    training, inference = (model(images, training=training).numpy() for training in (True, False))
    np.testing.assert_array_equal(training, inference)


def test_frozen_layers_adapt_to_pruning(weights, rng):
    """Which fine-tunes the whole network, whatever was frozen while it was trained."""
    from tflite.compression import prune

    _, model = compiled("photos-mobilenetv2-static", "backbone", weights)
    name = "block2_expand"
    before = sb_keras.fold(model).get_layer(name).kernel.numpy()
    pruned = prune(model, rng.normal(size=(64, 32, 32, 3)).astype("float32"))
    after = pruned.get_layer(name).kernel.numpy()
    kept = after != 0
    assert 0.3 < kept.mean() < 0.7
    assert (after[kept] != before[kept]).mean() > 0.9


def test_wrong_settings():
    photos = RECIPES["photos-mobilenetv2-sb"]
    expected = r"model.freeze must be one of batch_norm, backbone, none \(in JSON null\)\. Received: 'all'"
    with pytest.raises(UserError, match=expected):
        photos.override(["model.freeze=all"])
    with pytest.raises(UserError, match=r"freeze=backbone needs sb.* Received: dyconv"):
        photos.override(["model.freeze=backbone", "model.attention.kind=dyconv"])
    with pytest.raises(UserError, match=r"model.freeze has no effect where model.weights is None"):
        RECIPES["cifar10-mobilenetv2-sb"].override(["model.freeze=batch_norm"])


@pytest.mark.parametrize("kind", ["sb", "static"])
def test_a_rate_by_which_nothing_learns_is_refused(kind):
    settings = ["model.freeze=backbone", "optimizer.learning_rate=3e-3"]
    name = f"photos-mobilenetv2-{kind}"
    with pytest.raises(UserError, match=r"learning_rate has no effect where model.freeze is backbone"):
        RECIPES[name].override(settings)
    RECIPES[name].override([*settings, "optimizer.head_learning_rate=none"])


def test_remarks():
    static, sb = (RECIPES[f"photos-mobilenetv2-{kind}"] for kind in ("static", "sb"))
    assert remark(static) == remark(sb) == ""
    assert "model.freeze=batch_norm freezes nothing" in remark(sb.override(["model.weights=none"]))
    assert remark(sb.override(["model.weights=none", "model.freeze=none"])) == ""
    assert "with λ from 0.1 a network does not begin as" in remark(
        static.override(["model.attention.kind=sb"])
    )
