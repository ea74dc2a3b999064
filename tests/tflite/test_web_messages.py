"""Tests of what the web page says where something is wrong, in headless Chromium."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from page import WEB, answer, idle

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def page(open_page):
    return open_page(WEB)


def invert(image):
    """A function whose operators LiteRT.js does not have."""
    return tf.linalg.diag_part(tf.linalg.inv(image[..., 0]))


def test_page_says_what_is_wrong_and_keeps_what_it_has(page, tmp_path):
    vector = keras.Sequential([keras.Input((4,)), keras.layers.ReLU()])
    flex = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(invert).get_concrete_function(tf.TensorSpec((1, 8, 8, 3), tf.float32))]
    )
    flex.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    contents = {
        "note": b"a note, no picture",
        "note.tflite": b"a note, no model",
        "note.txt": b"The TFL3 stands where a .tflite file has it",
        "cut.tflite": next(WEB.glob("models/*.tflite")).read_bytes()[:3000],
        "flex.tflite": flex.convert(),
        "vector.tflite": tf.lite.TFLiteConverter.from_keras_model(vector).convert(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    page.reload()
    idle(page)
    before = answer(page)

    for target, name, message in (
        ("#picture-file", "note", "note is neither a .tflite file nor a picture that this browser can read."),
        ("#model-file", "note.tflite", "note.tflite is neither a .tflite file nor a picture"),
        ("#model-file", "note.txt", "note.txt: This begins as a .tflite file does, but is damaged or"),
        ("#model-file", "cut.tflite", "cut.tflite: This begins as a .tflite file does, but is damaged"),
        ("#model-file", "vector.tflite", "Received: float32 (1, 4)."),
        ("#model-file", "flex.tflite", "(FlexMatrixInverse) failed to prepare."),
    ):
        page.set_input_files(target, tmp_path / name)
        idle(page)

        assert message in page.inner_text("#message")
        assert page.inner_text("#message").endswith("Model and picture stay as they were.")
        assert page.inner_text("#model-name") == "photos-mobilenetv2-sb"
        names, shares = answer(page)
        assert before[0] == names
        np.testing.assert_array_equal(before[1], shares)

    page.get_by_role("button", name="cat", exact=True).click()
    idle(page)
    assert not page.is_visible("#message")


def test_page_says_that_it_may_not_use_the_camera(page):

    page.get_by_role("button", name="Camera").click()
    idle(page)

    assert page.inner_text("#message").startswith("This page may not use the camera.")


def test_page_without_a_model_asks_for_one(open_page, tmp_path):
    assert (
        open_page(tmp_path).inner_text("#message") == "This page comes without a model: open a .tflite file."
    )
