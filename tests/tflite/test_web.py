"""Tests of the web page, in headless Chromium.

They need `chromium` (or `google-chrome`) and `npm ci` in tflite/web.
"""

import json
import warnings
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from page import WEB, answer, idle
from PIL import Image

from recipes import registry
from recipes.run_directory import RunDirectory
from tflite.metadata import Metadata, add_metadata, read_metadata
from tflite.web import bundle

pytestmark = pytest.mark.long

CLASSES = list("0123456789")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of a small network with random weights, sharp enough to prefer some classes."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    run.claim(registry.find("digits-mobilenetv2-static"))
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(10, kernel_initializer=keras.initializers.RandomNormal(0, 0.1))(x)
    run.save_model(keras.Model(inputs, keras.layers.Softmax(name="digit")(x)), run.final_file)
    run.write_result({"classes": CLASSES})
    return run


@pytest.fixture(scope="module")
def files(run, digits, tmp_path_factory):
    """The run's network as .tflite files by the type of their input and output, with metadata and without."""
    folder = tmp_path_factory.mktemp("files")
    model = run.load_model()
    for name in ("float32", "int8", "uint8"):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in digits[0][:50])
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = getattr(tf, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter asks for statistics that it then takes itself
            content = converter.convert()
        data = run.recipe.data
        metadata = Metadata(name="digits", labels=tuple(CLASSES), mean=data.mean, std=data.std)
        (folder / f"{name}.tflite").write_bytes(add_metadata(content, metadata))
        (folder / f"{name}-bare.tflite").write_bytes(content)
    with zipfile.ZipFile(folder / "int8-bare.tflite", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "\n".join(f"digit {label}" for label in CLASSES))
    return folder


@pytest.fixture(scope="module")
def page(open_page, bundled):
    """The page with the run's model; the tests share it, since LiteRT.js takes a second to load."""
    return open_page(bundled)


def run_in_python(path, pixels, mean, std):
    """LiteRT's answer to a picture of pixels in [0, 255], and one step of the output's scale."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = ((pixels / 255 - mean) / std).astype("float32")
    if source["dtype"] != np.float32:
        limits, (scale, zero_point) = np.iinfo(source["dtype"]), source["quantization"]
        values = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
    interpreter.set_tensor(source["index"], values[None].astype(source["dtype"]))
    interpreter.invoke()
    output = interpreter.get_tensor(target["index"])[0]
    if target["dtype"] == np.float32:
        return output, 0
    scale, zero_point = target["quantization"]
    return (output.astype("float32") - zero_point) * scale, scale


def tolerance(step):
    """How far the page's answers may be off, where the output's scale is `step` (0 for floats)."""
    # XNNPACK sums in another order in WebAssembly than on this CPU, which tells in the last digits of a
    # float32, and where a sum comes out near a half in the last one of an integer.
    return 1.01 * step or 1e-5


def assert_same(page, expected, tolerance, labels):
    names, shares = answer(page)
    assert len(names) == min(5, len(expected))
    mine = shares[:, 0]
    np.testing.assert_allclose(mine, [expected[labels.index(name)] for name in names], rtol=0, atol=tolerance)
    np.testing.assert_allclose(mine, np.sort(expected)[::-1][:5], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def bundled(run, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundled")
    bundle.bundle(run, files / "float32.tflite", out)
    return out


def test_page_answers_as_litert_in_python_on_the_committed_pictures(open_page):
    content = json.loads((WEB / "models" / "bundle.json").read_text())
    metadata = read_metadata(WEB / content["model"])
    page = open_page(WEB)

    for picture in content["pictures"]:
        page.get_by_role("button", name=picture["class"], exact=True).click()
        idle(page)
        pixels = np.array(Image.open(WEB / picture["file"]))
        expected, step = run_in_python(WEB / content["model"], pixels, metadata.mean, metadata.std)
        assert_same(page, expected, tolerance(step), metadata.labels)
        names, shares = answer(page)
        keras_answer = [picture["keras"][metadata.labels.index(name)] for name in names]
        np.testing.assert_array_equal(shares[:, 1], keras_answer)


@pytest.mark.parametrize("name", ["float32", "int8", "uint8"])
def test_page_runs_a_file_of_the_user(page, bundled, files, run, name):
    data = run.recipe.data
    page.set_input_files("#model-file", files / f"{name}.tflite")
    idle(page)

    assert f"· {name} · 32 × 32 px · 10 classes" in page.inner_text("#model-details")
    assert page.inner_text("#latency").endswith(" ms")
    for number in (0, 3, 7):
        page.get_by_role("button", name=str(number)).click()
        idle(page)
        pixels = np.array(Image.open(bundled / "pictures" / f"{number}.png"))
        expected, step = run_in_python(files / f"{name}.tflite", pixels, data.mean, data.std)
        assert_same(page, expected, tolerance(step), CLASSES)
        assert not page.is_visible("th.keras")  # its answers are those of the bundled model


def test_page_shows_keras_answers_to_the_bundled_pictures(page, bundled, run, digits):
    x, labels = digits
    page.reload()
    idle(page)
    expected = run.load_model().predict(x[[list(labels).index(4)]], verbose=0)[0]

    page.get_by_role("button", name="4").click()
    idle(page)
    names, shares = answer(page)

    np.testing.assert_allclose(shares[:, 1], [expected[CLASSES.index(name)] for name in names], atol=1e-6)
    assert f"{expected.argmax()}, {100 * expected.max():.1f} %. Keras says the same" in (
        page.inner_text("#summary")
    )


def test_page_lets_the_user_choose_what_a_bare_file_does_not_tell(page, bundled, files):
    page.set_input_files("#model-file", files / "float32-bare.tflite")
    page.get_by_role("button", name="0").click()
    idle(page)
    pixels = np.array(Image.open(bundled / "pictures" / "0.png"))

    for choice, mean, std in (
        ("from 0 to 1", 0, 1),
        ("from −1 to 1", 0.5, 0.5),
        ("from 0 to 255", 0, 1 / 255),
    ):
        page.select_option("#range", label=choice)
        idle(page)
        expected, _ = run_in_python(files / "float32-bare.tflite", pixels, mean, std)
        # With pixels up to 255 the scores before the softmax are in the hundreds.
        assert_same(page, expected, 1e-4, [f"class {index}" for index in range(10)])


def test_page_takes_the_integers_of_a_bare_file_for_pixels(page, bundled, files):
    pixels = np.array(Image.open(bundled / "pictures" / "0.png"))
    page.set_input_files("#model-file", files / "int8-bare.tflite")
    page.get_by_role("button", name="0").click()
    idle(page)
    interpreter = Interpreter(str(files / "int8-bare.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (pixels - 128.0).astype("int8")[None])
    interpreter.invoke()
    (target,) = interpreter.get_output_details()
    scale, zero_point = target["quantization"]
    expected = (interpreter.get_tensor(target["index"])[0].astype("float32") - zero_point) * scale

    assert not page.is_visible("#range")
    # The names come from the compressed labels.txt that the fixture appended.
    assert_same(page, expected, tolerance(scale), [f"digit {label}" for label in CLASSES])


def test_page_resizes_as_the_training_does(page, bundled, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (61, 97, 3), "uint8")
    for name, image in (("shrunk", noise), ("enlarged", noise[:9, :40])):
        path = tmp_path / f"{name}.png"
        Image.fromarray(image).save(path)
        page.set_input_files("#picture-file", path)
        idle(page)
        rgba = page.eval_on_selector(
            "#input", "canvas => [...canvas.getContext('2d').getImageData(0, 0, 32, 32).data]"
        )
        seen = np.array(rgba).reshape(32, 32, 4)[..., :3]

        expected = tf.round(tf.image.resize(image, (32, 32), antialias=True)).numpy()
        # Sums in another order may round to the other side of a half.
        np.testing.assert_allclose(seen, expected, atol=1)
        assert np.mean(seen != expected) < 0.01


def test_page_turns_scores_into_probabilities(page, bundled, tmp_path):
    inputs = keras.Input((8, 8, 3))
    means = keras.layers.GlobalAveragePooling2D()(inputs)
    content = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, 2 * means)).convert()
    (tmp_path / "scores.tflite").write_bytes(content)
    Image.new("RGB", (20, 10), (255, 0, 51)).save(tmp_path / "red.png")
    page.set_input_files("#model-file", tmp_path / "scores.tflite")
    page.set_input_files("#picture-file", tmp_path / "red.png")
    idle(page)

    names, shares = answer(page)

    assert names == ["class 0", "class 2", "class 1"]
    powers = np.exp([2, 0.4, 0])
    np.testing.assert_allclose(shares[:, 0], powers / powers.sum(), atol=1e-6)


def test_page_takes_a_dropped_picture(page, bundled):
    page.evaluate(
        """async () => {
            const transfer = new DataTransfer();
            const content = await (await fetch("pictures/7.png")).blob();
            transfer.items.add(new File([content], "seven.png"));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }"""
    )
    idle(page)
    dropped = answer(page)
    assert page.inner_text("#caption") == "seven.png"

    page.get_by_role("button", name="7").click()
    idle(page)
    names, shares = answer(page)
    assert dropped[0] == names
    np.testing.assert_array_equal(dropped[1][:, 0], shares[:, 0])


def test_page_classifies_the_camera(page, bundled):
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Camera").click()
    idle(page)
    page.wait_for_function("document.getElementById('latency-note').textContent.includes('median of 15')")
    assert page.is_visible("#video")
    page.get_by_role("button", name="Take the picture").click()
    idle(page)

    page.context.clear_permissions()
    assert not page.is_visible("#video")
    assert page.inner_text("#caption") == "From the camera"
    assert page.evaluate("document.getElementById('video').srcObject.active") is False
    assert page.inner_text("#summary").startswith(answer(page)[0][0])
