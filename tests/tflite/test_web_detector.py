"""Tests of the web page's detection mode, in headless Chromium, against LiteRT in Python."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from page import drop, idle
from PIL import Image

from sb_keras.detection import ssdlite_anchors
from tflite.convert import convert
from tflite.detector import run_detector
from tflite.metadata import Metadata, add_metadata
from tflite.web import bundle

pytestmark = pytest.mark.long

CLASSES = ("circle", "square", "star")
MEAN, STD = 0.5, 0.25


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A detector that finds what the average color of a picture tells it, float32 and int8."""
    keras.utils.set_random_seed(0)
    anchors = len(ssdlite_anchors())
    color = keras.layers.GlobalAveragePooling2D()(inputs := keras.Input((300, 300, 3), name="image"))
    outputs = {}
    for name, columns, spread in (("classes", len(CLASSES) + 1, 0.8), ("boxes", 4, 1)):
        dense = keras.layers.Dense(
            anchors * columns, kernel_initializer=keras.initializers.RandomNormal(0, spread)
        )
        outputs[name] = keras.layers.Reshape((anchors, columns), name=name)(dense(color))
    model = keras.Model(inputs, outputs)
    folder = tmp_path_factory.mktemp("detectors")
    pictures = np.random.default_rng(0).uniform(-2, 2, (8, 1, 1, 3)) * np.ones((1, 300, 300, 1))
    normalization = ((MEAN,) * 3, (STD,) * 3)
    for kind, calibration in (("float32", None), ("int8", pictures.astype("float32"))):
        content = convert(model, kind, calibration, normalization=normalization)
        metadata = Metadata(name="shapes", labels=CLASSES, mean=(0.0,) * 3, std=(1 / 255,) * 3)
        (folder / f"{kind}.tflite").write_bytes(add_metadata(content, metadata))
    Image.new("RGB", (300, 300), (200, 40, 90)).save(folder / "pink.png")
    Image.new("RGB", (640, 300), (20, 240, 90)).save(folder / "green.png")
    return folder


@pytest.fixture(scope="module")
def page(open_page, tmp_path_factory):
    return open_page(tmp_path_factory.mktemp("empty"))


def objects(page):
    """Names, scores and boxes of the objects that the page lists."""
    rows = page.locator("#answer tbody tr").all()
    return (
        [row.locator("th").inner_text() for row in rows],
        [float(row.locator("data").get_attribute("value")) for row in rows],
        np.array([row.get_attribute("data-box").split() for row in rows], float).reshape(-1, 4),
    )


def drawn(page):
    """How many pixels of the boxes' canvas are not transparent."""
    return page.eval_on_selector(
        "#boxes",
        """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
            .filter((value, index) => index % 4 === 3 && value > 0).length""",
    )


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("picture", ["pink", "green"])
def test_page_finds_what_litert_in_python_finds(page, files, kind, picture):
    page.set_input_files("#model-file", files / f"{kind}.tflite")
    page.set_input_files("#picture-file", files / f"{picture}.png")
    idle(page)
    interpreter = Interpreter(str(files / f"{kind}.tflite"))
    interpreter.allocate_tensors()
    color = np.array(Image.open(files / f"{picture}.png"))[:1, :1]
    (found,) = run_detector(interpreter, [np.full((1, 300, 300, 3), color, "float32")])
    assert "300 × 300 px · detector · 3 classes" in page.inner_text("#model-details")

    for least in (0.3, 0.9):
        page.locator("#score").fill(str(least))
        count = min(10, int(np.sum(found["scores"] >= least)))
        assert count > 0
        names, scores, boxes_yxyx = objects(page)
        assert names == [CLASSES[label] for label in found["classes"][:count]]
        # WebAssembly sums in another order than this CPU, and the softmax differs in its last digits.
        np.testing.assert_allclose(scores, found["scores"][:count], atol=1e-4)
        np.testing.assert_allclose(boxes_yxyx, found["boxes_yxyx"][:count], atol=1e-4)
        assert drawn(page) > 0
        assert names[0] in page.inner_text("#summary")


def test_boxes_are_drawn_where_they_are(page, files):
    page.set_input_files("#model-file", files / "float32.tflite")
    page.set_input_files("#picture-file", files / "green.png")
    idle(page)
    page.locator("#score").fill("0.3")
    _, _, boxes_yxyx = objects(page)
    alphas = page.eval_on_selector(
        "#boxes",
        """(canvas, boxes) => boxes.map(([ymin, xmin, ymax, xmax]) => {
            const at = (x, y) => canvas.getContext("2d").getImageData(
                Math.min(canvas.width - 1, Math.round(x * canvas.width)),
                Math.min(canvas.height - 1, Math.round(y * canvas.height)), 1, 1).data[3];
            return [at(xmin, (ymin + ymax) / 2), at(xmax, (ymin + ymax) / 2), at((xmin + xmax) / 2, ymax)];
        })""",
        boxes_yxyx.tolist(),
    )
    assert np.all(np.array(alphas) == 255)
    width, height = page.eval_on_selector("#boxes", "canvas => [canvas.width, canvas.height]")
    assert width / height == pytest.approx(640 / 300, rel=0.01)  # so that both lie on each other


def test_page_says_that_nothing_is_found(page, files):
    page.set_input_files("#model-file", files / "float32.tflite")
    page.set_input_files("#picture-file", files / "pink.png")
    idle(page)
    page.eval_on_selector("#score", "input => { input.max = 1; }")
    page.locator("#score").fill("1")
    assert objects(page)[0] == []
    assert page.inner_text("#summary").startswith("No objects at 100.0 % or more. The surest is ")
    assert drawn(page) == 0
    page.locator("#score").fill("0.3")


def test_a_classifier_takes_the_boxes_away(page, files, models):
    page.set_input_files("#model-file", files / "float32.tflite")
    page.set_input_files("#picture-file", files / "pink.png")
    idle(page)
    assert page.is_visible("#score")
    inputs = keras.Input((8, 8, 3))
    scores = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(inputs))
    (files / "classifier.tflite").write_bytes(convert(keras.Model(inputs, scores), "float32"))
    page.set_input_files("#model-file", files / "classifier.tflite")
    idle(page)
    assert not page.is_visible("#score")
    assert drawn(page) == 0


def test_page_watches_the_camera(page, files):
    page.set_input_files("#model-file", files / "float32.tflite")
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Camera").click()
    idle(page)
    page.wait_for_function("document.getElementById('latency-note').textContent.includes('median of 15')")
    assert drawn(page) > 0
    page.get_by_role("button", name="Take the picture").click()
    idle(page)
    page.context.clear_permissions()
    assert page.inner_text("#caption") == "From the camera"
    assert drawn(page) > 0


@pytest.fixture(scope="module")
def clip(page, tmp_path_factory):
    """A video of two seconds that is pink, then green."""
    content = page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
            const context = canvas.getContext("2d");
            const fill = (color) => { context.fillStyle = color; context.fillRect(0, 0, 320, 240); };
            fill("rgb(200 40 90)");
            const recorder = new MediaRecorder(canvas.captureStream(), { mimeType: "video/webm" });
            const chunks = [];
            recorder.ondataavailable = ({ data }) => chunks.push(data);
            const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
            recorder.start();
            for (let frame = 0; frame < 40; frame++) {
                fill(frame < 20 ? "rgb(200 40 90)" : "rgb(20 240 90)");
                await new Promise((resolve) => setTimeout(resolve, 50));
            }
            recorder.stop();
            await stopped;
            return [...new Uint8Array(await new Blob(chunks).arrayBuffer())];
        }"""
    )
    path = tmp_path_factory.mktemp("clip") / "clip.webm"
    path.write_bytes(bytes(content))
    return path


def test_boxes_follow_a_video(page, files, clip):
    page.set_input_files("#model-file", files / "float32.tflite")
    page.locator("#score").fill("0.3")
    drop(page, clip, types=["video/webm"])

    assert page.is_visible("#video")
    assert page.inner_text("#caption") == "clip.webm"
    box = ""
    for is_green in (False, True, False, True):  # it is played over and over
        page.wait_for_function(
            """([isGreen, before]) => {
                const [red, green] = document.getElementById("input").getContext("2d")
                    .getImageData(150, 150, 1, 1).data;
                const row = document.querySelector("#answer tbody tr");
                return row && green > red === isGreen && row.dataset.box !== before;
            }""",
            arg=[is_green, box],
            polling="raf",
        )
        box = page.locator("#answer tbody tr").first.get_attribute("data-box")
        assert drawn(page) > 0
    width, height = page.eval_on_selector("#boxes", "canvas => [canvas.width, canvas.height]")
    assert width / height == pytest.approx(320 / 240)  # so that the boxes lie on the video


def test_a_picture_of_a_video_gets_the_boxes_of_its_frame(page, files, clip):
    page.set_input_files("#model-file", files / "float32.tflite")
    drop(page, clip, types=["video/webm"])
    page.get_by_role("button", name="Take the picture").click()
    idle(page)

    assert page.inner_text("#caption") == "From clip.webm"
    assert not page.is_visible("#video")
    assert page.evaluate("document.getElementById('video').paused")
    rgba = page.eval_on_selector(
        "#input", "canvas => [...canvas.getContext('2d').getImageData(0, 0, 300, 300).data]"
    )
    interpreter = Interpreter(str(files / "float32.tflite"))
    interpreter.allocate_tensors()
    frame = np.array(rgba, "float32").reshape(1, 300, 300, 4)[..., :3]
    (found,) = run_detector(interpreter, [frame])
    _, scores, boxes_yxyx = objects(page)
    np.testing.assert_allclose(scores, found["scores"][:10], atol=1e-4)
    np.testing.assert_allclose(boxes_yxyx, found["boxes_yxyx"][:10], atol=1e-4)
    assert drawn(page) > 0


def test_several_pictures_get_their_objects_in_words(page, files):
    page.set_input_files("#model-file", files / "float32.tflite")
    page.locator("#score").fill("0.3")
    words = []
    for name in ("pink", "green"):
        page.set_input_files("#picture-file", files / f"{name}.png")
        idle(page)
        words.append(page.inner_text("#summary").removesuffix("."))

    page.set_input_files("#picture-file", [files / "pink.png", files / "green.png"])
    idle(page)

    rows = page.locator("#several-answers strong")
    assert rows.all_inner_texts() == words
    page.eval_on_selector("#score", "input => { input.max = 1; }")
    page.locator("#score").fill("1")
    assert rows.all_inner_texts() == ["no objects", "no objects"]
    page.locator("#score").fill("0.3")


def test_boxes_and_objects_are_in_view_on_a_phone(page, files):
    page.set_viewport_size({"width": 390, "height": 844})
    page.set_input_files("#model-file", files / "float32.tflite")
    page.set_input_files("#picture-file", files / "green.png")
    idle(page)
    page.evaluate("scrollTo(0, 0)")  # the tests before this one scrolled to what they clicked on

    for selector in ("#boxes", "#score", "#summary"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844
    assert page.locator("#boxes").bounding_box()["width"] > 0.8 * 390


def test_bundle_takes_classifiers_only(files):
    with pytest.raises(
        bundle.UserError, match=r"the page's own model is a classifier\. Received: a detector"
    ):
        bundle.check_classifier(files / "float32.tflite")
