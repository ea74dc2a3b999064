import keras
import numpy as np
import pytest

from recipes.command import exit_code
from tflite.convert import convert
from tflite.evaluate import main
from tflite.interpreter import open_interpreter, predict
from tflite.metadata import Metadata, add_metadata

COUNT = 50


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    """Files of the run's network, of one with noise in its weights, and of some that do not fit."""
    folder = tmp_path_factory.mktemp("files")
    model = run.load_model()
    (folder / "same.tflite").write_bytes(convert(model))
    noisy = run.load_model()
    rng = np.random.default_rng(0)
    noisy.set_weights([w + 0.3 * np.abs(w).mean() * rng.normal(size=w.shape) for w in noisy.get_weights()])
    (folder / "noisy.tflite").write_bytes(convert(noisy))
    inputs = keras.Input((48, 48, 3))
    (folder / "large.tflite").write_bytes(convert(keras.Model(inputs, keras.layers.Flatten()(inputs))))
    inputs = keras.Input((32, 32, 3))
    three_classes = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(inputs))
    (folder / "three.tflite").write_bytes(convert(keras.Model(inputs, three_classes)))
    (folder / "text.tflite").write_text("not a model " * 10)
    return folder


def command(*arguments):
    return exit_code(lambda: main([str(argument) for argument in arguments]))


def test_predicts_what_keras_predicts(run, files, digits):
    images = digits[0][:COUNT]
    outputs = predict(open_interpreter(files / "same.tflite"), images)
    # Sums of 64 products in another order.
    np.testing.assert_allclose(outputs, np.array(run.load_model()(images)), atol=1e-5)


def printed_rows(capsys):
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines[2:-1]}, lines[-1]


@pytest.mark.parametrize("name", ["same", "noisy"])
def test_accuracy_and_agreement(run, files, digits, capsys, name):
    path = files / f"{name}.tflite"
    assert command(path, run.path, "--images", COUNT) == 0
    rows, last = printed_rows(capsys)
    assert last == f"{COUNT} test images of {run.recipe.name}"

    images, labels = (values[:COUNT] for values in digits)
    expected = np.array(run.load_model()(images))
    actual = predict(open_interpreter(path), images)
    keras_hits = sum(row.argmax() == label for row, label in zip(expected, labels, strict=True))
    hits = sum(row.argmax() == label for row, label in zip(actual, labels, strict=True))
    same = sum(a.argmax() == b.argmax() for a, b in zip(actual, expected, strict=True))
    assert rows["Keras"] == [f"{keras_hits / COUNT:.4f}"]
    assert rows["TFLite"][:2] == [f"{hits / COUNT:.4f}", f"{same / COUNT:.4f}"]
    assert float(rows["TFLite"][2]) == pytest.approx(np.abs(actual - expected).max(), rel=0.05)  # one decimal
    assert keras_hits > 0.8 * COUNT
    assert (same == COUNT) == (name == "same")


def test_without_a_run_there_is_nothing_to_compare(files, digits, capsys):
    assert command(files / "same.tflite", "digits-mobilenetv2-sb", "--threads", 1) == 0
    rows, last = printed_rows(capsys)
    outputs = predict(open_interpreter(files / "same.tflite"), digits[0])
    assert rows == {"TFLite": [f"{np.mean(outputs.argmax(axis=1) == digits[1]):.4f}"]}
    assert last == f"{len(digits[1])} test images of digits-mobilenetv2-sb"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("large", [], "Expected: [(1, 32, 32, 3), (1, 10)]. Received"),
        ("three", [], "Received: [(1, 32, 32, 3), (1, 3)]"),
        ("text", [], "LiteRT cannot load"),
        ("missing", [], "no such file"),
        ("same", ["--threads", 0], "--threads must be at least 1"),
        ("same", ["--images", 0], "--images must be at least 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit(files, capsys, name, options, message):
    path = files / f"{name}.tflite"
    assert command(path, "digits-mobilenetv2-sb", *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("recipe", "message"), [("nothing", "unknown recipe"), ("", "is not a run directory")]
)
def test_unknown_recipe(files, capsys, recipe, message):
    assert command(files / "same.tflite", recipe or files) == 2
    assert message in capsys.readouterr().err


def test_class_names_of_the_file_must_be_those_of_the_data(run, files, capsys):
    names = [f"class {i}" for i in range(10)]
    file = files / "names.tflite"
    file.write_bytes(convert(run.load_model(), labels=names))
    assert command(file, run.path) == 2
    assert "trained with the classes class 0, class 1" in capsys.readouterr().err


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_files_that_take_pixels(run, digits, tmp_path, capsys, quantization):
    """What the file takes is read from it, and its integers are understood."""
    path, data, images = tmp_path / "pixels.tflite", run.recipe.data, digits[0][:COUNT]
    content = convert(run.load_model(), quantization, images, normalization=(data.mean, data.std))
    pixels = Metadata(name="pixels", mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255))
    path.write_bytes(add_metadata(content, pixels))
    assert command(path, run.path, "--images", COUNT) == 0
    rows, _ = printed_rows(capsys)
    if quantization == "float32":
        assert rows["TFLite"][:2] == [rows["Keras"][0], "1.0000"]
        assert float(rows["TFLite"][2]) < 1e-5
    else:
        assert float(rows["TFLite"][1]) > 0.9
