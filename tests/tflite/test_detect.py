"""tflite.detect gives what the Keras detector gives, in pixels of the picture."""

import json

import numpy as np
import pytest
from PIL import Image

import sb_keras
from recipes.command import exit_code
from recipes.registry import RECIPES
from recipes.tasks import TASKS
from tflite import classify, detect
from tflite.convert import convert
from tflite.export import build, pixel_input
from tflite.metadata import Metadata

pytestmark = pytest.mark.long

RECIPE = RECIPES["boxes-ssdlite-mobilenetv2-static"].override(["data.image_size=160"])
CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def model():
    """A small detector whose scores differ from anchor to anchor."""
    model = sb_keras.SSDLite(0.35, classes=2, input_shape=(160, 160, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if (
            layer.name.startswith("classes")
            and layer.weights
            and not layer.name.endswith(("bn", "depthwise"))
        ):
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(scale=0.03, size=kernel.shape), bias])
    return model


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "detector.tflite"
    metadata = Metadata(name="detector", labels=CLASSES, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    path.write_bytes(build(model, metadata=metadata, **pixel_input(RECIPE.data)))
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.fromarray(rng.integers(0, 256, (12, 20, 3), np.uint8)).resize((400, 240)).save(path)
    return path


def test_same_objects_as_keras(model, file, picture):
    """Both suppress by class; of boxes as sure as each other either may come first."""
    with Image.open(picture) as image:
        expected = TASKS["detection"].answer(model, RECIPE, CLASSES, image, least_score=0.1)
    found = detect.detect(picture, file, least_score=0.1)
    assert len(expected) > 20
    for row in expected[:10]:
        twins = [
            each
            for each in found
            if each["class"] == row["class"]
            and np.allclose(each["box_yxyx"], row["box_yxyx"], rtol=0, atol=0.2)  # pixels, rounded to tenths
            and abs(each["score"] - row["score"]) < 1e-3  # float32 in another order, rounded
        ]
        assert len(twins) == 1


def test_command(file, picture, tmp_path, capsys):
    arguments = [picture.parent, "--model", file, "--score", 0.1, "--json", tmp_path / "out.jsonl"]
    arguments += ["--draw", tmp_path / "drawn"]
    assert exit_code(lambda: detect.main([str(each) for each in arguments])) == 0
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["picture"] == str(picture)
    assert row["objects"] == detect.detect(picture, file, least_score=0.1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(picture)
    assert len(lines) == 1 + len(row["objects"])
    with Image.open(tmp_path / "drawn" / "0000-a.jpg") as image:
        assert image.size == (400, 240)


def test_what_is_no_detector(file, picture, tmp_path, capsys):
    plain = tmp_path / "plain.tflite"
    inputs_only = sb_keras.CifarMobileNetV2(width_multiplier=0.1)
    plain.write_bytes(
        convert(inputs_only, labels=[str(n) for n in range(10)], normalization=((0.5,) * 3,) * 2)
    )
    for program, model, message in (
        (detect, plain, "is no detector: expected an input of shape"),
        (classify, file, "is no image classifier"),
        (detect, picture, "is not a .tflite file"),
    ):
        assert exit_code(lambda p=program, m=model: p.main([str(picture), "--model", str(m)])) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
