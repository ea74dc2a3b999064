"""Tests of training and evaluating a detector, on pictures of rectangles."""

import csv

import keras
import numpy as np
import pytest
from PIL import Image
from shapes import CLASSES, shapes_dataset

import sb_keras
from recipes import evaluate, inspect, show, train
from recipes.command import exit_code
from recipes.data import voc
from recipes.errors import UserError
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from recipes.tasks import TASKS
from recipes.training import loop
from recipes.training.monitoring import Recorder
from recipes.training.within_epoch import Position

# Steps in a graph are in test_own_boxes_recipes.py: tracing takes longer than these few.
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("networks_of_few_blocks", "eager_steps")]

NAME = "voc-ssdlite-mobilenetv2-sb"
SMALL = "data.image_size=160"
SETTINGS = ("epochs=2", "batch_size=4", "steps_per_epoch=1", "model.attention.positions=expand", SMALL)


@pytest.fixture(scope="module")
def rectangles():
    """Makes VOC pictures of rectangles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voc, "load_voc", lambda data: shapes_dataset())
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, rectangles, networks_of_few_blocks, eager_steps):
    """A run of two epochs."""
    run = RunDirectory(tmp_path_factory.mktemp("detector"))
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    assert exit_code(lambda: train.main([NAME, "--run-dir", str(run.path), *options])) == 0
    return run


def test_log_and_result(finished):
    rows, result = finished.log, finished.result
    assert [row["epoch"] for row in rows] == [1, 2]
    assert set(rows[0]) == {*TASKS["detection"].log, "epoch", "learning_rate", "seconds"}
    for row in rows:
        assert row["loss"] == pytest.approx(row["classes_loss"] + row["boxes_loss"], rel=1e-5)
        assert 0 <= row["val_mean_average_precision"] <= 1
        assert 0 <= row["val_coco_average_precision"] <= 1
    for key in ("mean_average_precision", "coco_average_precision", "loss"):
        assert result[f"test_{key}"] == rows[-1][f"val_{key}"]
    assert result["classes"] == list(CLASSES)
    assert np.asarray(Image.open(finished.curves_file)).shape[1] > 500


def test_a_log_from_before_there_was_a_column_goes_on_without_it(finished):
    rows = [{key: value for key, value in row.items() if "coco" not in key} for row in finished.log]
    recorder = Recorder(finished, rows, TASKS["detection"], Position())
    assert [*rows[0]] == ["epoch", *recorder.columns, "seconds"]
    assert "val_coco_average_precision" in Recorder(finished, [], TASKS["detection"], Position()).columns


def test_evaluate(finished, capsys, tmp_path):
    files = {name: tmp_path / name for name in ("table.csv", "curves.png", "sheet.png")}
    options = zip(("--csv", "--plot", "--sheet"), map(str, files.values()), strict=True)
    arguments = [str(finished.path), *(part for option in options for part in option)]
    assert exit_code(lambda: evaluate.main(arguments)) == 0
    output = capsys.readouterr().out
    assert f"test mean average precision {finished.result['test_mean_average_precision']:.4f}" in output
    assert f"COCO {finished.result['test_coco_average_precision']:.4f}" in output
    with files["table.csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(CLASSES)
    labels = shapes_dataset().test.labels
    assert [int(row["objects"]) for row in rows] == [np.sum(labels == label) for label in range(3)]
    values = [float(row["AP 11-point"]) for row in rows]
    assert np.nanmean(values) == pytest.approx(finished.result["test_mean_average_precision"], abs=1e-6)
    for name in ("curves.png", "sheet.png"):
        assert np.asarray(Image.open(files[name])).std() > 10  # something is drawn


@pytest.mark.slow
def test_going_on_ends_where_an_undisturbed_run_does(finished, rectangles, tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "stopped")
    monkeypatch.setattr(RunDirectory, "save_checkpoint", stopping(RunDirectory.save_checkpoint))
    with pytest.raises(KeyboardInterrupt):
        loop.train(run, recipe=finished.recipe)
    monkeypatch.undo()
    monkeypatch.setattr(voc, "load_voc", lambda data: shapes_dataset())
    loop.train(run)
    for mine, theirs in zip(run.load_model().weights, finished.load_model().weights, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)


def stopping(save):
    def save_and_stop(run, model, epoch):
        save(run, model, epoch)
        raise KeyboardInterrupt

    return save_and_stop


def test_inspect_shows_the_backbones_attention(finished, capsys):
    assert exit_code(lambda: inspect.main([str(finished.path), "--images", "2"])) == 0
    assert "block8_expand" in capsys.readouterr().out


def test_show(rectangles, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    arguments = [NAME, "--out", str(out), "--pictures", "4", "--set", SMALL]
    assert exit_code(lambda: show.main(arguments)) == 0
    assert np.asarray(Image.open(out)).std() > 10
    assert exit_code(lambda: show.main(arguments)) == 2
    assert "sheet.png exists; --overwrite replaces it" in capsys.readouterr().err


def test_show_of_a_classifier(tmp_path):
    out = tmp_path / "sheet.png"
    assert exit_code(lambda: show.main(["digits-mobilenetv2-sb", "--out", str(out)])) == 0
    assert np.asarray(Image.open(out)).std() > 10


def test_backbone(tmp_path):
    recipe = RECIPES["voc-ssdlite-mobilenetv2-static"]
    classifier = sb_keras.MobileNetV2((224, 224, 3), 0.35, classes=10)
    run = RunDirectory(tmp_path / "classifier")
    run.claim(RECIPES["digits-mobilenetv2-static"])
    run.save_model(classifier, run.final_file)
    detector = TASKS["detection"].compiled_model(recipe.override([f"model.backbone={run.path}"]), classes=3)
    np.testing.assert_array_equal(
        detector.get_layer("block3_project").kernel, classifier.get_layer("block3_project").kernel
    )
    with pytest.raises(UserError, match=r"model\.backbone=.*is not this detector's backbone"):
        TASKS["detection"].compiled_model(RECIPES[NAME].override([f"model.backbone={run.path}"]), classes=3)
    with pytest.raises(UserError, match="is not a run directory"):
        TASKS["detection"].compiled_model(recipe.override(["model.backbone=nowhere"]), classes=3)
    run.save_model(sb_keras.MobileNetV2((96, 96, 3), 0.35, "sb", classes=10), run.final_file)
    with pytest.raises(UserError, match=r"model\.backbone=.*is not this detector's backbone") as caught:
        TASKS["detection"].compiled_model(recipe.override([f"model.backbone={run.path}"]), classes=3)
    assert "\n" not in str(caught.value)


def test_what_goes_with_what():
    for name, setting, message in (
        (
            "digits-mobilenetv2-sb",
            "data.name=voc",
            "one of digits, .*, as data.augmentation is pad_crop.*voc",
        ),
        (
            NAME,
            "data.name=image_folder",
            "must be one of voc, .*, as .*Received: image_folder, which is",
        ),
        ("digits-mobilenetv2-sb", "model.builder=SSDLite", "model.builder, with data.name=digits, must be"),
        ("digits-mobilenetv2-sb", "model.backbone=x", "model.builder, with model.backbone, must be"),
        (
            NAME,
            "data.augmentation=pad_crop",
            "another task: data.name must be one of digits, cifar10, tiny_imagenet, image_f",
        ),
        (
            NAME,
            "data.image_size=301",
            "data.image_size of voc must be 300, 160, .* or 640. Received: 301",
        ),
        (NAME, "data.image_size=128", "data.image_size of voc must be 300, 160, .* Received: 128"),
    ):
        with pytest.raises(UserError, match=message):
            RECIPES[name].override([setting])


def test_a_model_of_other_classes_is_refused(finished):
    with pytest.raises(UserError, match="the model was trained with 3 classes; the data have 2 now: a, b"):
        TASKS["detection"].check_classes(
            type("Dataset", (), {"classes": ("a", "b")}), keras.saving.load_model(finished.final_file), None
        )


@pytest.mark.slow
def test_learns_eight_pictures_by_heart(rectangles, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "run_eagerly", False)  # a hundred steps pay for a graph
    settings = ["epochs=100", "batch_size=8", "data.augmentation=none"]
    recipe = RECIPES["voc-ssdlite-mobilenetv2-static"].override([*settings, "optimizer.learning_rate=0.02"])
    result = loop.train(RunDirectory(tmp_path), recipe=recipe)
    assert result["test_mean_average_precision"] > 0.9
