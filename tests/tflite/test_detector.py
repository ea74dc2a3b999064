"""Tests of a detector's file against Keras, and of MediaPipe Tasks' ObjectDetector on it."""

import contextlib
import pathlib
import re
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from detectors import assert_the_same_is_found, by_keras, detector, opened, rectangles
from PIL import Image

from recipes.command import exit_code
from recipes.data import voc
from recipes.errors import UserError
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from tflite import convert as convert_program
from tflite import evaluate as evaluate_program
from tflite.accuracy import mean_average_precision, scores
from tflite.convert import convert
from tflite.detector import run_detector
from tflite.metadata import DETECTION_OUTPUTS, Metadata, add_metadata, read_metadata

sys.path.append(str(pathlib.Path(__file__).parents[1] / "recipes"))
from shapes import CLASSES, shapes_dataset

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("networks_of_few_blocks")]

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
PIXELS = Metadata(name="shapes", labels=CLASSES, mean=(0.0,) * 3, std=(1 / 255,) * 3)


@pytest.fixture(scope="module")
def pixels():
    return rectangles(300)


@pytest.fixture(scope="module")
def model(pixels, networks_of_few_blocks):
    return detector(pixels)


@pytest.fixture(scope="module")
def content(model):
    return convert(model, labels=CLASSES, normalization=(MEAN, STD))


def test_the_file_finds_what_keras_finds(model, content, pixels):
    assert_the_same_is_found(model, content, pixels)


@pytest.mark.parametrize(("height", "width"), [pytest.param(160, 160, marks=pytest.mark.slow), (160, 256)])
def test_pictures_of_another_size(height, width):
    pixels = rectangles(256)[:, :height, :width]
    model = detector(pixels, width=0.1)
    assert_the_same_is_found(model, convert(model, normalization=(MEAN, STD)), pixels)


def test_layout_is_that_of_tflites_detectors(content):
    interpreter = opened(content)
    details = interpreter.get_output_details()
    assert [tuple(each["shape"]) for each in details] == [(1, 100, 4), (1, 100), (1, 100), (1,)]
    assert all(each["dtype"] == np.float32 for each in details)
    runner = interpreter.get_signature_runner("serving_default")
    assert set(runner.get_output_details()) == set(DETECTION_OUTPUTS)
    with contextlib.redirect_stderr(None):
        assert {each["op_name"] for each in interpreter._get_ops_details()} >= {
            "TFLite_Detection_PostProcess"
        }


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["float16", "dynamic"])
def test_smaller_weights(model, quantization, pixels):
    content = convert(model, quantization, normalization=(MEAN, STD))
    for actual, expected in zip(
        run_detector(opened(content), [pixels[:2]]), by_keras(model, pixels[:2]), strict=True
    ):
        # The best box of a picture, to what half precision and 8-bit weights leave of it.
        assert actual["scores"][0] == pytest.approx(expected["scores"][0], abs=0.1)


def test_int8_keeps_scales_of_logits_and_boxes_apart(model, pixels):
    content = convert(model, "int8", (pixels - 127) / 128, normalization=(MEAN, STD))
    interpreter = opened(content)
    (source,) = interpreter.get_input_details()
    assert (source["dtype"], tuple(source["quantization"])) == (np.uint8, (1.0, 0))
    assert all(each["dtype"] == np.float32 for each in interpreter.get_output_details())
    scales = {
        tensor["name"]: tensor["quantization"][0]
        for tensor in interpreter.get_tensor_details()
        if tensor["name"].endswith("_float") or tuple(tensor["shape"]) in ((1, 3000, 4), (1, 3000, 5))
    }
    assert len({scale for scale in scales.values() if scale}) >= 2
    for actual, expected in zip(run_detector(interpreter, [pixels]), by_keras(model, pixels), strict=True):
        assert actual["scores"].max() == pytest.approx(expected["scores"].max(), abs=0.2)


def test_labels_of_another_number_are_refused(model):
    with pytest.raises(ValueError, match=r"must name the model's 3 classes\. Received: 2 names"):
        convert(model, labels=["a", "b"])


def test_metadata(content, tmp_path):
    path = tmp_path / "shapes.tflite"
    path.write_bytes(add_metadata(convert_without_labels(content), PIXELS))
    assert read_metadata(path).labels == CLASSES


def convert_without_labels(content):
    """The same file without what `labels` put into it: metadata are written once."""
    from tflite import model_file

    model = model_file.read(content)
    model.metadata = [entry for entry in model.metadata if entry.name != b"TFLITE_METADATA"]
    return model_file.write(model)


def test_mediapipe_finds_the_same(content, pixels):
    mediapipe = pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import ObjectDetector, ObjectDetectorOptions

    content = add_metadata(convert_without_labels(content), PIXELS)
    options = ObjectDetectorOptions(base_options=BaseOptions(model_asset_buffer=content), max_results=5)
    expected = run_detector(opened(content), [pixels])
    inside = 0
    with contextlib.closing(ObjectDetector.create_from_options(options)) as detector:
        for picture, each in zip(pixels, expected, strict=True):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture.astype("uint8"))
            found = detector.detect(image).detections
            assert len(found) == 5
            for row, detected in enumerate(found):
                (category,), box = detected.categories, detected.bounding_box
                assert category.category_name == CLASSES[each["classes"][row]]
                assert category.score == pytest.approx(each["scores"][row], abs=1e-5)
                top, left, bottom, right = each["boxes_yxyx"][row] * 300
                # MediaPipe rounds to pixels, and lets boxes stick out: by how much, their sides tell.
                assert (box.origin_y, box.origin_x) == pytest.approx((top, left), abs=1.01)
                assert box.height >= bottom - top - 2
                assert box.width >= right - left - 2
                if 0 < top < bottom < 300 and 0 < left < right < 300:
                    assert (box.height, box.width) == pytest.approx((bottom - top, right - left), abs=2)
                    inside += 1
    assert inside > 10


def test_the_readmes_example_runs(content, pixels, tmp_path, monkeypatch, capsys):
    pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    readme = (pathlib.Path(__file__).parents[2] / "tflite" / "README.md").read_text()
    (example,) = [
        each for each in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "detector" in each
    ]
    monkeypatch.chdir(tmp_path)
    pathlib.Path("detector.tflite").write_bytes(add_metadata(convert_without_labels(content), PIXELS))
    Image.fromarray(pixels[0].astype("uint8")).save("photo.jpg")
    exec(example, {})
    assert any(name in capsys.readouterr().out for name in CLASSES)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A run directory of that detector."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    run.claim(RECIPES["voc-ssdlite-mobilenetv2-sb"].override(["batch_size=8"]))
    run.save_model(model, run.final_file)
    run.write_result({"classes": list(CLASSES)})
    return run


def test_convert_and_evaluate_programs(run, pixels, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(voc, "load_voc", lambda data: shapes_dataset())
    out = tmp_path / "shapes.tflite"
    # Nothing that this network finds is an object: its score hangs on the order of what scores the same.
    arguments = [str(run.path), "--out", str(out), "--evaluate", "--max-drop", "100"]
    assert exit_code(lambda: convert_program.main(arguments)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    scores = {line[0]: line[1] for line in lines if line and line[0] in ("Keras", "folded", "TFLite")}
    assert len(scores) == 3
    assert read_metadata(out).labels == CLASSES
    expected = mean_average_precision(shapes_dataset().test, run_detector(opened(out.read_bytes()), [pixels]))
    assert scores["TFLite"] == f"{expected:.2f}"

    assert exit_code(lambda: evaluate_program.main([str(out), str(run.path)])) == 0
    output = capsys.readouterr().out
    assert f"{expected / 100:.4f}" in output
    assert "8 test images" in output


@pytest.mark.slow
def test_a_gate_that_fails_writes_nothing(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(voc, "load_voc", lambda data: shapes_dataset())
    monkeypatch.setattr(
        "tflite.accuracy.scores", lambda *_, **__: {"Keras": 50.0, "folded": 50.0, "TFLite": 46.9}
    )
    out = tmp_path / "shapes.tflite"
    arguments = [str(run.path), "--out", str(out), "--evaluate", "--quantize", "int8"]
    assert exit_code(lambda: convert_program.main(arguments)) == 1
    assert "the file loses 3.10 points, at most 3 are allowed" in capsys.readouterr().out
    assert not out.exists()


def test_a_file_that_is_better_gains(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(voc, "load_voc", lambda data: shapes_dataset())
    monkeypatch.setattr(
        "tflite.accuracy.scores", lambda *_, **__: {"Keras": 50.0, "folded": 50.0, "TFLite": 50.03}
    )
    arguments = [str(run.path), "--out", str(tmp_path / "shapes.tflite"), "--evaluate"]
    assert exit_code(lambda: convert_program.main(arguments)) == 0
    assert "8 test images; the file gains 0.03 points\n" in capsys.readouterr().out


def test_pictures_without_objects_have_no_score(run):
    dataset = shapes_dataset()
    dataset.test.labels[:] = -1
    with pytest.raises(UserError, match="the first 8 test images must have objects"):
        scores({}, [], dataset.test, run.recipe)


def test_a_classifiers_file_does_not_fit_a_detectors_recipe(run, models, monkeypatch, capsys):
    monkeypatch.setattr(voc, "load_voc", lambda data: shapes_dataset())
    (file, *_) = sorted(models.glob("*.tflite"))
    assert exit_code(lambda: evaluate_program.main([str(file), str(run.path)])) == 2
    assert "does not fit the recipe's data" in capsys.readouterr().err


@pytest.fixture(scope="module")
def heads():
    """A file whose pixels are logits and offsets, a picture of one anchor each for twenty classes."""
    classes = 20
    source = keras.Input((300, 300, 1))  # whose pixels are logits and offsets, and some more
    rows = keras.layers.Reshape((3000, 30))(source)
    outputs = {
        "classes": keras.layers.Cropping1D(0, name="classes")(rows[..., : classes + 1]),
        "boxes": keras.layers.Cropping1D(0, name="boxes")(rows[..., classes + 1 : classes + 5]),
    }
    content = convert(keras.Model(source, outputs))
    values = np.zeros((1, 3000, 30), "float32")
    values[..., 0] = 20  # background everywhere, but for an anchor a class
    anchors = np.random.default_rng(0).permutation(3000)[:classes]
    values[0, anchors, 0], values[0, anchors, 1 + np.arange(classes)] = 0, 10
    return content, values.reshape(1, 300, 300, 1), classes


@pytest.mark.parametrize("threads", range(1, 9))
def test_no_class_is_lost_with_any_number_of_threads(threads, heads):
    """TFLite's operator alone loses one: https://github.com/tensorflow/tensorflow/issues/56058."""
    content, pixels, classes = heads
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    (found,) = run_detector(interpreter, [pixels])
    assert sorted(found["classes"]) == list(range(classes))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prune", "cluster", "qat"])
def test_compressed_detectors_find_what_they_found(method, run, tmp_path, monkeypatch, capsys):
    """A step at a rate of next to nothing leaves the average precision as it was, but for rounding."""
    from tflite import compress

    monkeypatch.setattr(voc, "load_voc", lambda data: shapes_dataset())
    own = {"prune": ["sparsity=0.01"], "cluster": ["clusters=256"], "qat": []}
    settings = ("epochs=1", "steps_per_epoch=1", "learning_rate=1e-9", *own[method])
    options = [part for each in settings for part in ("--set", f"compression.{each}")]
    out = tmp_path / "shapes.tflite"
    assert (
        exit_code(lambda: compress.main([str(run.path), "--method", method, "--out", str(out), *options]))
        == 0
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    precisions = {line[0]: float(line[1]) for line in lines if line and line[0] in ("float32", method)}
    assert precisions[method] == pytest.approx(precisions["float32"], abs=0.05)
    assert read_metadata(out).labels == CLASSES
