"""The pictures and the answers of a linear network, computed again in NumPy."""

import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from orientations import ORIENTATIONS
from PIL import Image

from recipes.command import exit_code
from recipes.errors import UserError
from tflite.classify import classify, main, read_image
from tflite.convert import convert
from tflite.metadata import Metadata, add_metadata

ROOT = pathlib.Path(__file__).parents[2]
HEIGHT, WIDTH = 6, 4
LABELS = ("ant", "bee", "cat", "dog", "écureuil", "fox")
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
KERNEL = np.random.default_rng(1).normal(scale=0.1, size=(HEIGHT * WIDTH * 3, len(LABELS))).astype("float32")
METADATA = Metadata(name="linear", labels=LABELS, mean=MEAN, std=STD)


def normalize(pixels):
    return ((pixels / 255 - MEAN) / STD).astype("float32")


def expected_probabilities(pixels):
    logits = normalize(pixels).ravel() @ KERNEL
    return np.exp(logits) / np.exp(logits).sum()


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    dense = keras.layers.Dense(len(LABELS), activation="softmax", use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([KERNEL])
    return model


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def integer_model(dtype):
    """The model quantized by TensorFlow's own converter, for pixels of every value."""

    @tf.function(input_signature=[tf.TensorSpec((1, HEIGHT, WIDTH, 3), tf.float32)])
    def model(image):
        return tf.nn.softmax(tf.reshape(image, (1, -1)) @ KERNEL)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()])
    values = np.linspace(0, 255, 20 * HEIGHT * WIDTH * 3).reshape(20, HEIGHT, WIDTH, 3)
    examples = np.random.default_rng(0).permuted(values, axis=None)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([normalize(each)[None]] for each in examples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    with warnings.catch_warnings(action="ignore"):  # of statistics that it does not need
        return converter.convert()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    contents = {
        "float32": convert(model),
        "int8": integer_model(tf.int8),
        "uint8": integer_model(tf.uint8),
    }
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(add_metadata(content, METADATA))
    unnamed = Metadata(name="linear", mean=MEAN, std=STD)
    (folder / "unnamed.tflite").write_bytes(add_metadata(contents["float32"], unnamed))
    (folder / "undescribed.tflite").write_bytes(add_metadata(contents["float32"], Metadata(name="linear")))
    (folder / "plain.tflite").write_bytes(contents["float32"])
    whole = add_metadata(contents["float32"], METADATA)
    (folder / "truncated.tflite").write_bytes(whole[: len(whole) // 2])
    (folder / "text.tflite").write_text("some text")
    return folder


@pytest.fixture
def picture(tmp_path):
    """A function that writes pixels, or an image of Pillow, and returns the path."""

    def write(image, name="picture.png", **options):
        path = tmp_path / name
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(path, **options)
        return path

    return write


# Eight bits: a step of 1/256 in the probabilities, of 1/255 in each of 72 pixels, of 1/127 in each weight.
@pytest.mark.parametrize(("name", "tolerance"), [("float32", 1e-6), ("int8", 0.02), ("uint8", 0.02)])
def test_probabilities(files, picture, pixels, name, tolerance):
    answers = classify(picture(pixels), files / f"{name}.tflite")
    expected = expected_probabilities(pixels)
    assert [label for label, _ in answers][:2] == [LABELS[index] for index in np.argsort(-expected)][:2]
    probabilities = dict(answers)
    np.testing.assert_allclose([probabilities[label] for label in LABELS], expected, atol=tolerance)
    assert sorted(probabilities.values(), reverse=True) == [probability for _, probability in answers]


def test_program_prints_the_top_five(files, picture, pixels, capsys):
    assert exit_code(lambda: main([str(picture(pixels)), "--model", str(files / "float32.tflite")])) == 0
    expected = expected_probabilities(pixels)
    best = np.argsort(-expected)[:5]
    assert capsys.readouterr().out == "".join(f"{expected[i]:7.2%}  {LABELS[i]}\n" for i in best)


def test_classes_without_names_are_numbered(files, picture, pixels, capsys):
    path = str(files / "unnamed.tflite")
    assert exit_code(lambda: main([str(picture(pixels)), "--model", path, "--top", "1"])) == 0
    assert capsys.readouterr().out.endswith(f"  class {expected_probabilities(pixels).argmax()}\n")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation(picture, pixels, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    upright = ORIENTATIONS[orientation](pixels)
    image = read_image(picture(pixels, exif=exif), *upright.shape[:2])
    np.testing.assert_array_equal(image, upright)


def test_kinds_of_color(picture, pixels):
    def read(image, name="picture.png"):
        return read_image(picture(image, name), HEIGHT, WIDTH)

    alpha = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)
    grey = pixels[..., 0]
    np.testing.assert_array_equal(read(np.concatenate([pixels, alpha], -1)), pixels)
    np.testing.assert_array_equal(read(grey), grey[..., None].repeat(3, -1))
    np.testing.assert_array_equal(read(np.stack([grey, alpha[..., 0]], -1)), grey[..., None].repeat(3, -1))
    np.testing.assert_array_equal(read(grey.astype("uint16") * 256 + 255), grey[..., None].repeat(3, -1))
    np.testing.assert_array_equal(
        read(Image.fromarray(grey > 99)), 255 * (grey > 99)[..., None].repeat(3, -1)
    )
    palette = Image.fromarray(grey, "P")
    palette.putpalette(np.arange(255, -1, -1).repeat(3).tolist())
    np.testing.assert_array_equal(read(palette), 255 - grey[..., None].repeat(3, -1))


def test_cmyk(picture, pixels):
    """Black ink darkens what the colored inks leave; one level for Pillow's rounding."""
    cmyk = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    image = read_image(picture(Image.fromarray(cmyk, "CMYK"), "picture.tiff"), HEIGHT, WIDTH)
    expected = (255 - cmyk[..., :3]) * (1 - cmyk[..., 3:] / 255)
    np.testing.assert_allclose(image, expected, atol=1)


@pytest.mark.parametrize("shape", [(47, 31), (5, 90), (3, 2)])
def test_sizes_change_as_in_training(picture, shape):
    """TensorFlow computes in floats and Pillow in fixed point, in two passes: two levels."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    image = read_image(picture(pixels), HEIGHT, WIDTH)
    expected = tf.image.resize(pixels, (HEIGHT, WIDTH), antialias=True)
    np.testing.assert_allclose(image, expected, atol=2)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tiff"])
def test_damaged_pictures(picture, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    path = picture(noise, f"picture.{suffix}")
    whole = path.read_bytes()
    for length in (0, 1, 20, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=rf"^cannot read .*picture\.{suffix} as a picture: "):
            read_image(path, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing.tflite: No such file or directory"),
        ("undescribed", "undescribed.tflite does not say how its input is normalized"),
        ("text", "text.tflite is not a .tflite file"),
        ("plain", "plain.tflite does not say how its input is normalized"),
        ("truncated", "truncated.tflite is damaged or incomplete"),
    ],
)
def test_wrong_models(files, picture, pixels, capsys, name, message):
    assert exit_code(lambda: main([str(picture(pixels)), "--model", str(files / f"{name}.tflite")])) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_model_that_is_no_classifier(picture, pixels, tmp_path):
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    path = tmp_path / "map.tflite"
    path.write_bytes(add_metadata(convert(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))), METADATA))
    with pytest.raises(UserError, match=r"is no image classifier: .* Received inputs .* \[\(1, 4, 2, 2\)\]$"):
        classify(picture(pixels), path)


def test_names_must_be_as_many_as_outputs(files, picture, pixels, monkeypatch):
    fewer = Metadata(name="linear", labels=LABELS[:2], mean=MEAN, std=STD)
    monkeypatch.setattr("tflite.picture_file.read_metadata", lambda path: fewer)
    with pytest.raises(UserError, match=r"float32\.tflite has 6 outputs and 2 class names$"):
        classify(picture(pixels), files / "float32.tflite")


@pytest.mark.parametrize("text", [None, "no picture"])
def test_wrong_pictures(files, tmp_path, capsys, text):
    path = tmp_path / "picture.jpg"
    if text:
        path.write_text(text)
    assert exit_code(lambda: main([str(path), "--model", str(files / "float32.tflite")])) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert ("no picture that Pillow knows" if text else "no such file or folder") in error


# Nothing but the standard library and what `pip install ai-edge-litert numpy pillow` gives can be imported.
BLOCK = """
import runpy, sys
KNOWN = {"ai_edge_litert", "numpy", "PIL", "flatbuffers", "recipes", "tflite"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in KNOWN | sys.stdlib_module_names:
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Block())
"""


@pytest.mark.parametrize("run", ["run_module('tflite.classify'", "run_path(sys.argv[0]"])
def test_without_tensorflow_and_keras(files, picture, pixels, run):
    code = f"{BLOCK}del sys.argv[0]\nruntime = runpy.{run}, run_name='__main__')"
    arguments = [ROOT / "tflite" / "classify.py", picture(pixels), "--model", files / "float32.tflite"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(LABELS[expected_probabilities(pixels).argmax()])


def test_as_a_script_from_another_folder(files, picture, pixels, tmp_path):
    command = [sys.executable, ROOT / "tflite" / "classify.py"]
    command += [picture(pixels), "--model", files / "float32.tflite"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].endswith(LABELS[expected_probabilities(pixels).argmax()])
