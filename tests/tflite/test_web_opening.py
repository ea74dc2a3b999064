"""Tests of what the web page shows when it opens, in headless Chromium: the page as it is committed."""

import json
import shutil

import pytest
from page import WEB, idle

from tflite.classify import classify

pytestmark = pytest.mark.long

PHONE = {"width": 390, "height": 844}
BROWSERS_BARS = 180  # what they leave of a phone's screen is less


@pytest.fixture(scope="module")
def content():
    return json.loads((WEB / "models" / "bundle.json").read_text())


@pytest.fixture(scope="module")
def page(open_page):
    return open_page(WEB)


def test_page_opens_with_a_picture_that_the_model_is_right_on(page, content):
    (opening,) = [picture for picture in content["pictures"] if picture["file"] == content["opening"]]
    label, probability = classify(WEB / opening["file"], WEB / content["model"])[0]
    assert label == opening["class"]

    page.reload()
    idle(page)

    assert page.inner_text("#caption") == label
    assert page.inner_text("#answer tbody tr:first-child th") == label
    assert page.inner_text("#summary").startswith(f"{label}, {100 * probability:.1f} %")
    assert page.locator("#pictures [aria-pressed=true] img").get_attribute("src") == opening["file"]


def test_page_shows_a_wrong_answer_as_it_is(open_page, content, tmp_path):
    for folder in ("models", "pictures"):
        shutil.copytree(WEB / folder, tmp_path / folder)
    first, second, *_ = content["pictures"]
    swapped = [{**first, "class": second["class"]}, {**second, "class": first["class"]}]
    changed = json.dumps({**content, "pictures": swapped, "opening": None})
    (tmp_path / "models" / "bundle.json").write_text(changed)
    label, probability = classify(WEB / first["file"], WEB / content["model"])[0]
    assert label == first["class"]

    page = open_page(tmp_path)
    page.get_by_role("button", name=second["class"], exact=True).click()
    idle(page)

    assert page.inner_text("#caption") == second["class"]
    assert page.inner_text("#summary").startswith(f"{label}, {100 * probability:.1f} %")


def test_answer_is_in_view_on_a_phone(page):
    page.set_viewport_size(PHONE)
    page.reload()
    idle(page)

    for selector in ("#preview", "#caption", "#model-details", "#summary", "#answer tbody tr:first-child"):
        box = page.locator(selector).bounding_box()
        assert box["width"] > 0
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= PHONE["height"] - BROWSERS_BARS
    last = page.locator("#answer tbody tr:last-child").bounding_box()
    assert last["y"] + last["height"] <= PHONE["height"]
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_answers_to_several_pictures_are_in_view_on_a_phone(page):
    page.set_viewport_size(PHONE)
    page.evaluate("scrollTo(0, 0)")
    page.set_input_files("#picture-file", [WEB / "pictures" / f"{number}.png" for number in (1, 4, 6)])
    idle(page)

    for row in page.locator("#several-answers li").all():
        box = row.bounding_box()
        assert box["height"] > 0
        assert box["y"] + box["height"] <= PHONE["height"]
    assert page.evaluate("scrollY") == 0
