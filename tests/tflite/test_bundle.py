"""Tests of tflite.web.bundle."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recipes.command import exit_code
from tflite.convert import convert
from tflite.web import bundle


@pytest.fixture
def file(run, tmp_path):
    path = tmp_path / "digits.tflite"
    path.write_bytes(convert(run.load_model()))
    return path


def test_bundle_has_a_picture_of_each_class_and_keras_answers(run, digits, file, tmp_path, capsys):
    x, labels = digits
    firsts = x[[list(labels).index(label) for label in range(10)]]
    out = tmp_path / "page"

    assert exit_code(lambda: bundle.main([str(run.path), str(file), "--out", str(out)])) == 0

    assert "models/digits.tflite and 10 pictures" in capsys.readouterr().out
    content = json.loads((out / "models" / "bundle.json").read_text())
    assert content["name"] == "digits-mobilenetv2-static"
    assert (out / content["model"]).read_bytes() == file.read_bytes()
    assert [picture["class"] for picture in content["pictures"]] == list("0123456789")
    answers = [picture["keras"] for picture in content["pictures"]]
    expected = np.array(run.load_model()(firsts))
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-6)  # they are rounded to six digits
    data = run.recipe.data
    for picture, image in zip(content["pictures"], firsts, strict=True):
        pixels = np.array(Image.open(out / picture["file"]))
        # Whole numbers became float32 when they were normalized.
        np.testing.assert_allclose((pixels / 255 - data.mean) / data.std, image, rtol=0, atol=1e-5)


def test_page_opens_with_the_picture_that_the_file_is_surest_of(run, digits, file, tmp_path):
    x, labels = digits
    firsts = x[[list(labels).index(label) for label in range(10)]]
    scores = np.array(run.load_model()(firsts))
    right = [label for label in range(10) if scores[label].argmax() == label]
    assert 0 < len(right) < 10  # so that the file errs on some

    content = bundle.bundle(run, file, tmp_path)

    assert content["opening"] == f"pictures/{max(right, key=lambda label: scores[label][label])}.png"


def test_page_opens_with_the_first_picture_if_the_file_is_right_on_none(
    run, file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(bundle, "predict", lambda interpreter, images: -np.eye(10))
    command = [str(run.path), str(file), "--out", str(tmp_path / "page")]

    assert exit_code(lambda: bundle.main(command)) == 0

    content = json.loads((tmp_path / "page" / "models" / "bundle.json").read_text())
    assert content["opening"] is None
    assert "right on none of them: the page opens with the first" in capsys.readouterr().out


def test_of_pictures_that_the_file_is_as_sure_of_keras_decides():
    answers = np.array([[0.6, 0.4], [0.1, 0.9], [0.9, 0.1], [0.9, 0.1]])
    keras_answers = np.array([[1.0, 0.0], [0.2, 0.8], [0.7, 0.3], [1.0, 0.0]])

    assert bundle._surest_right(answers, keras_answers, np.array([0, 1, 0, 1])) == 1


def test_bundle_is_not_replaced_unasked(run, file, tmp_path, capsys):
    command = [str(run.path), str(file), "--out", str(tmp_path / "page")]
    bundle.main(command)

    assert exit_code(lambda: bundle.main(command)) == 2
    assert "has a model; --overwrite replaces it" in capsys.readouterr().err
    assert exit_code(lambda: bundle.main([*command, "--overwrite"])) == 0


def test_bundle_refuses_a_file_of_another_network(run, tmp_path, capsys):
    inputs = keras.Input((8, 8, 3))
    other = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    path = tmp_path / "other.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(other).convert())

    assert exit_code(lambda: bundle.main([str(run.path), str(path), "--out", str(tmp_path)])) == 2
    message = "Expected shapes: [(1, 32, 32, 3), (1, 10)]. Received: [(1, 8, 8, 3), (1, 3)]"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
