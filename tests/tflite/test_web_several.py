"""Tests of several files at once on the web page, in headless Chromium: the page as it is committed."""

import keras
import numpy as np
import pytest
from page import WEB, drop, idle
from PIL import Image

from tflite.classify import classify
from tflite.convert import convert

pytestmark = pytest.mark.long

(MODEL,) = (WEB / "models").glob("*.tflite")
PICTURES = [WEB / "pictures" / f"{number}.png" for number in (1, 0, 6)]


@pytest.fixture(scope="module")
def page(open_page):
    return open_page(WEB)


def answers(page):
    """What the list says to each picture: pairs of its name and the answer."""
    rows = page.locator("#several-answers li").all()
    return [(row.locator(".quiet").inner_text(), row.locator("strong").inner_text()) for row in rows]


def expected(path):
    label, probability = classify(path, MODEL)[0]
    return f"{label}, {100 * probability:.1f} %"


def test_pictures_dropped_together_are_all_answered(page):
    drop(page, *PICTURES)

    assert answers(page) == [(path.name, expected(path)) for path in PICTURES]
    assert page.inner_text("#caption") == PICTURES[0].name
    assert page.inner_text("#summary") == f"{expected(PICTURES[0])}."


def test_a_row_shows_its_picture_in_full(page):
    page.set_input_files("#picture-file", PICTURES)
    idle(page)
    for number in (2, 1):
        page.locator("#several-answers button").nth(number).click()
        idle(page)

        assert page.inner_text("#caption") == PICTURES[number].name
        assert page.inner_text("#summary") == f"{expected(PICTURES[number])}."
        pressed = [
            button.get_attribute("aria-pressed") for button in page.locator("#several-answers button").all()
        ]
        assert pressed == ["true" if row == number else "false" for row in range(3)]
        assert len(answers(page)) == 3


def test_one_picture_takes_the_list_away(page):
    page.set_input_files("#picture-file", PICTURES)
    idle(page)
    assert page.is_visible("#several")
    page.set_input_files("#picture-file", PICTURES[2])
    idle(page)

    assert not page.is_visible("#several")
    assert page.inner_text("#caption") == PICTURES[2].name


def test_a_new_model_answers_to_all_pictures_again(page, tmp_path):
    inputs = keras.Input((8, 8, 3))
    scores = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(inputs))
    (tmp_path / "color.tflite").write_bytes(convert(keras.Model(inputs, scores), "float32"))
    colors = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    for name, color in colors.items():
        Image.new("RGB", (16, 8), color).save(tmp_path / f"{name}.png")
    page.set_input_files("#picture-file", [tmp_path / f"{name}.png" for name in colors])
    page.set_input_files("#model-file", tmp_path / "color.tflite")
    idle(page)

    surest = np.exp(1) / (np.exp(1) + 2)
    assert answers(page) == [
        (f"{name}.png", f"class {index}, {100 * surest:.1f} %") for index, name in enumerate(colors)
    ]
    page.select_option("#range", label="from 0 to 255")
    idle(page)
    assert [answer for _, answer in answers(page)] == [f"class {index}, 100.0 %" for index in range(3)]
    page.reload()
    idle(page)


def test_what_is_no_picture_among_several_gets_a_line_each(page, tmp_path):
    (tmp_path / "note.txt").write_text("a note")
    (tmp_path / "cut.tflite").write_bytes(MODEL.read_bytes()[:3000])
    (tmp_path / "clip.webm").write_bytes(b"no video")
    wrong = [tmp_path / name for name in ("note.txt", "cut.tflite", "clip.webm")]
    types = ["image/png", "text/plain", "", "video/webm", "image/png"]
    drop(page, PICTURES[0], *wrong, PICTURES[2], types=types)

    assert answers(page) == [(path.name, expected(path)) for path in (PICTURES[0], PICTURES[2])]
    assert page.inner_text("#message").split("\n") == [
        "cut.tflite: This begins as a .tflite file does, but is damaged or something else.",
        "clip.webm is a video: open it alone.",
        "note.txt is neither a .tflite file nor a picture that this browser can read.",
    ]

    drop(page, wrong[0], wrong[1])
    assert page.inner_text("#message").endswith("Model and picture stay as they were.")
    assert len(answers(page)) == 2
    drop(page, PICTURES[2])
    assert not page.is_visible("#message")


def test_what_is_no_video_gets_a_line(page, tmp_path):
    (tmp_path / "clip.webm").write_bytes(b"no video")
    page.set_input_files("#picture-file", PICTURES[2])
    idle(page)
    before = page.inner_text("#summary")
    drop(page, tmp_path / "clip.webm", types=["video/webm"])

    assert page.inner_text("#message") == (
        "clip.webm is a video that this browser cannot play. Model and picture stay as they were."
    )
    assert page.inner_text("#summary") == before
    assert not page.is_visible("#video")
