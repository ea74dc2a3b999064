"""Tests of the recipes for one's own pictures with boxes, from labels and a weight file to a detector."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from labelled import WRITERS
from shapes import CLASSES, shapes

import sb_keras
from recipes import evaluate, train
from recipes.command import exit_code
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.layers import ShiftBalance

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("networks_of_few_blocks")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, networks_of_few_blocks):
    """A run directory of a small classifier with other classes."""
    path = tmp_path_factory.mktemp("trained")
    keras.utils.set_random_seed(1)
    sb_keras.MobileNetV2((32, 32, 3), 0.1, classes=7).save(path / "best.keras")
    recipe = RECIPES["photos-mobilenetv2-static"].override(["data.mean=0.4,0.5,0.6"])
    (path / "recipe.json").write_text(recipe.to_json())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Colored rectangles, as YOLO has them."""
    split, path = shapes(pictures=12), tmp_path_factory.mktemp("pictures")
    pictures = []
    for row, name in enumerate(split.names):
        height, width, _ = tf.io.decode_png(split.images[row]).shape
        boxes = split.boxes_yxyx[row] * np.array([height, width, height, width])
        rows = zip(boxes.tolist(), split.labels[row].tolist(), strict=True)
        objects = [(*box, label, 0) for box, label in rows if label >= 0]
        pictures.append(
            {"name": name, "content": split.images[row], "size": (height, width), "objects": objects}
        )
    WRITERS["yolo"](path, {"train": pictures}, CLASSES)
    return path


def test_boxes(folder, weights, tmp_path, capsys):
    (tmp_path / "pictures").symlink_to(folder)
    settings = (
        *(
            "data.name=yolo",
            f"data.directory={tmp_path / 'pictures'}",
            f"model.weights={weights}",
            "data.image_size=160",
        ),
        *("model.width_multiplier=0.1", "batch_size=4", "epochs=2", "steps_per_epoch=1"),
    )
    arguments = [x for setting in settings for x in ("--set", setting)]
    name = "boxes-ssdlite-mobilenetv2-static"
    assert exit_code(lambda: train.main([name, *arguments, "--run-dir", str(tmp_path / "run")])) == 0
    run = RunDirectory(tmp_path / "run")
    assert run.classes == CLASSES
    assert run.recipe.data.mean == (0.4, 0.5, 0.6)  # as the weights need it
    assert np.isfinite([row["val_loss"] for row in run.log]).all()

    (tmp_path / "pictures").rename(tmp_path / "moved")
    assert exit_code(lambda: evaluate.main([str(run.path)])) == 2
    message = f"no such folder: {tmp_path / 'pictures'} (data.directory; a run has it in its recipe.json, "
    assert message in capsys.readouterr().err
    file = run.path / "recipe.json"
    file.write_text(file.read_text().replace(str(tmp_path / "pictures"), str(tmp_path / "moved")))
    assert exit_code(lambda: evaluate.main([str(run.path)])) == 0


@pytest.mark.slow
def test_the_backbone_begins_as_it_was_trained(weights):
    """With Shift-and-Balance as well: λ is 0."""
    recipe = RECIPES["boxes-ssdlite-mobilenetv2-sb"].override(
        [f"model.weights={weights}", "data.image_size=160", "model.width_multiplier=0.1"]
    )
    detector = task_of(recipe).compiled_model(recipe, classes=3)
    assert any(isinstance(layer, ShiftBalance) for layer in detector.layers)
    features = keras.Model(detector.input, detector.get_layer("head_relu").output)
    static = sb_keras.MobileNetV2((160, 160, 3), 0.1, include_top=False, weights=str(weights))
    images = np.random.default_rng(0).normal(size=(2, 160, 160, 3)).astype("float32")
    np.testing.assert_array_equal(features.predict(images, verbose=0), static.predict(images, verbose=0))
