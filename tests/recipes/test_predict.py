"""Programs that look at pictures: what they print, what JSON holds, what they draw."""

import io
import json
import os
import re
import sys

import cv2
import keras
import numpy as np
import pytest
from PIL import Image

from recipes import answers, predict
from recipes.command import exit_code
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory

CLASSES = ("blue", "green", "red")
COLORS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network tells red, green and blue by their share of the picture."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    run.claim(RECIPES["digits-mobilenetv2-static"])
    run.keep_classes(CLASSES)
    inputs = keras.Input((32, 32, 3))
    dense = keras.layers.Dense(3, activation="softmax", use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.GlobalAveragePooling2D()(inputs)))
    dense.set_weights([np.eye(3)[:, ::-1].copy()])
    run.save_model(model, run.final_file)
    return run


@pytest.fixture
def folder(tmp_path):
    for name, color in COLORS.items():
        path = tmp_path / "pictures" / "within" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 60), color).save(path)
    (tmp_path / "pictures" / "broken.jpg").write_text("no picture")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def call(*arguments):
    return exit_code(lambda: predict.main([str(argument) for argument in arguments]))


def probabilities(run, color):
    """Of the normalized picture of one color: softmax of blue, green and red."""
    data = run.recipe.data
    logits = ((np.array(color) / 255 - data.mean) / data.std)[::-1]
    return np.exp(logits) / np.exp(logits).sum()


def test_one_picture(run, folder, capsys):
    assert call(run.path, folder / "within" / "red.png", "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = probabilities(run, COLORS["red"])
    assert [line.split()[1] for line in lines] == ["red", "blue"]
    assert float(lines[0].split("%")[0]) == pytest.approx(100 * expected[2], abs=0.01)


def test_a_folder(run, folder, tmp_path, capsys):
    assert call(run.path, folder, "--json", tmp_path / "out.jsonl", "--draw", tmp_path / "drawn") == 0
    out, error = capsys.readouterr()
    assert f"{folder}/within/green.png\n" in out
    assert "left out of" in out
    assert "notes.txt" in out
    assert "left out: cannot read" in error
    assert "broken.jpg" in error
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["picture"].rpartition("/")[2] for row in rows] == ["blue.png", "green.png", "red.png"]
    for row, name in zip(rows, CLASSES, strict=True):
        assert row["classes"][0]["class"] == name
        found = {each["class"]: each["probability"] for each in row["classes"]}
        expected = probabilities(run, COLORS[name])
        np.testing.assert_allclose([found[each] for each in CLASSES], expected, atol=1e-5)  # float32
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawn] == ["0000-blue.jpg", "0001-green.jpg", "0002-red.jpg"]
    with Image.open(drawn[0]) as image:
        assert image.size == (90, 60)


def test_a_mistake_is_seen_before_lines_are_written(run, folder, tmp_path, monkeypatch):
    """The command that is put right must not be refused for them; those before Ctrl-C stay."""
    path, good = tmp_path / "out.jsonl", folder / "within" / "red.png"
    assert call(run.path, good, folder / "broken.jpg", "--json", path) == 2
    assert not path.exists()
    (folder / "empty").mkdir()
    assert call(run.path, folder / "empty", "--json", path) == 2
    assert not path.exists()
    read = answers.read_rgb

    def interrupted(name):
        if name.endswith("green.png"):
            raise KeyboardInterrupt
        return read(name)

    monkeypatch.setattr(answers, "read_rgb", interrupted)
    assert call(run.path, folder / "within", "--json", path) == 130
    assert len(path.read_text().splitlines()) == 1


def test_names_that_are_not_utf8(run, folder, tmp_path, monkeypatch):
    """As pages of text are written in a locale of UTF-8: strictly."""
    os.rename(folder / "within" / "red.png", os.fsencode(folder) + b"/within/r\xe9d.png")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict"))
    assert call(run.path, folder, "--json", tmp_path / "out.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[-1]["picture"].endswith(r"within/r\xe9d.png")


def test_places_that_cannot_be_written(run, folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    for option, path in (("--draw", tmp_path / "file" / "x"), ("--json", tmp_path / ("x" * 300))):
        assert call(run.path, folder, option, path) == 2
        assert re.search("error: cannot write .*(Not a directory|too long)", capsys.readouterr().err)


def test_a_video(run, tmp_path, capsys):
    """Four seconds of red and then blue, at ten pictures a second; one a second is looked at."""
    path = str(tmp_path / "clip.avi")
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for name in ("red", "blue"):
        for _ in range(20):
            video.write(np.full((64, 64, 3), COLORS[name][::-1], "uint8"))
    video.release()
    assert call(run.path, path, "--top", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1::2]] == ["red", "red", "blue", "blue"]
    assert all(line.endswith(" s") for line in lines[::2])


def test_objects_in_pixels():
    boxes = np.array([[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]])
    rows = answers.objects(boxes, [1, 7], [0.9, 0.3], ("cat", "dog"), (100, 200), 0.25)
    assert rows == [
        {"class": "dog", "score": 0.9, "box_yxyx": [10.0, 40.0, 50.0, 180.0]},
        {"class": "class 7", "score": 0.3, "box_yxyx": [0.0, 0.0, 100.0, 200.0]},
    ]
    assert answers.objects_table(rows[:1]) == " 90.00%  dog  left 40 top 10 right 180 bottom 50"
    assert answers.objects_table([]) == "no objects"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.jpg",), "no such file or folder: nowhere.jpg"),
        (("{folder}/broken.jpg",), "cannot read .*broken.jpg as a picture"),
        (("{folder}/empty",), "there are no pictures in .*empty"),
        (("{folder}", "--score", "0.5"), "--score is for detectors"),
        (("{folder}", "--top", "0"), "--top must be at least 1"),
        (("{folder}", "--every", "2"), "--every goes with a video or a camera"),
        (("{folder}", "--draw", "{folder}"), "exists already, and is left as it is"),
        (("camera:front",), "a camera is camera: and a number. Received: camera:front"),
    ],
)
def test_wrong_arguments(run, folder, arguments, message, capsys):
    (folder / "empty").mkdir()
    arguments = [argument.format(folder=folder) for argument in arguments]
    assert call(run.path, *arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
