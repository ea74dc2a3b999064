"""The program that converts, and its files."""

import functools
import re

import keras
import numpy as np
import pytest
from file_answers import SHALLOW, assert_same_answers, run_tflite
from refusals import refused

from recipes.command import exit_code
from recipes.data import to_pixels
from recipes.recipe import Recipe
from recipes.run_directory import RunDirectory
from tflite.convert import convert, main
from tflite.metadata import read_metadata

pytestmark = pytest.mark.long


def command(*arguments):
    return exit_code(lambda: main([str(argument) for argument in arguments]))


assert_refused = functools.partial(refused, command)


def test_command(run, digits, tmp_path, capsys):
    out = tmp_path / "model.tflite"
    assert command(run.path, "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}: {out.stat().st_size / 1e6:.2f} MB, float32\n"
    content = out.read_bytes()
    images, data = digits[0][:3], run.recipe.data
    expected = np.array(run.load_model()(images))
    actual = run_tflite(content, to_pixels(images, data.mean, data.std))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SHALLOW * np.abs(expected).max())
    metadata = read_metadata(out)
    assert metadata.labels == tuple("0123456789")
    assert metadata.mean == (0, 0, 0)  # it takes pixels
    np.testing.assert_allclose(np.array(metadata.std), 1 / 255, rtol=1e-6)  # seven digits
    assert Recipe.from_json(metadata.recipe) == run.recipe
    assert list(tmp_path.iterdir()) == [out]

    assert command(run.path, "--out", out) == 2
    assert capsys.readouterr().err == f"error: {out} exists; --overwrite replaces it\n"
    out.write_bytes(b"old")
    assert command(run.path, "--out", out, "--overwrite") == 0
    assert out.read_bytes() == content


def test_wrong_paths(run, tmp_path, capsys):
    out = tmp_path / "model.tflite"
    assert_refused(capsys, "is not a run directory", tmp_path / "none", "--out", out)
    assert_refused(capsys, "no such folder", run.path, "--out", tmp_path / "none" / "model.tflite")
    assert_refused(capsys, "is a folder", run.path, "--out", tmp_path, "--overwrite")
    assert_refused(capsys, "best.keras", run.path, "--out", out, "--model", "best")
    unfinished = RunDirectory(tmp_path / "unfinished")
    unfinished.claim(run.recipe)
    assert_refused(capsys, "its training is unfinished", unfinished.path, "--out", out)
    assert not out.exists()


def test_failing_write_leaves_the_old_file(run, tmp_path, capsys):
    out = tmp_path / "model.tflite"
    out.write_bytes(b"old")
    (tmp_path / "tmp-model.tflite").mkdir()
    assert_refused(capsys, f"cannot write {out}", run.path, "--out", out, "--overwrite")
    assert out.read_bytes() == b"old"


def test_author_and_license(run, tmp_path):
    out = tmp_path / "model.tflite"
    assert command(run.path, "--out", out, "--author", "Ada", "--license", "Apache-2.0") == 0
    metadata = read_metadata(out)
    assert (metadata.author, metadata.license) == ("Ada", "Apache-2.0")
    assert metadata.name == run.recipe.name


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic", "int8"])
def test_evaluate(run, digits, tmp_path, capsys, quantization):
    """The digits' network is linear, by least squares: quantization hardly costs it anything."""
    out = tmp_path / "model.tflite"
    assert command(run.path, "--out", out, "--quantize", quantization, "--evaluate") == 0
    lines = capsys.readouterr().out.splitlines()
    images, labels = digits
    keras_accuracy = 100 * np.mean(np.argmax(run.load_model()(images), -1) == labels)
    printed = {line.split()[0]: float(line.split()[1]) for line in lines[2:5]}
    assert printed["Keras"] == pytest.approx(keras_accuracy, abs=0.005)  # two decimals are printed
    assert printed["folded"] == printed["Keras"]
    assert abs(printed["TFLite"] - printed["Keras"]) <= (0 if quantization == "float32" else 1)
    assert lines[-1].endswith(f"MB, {quantization}")


def test_gate(run, tmp_path, capsys, monkeypatch):
    """A file that is worse than allowed is not written, the worst layers are named, and the code is 1."""
    data = run.recipe.data
    bad = convert(ruined(run.load_model()), normalization=(data.mean, data.std))
    monkeypatch.setattr("tflite.export.quantize_file", lambda *_: bad)
    out = tmp_path / "model.tflite"
    out.write_bytes(b"old")
    assert command(run.path, "--out", out, "--quantize", "dynamic", "--evaluate", "--overwrite") == 1
    printed = capsys.readouterr()
    assert re.search(r"\d+ test images; the file loses .* points, at most 1 are allowed", printed.out)
    assert "--max-drop allows more" in printed.out
    assert "layers that depart most" in printed.out
    table = printed.out.split("depart most")[1].splitlines()
    layer, error = table[3].split()  # the worst one, behind title, head and rule
    assert layer == "digit"
    assert float(error.rstrip("%")) > 50
    assert printed.err.splitlines()[-1] == f"{out} was not written"
    assert out.read_bytes() == b"old"
    few = ("--quantize", "dynamic", "--evaluate", "--images", 4, "--overwrite")
    assert command(run.path, "--out", out, *few) == 1
    assert "at most 25 are allowed\nOne image is 25 points" in capsys.readouterr().out
    assert command(run.path, "--out", out, "--evaluate", "--max-drop", -1) == 2
    assert "--max-drop must be finite and at least 0.0" in capsys.readouterr().err


def ruined(model):
    dense = model.get_layer("digit")
    dense.set_weights([-weight for weight in dense.get_weights()])
    return model


def three_classes():
    inputs = keras.Input((8, 8, 3), name="picture")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x), name="animals")


def test_command_of_a_keras_file(tmp_path, capsys):
    """The values come from Keras, on pixels that NumPy normalizes."""
    source, out, labels = tmp_path / "model.keras", tmp_path / "model.tflite", tmp_path / "labels.txt"
    model = three_classes()
    model.save(source)
    labels.write_text("cat\ndog\nécureuil\n", encoding="utf-8-sig")  # as Windows's editor does
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("float32")

    given = ("--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6", "--labels", labels, "--author", "Ada")
    assert command(source, "--out", out, *given) == 0
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size / 1e6:.2f} MB, float32\n"
    assert_same_answers(out.read_bytes(), model, pixels, inputs=(pixels / 255 - mean) / std)
    metadata = read_metadata(out)
    assert (metadata.name, metadata.author) == ("animals", "Ada")
    assert metadata.labels == ("cat", "dog", "écureuil")
    assert metadata.mean == (0, 0, 0)  # it takes pixels

    assert command(source, "--out", out, "--overwrite") == 0
    assert f"It takes what {source} takes" in capsys.readouterr().out
    assert_same_answers(out.read_bytes(), model, pixels)
    assert read_metadata(out).mean is None


def test_command_refuses_files(run, tmp_path, capsys):
    source, out = tmp_path / "model.keras", tmp_path / "model.tflite"
    three_classes().save(source)
    note, words = tmp_path / "note.keras", tmp_path / "words.txt"
    note.write_text("no model")
    words.write_text("cat\ndog\n")

    def refused(message, *arguments):
        assert_refused(capsys, message, *arguments, "--out", out)

    refused(f"{note} is damaged, or not a .keras file", note)
    refused("`labels` must name the model's 3 classes. Received: 2 names", source, "--labels", words)
    refused(f"cannot read {tmp_path / 'none'} as text", source, "--labels", tmp_path / "none")
    refused(f"cannot read {source} as text", source, "--labels", source)
    refused("--mean and --std go together", source, "--mean", "0,0,0")
    refused("--mean must be three numbers", source, "--mean", "0.5", "--std", "1,1,1")
    refused(
        "--std must be finite and more than 0. Received: 0.0", source, "--mean", "0,0,0", "--std", "1,0,1"
    )
    refused("--quantize int8 needs training images", source, "--quantize", "int8")
    refused("--evaluate goes with a run directory", source, "--evaluate")
    refused("--model goes with a run directory", source, "--model", "best")
    refused("--labels goes with a .keras file", run.path, "--labels", words)
    assert not out.exists()
