"""Tests of what recipes.show says of a data set, and recipes.train when it begins."""

import csv
import shutil
from typing import Any

import numpy as np
import PIL.Image
import pytest
from shapes import shapes_dataset

from recipes import plots, show
from recipes.command import exit_code
from recipes.data import image_files, records, voc
from recipes.data.records import Records
from recipes.data.split import Dataset

pytestmark = pytest.mark.long

NAME = "photos-mobilenetv2-static"


def write_picture(path, brightness, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, (brightness,) * 3).save(path)


@pytest.fixture
def folder(tmp_path):
    """Six cats and three dogs to train with, one of each to validate with and two to test, all different."""
    folder, brightness = tmp_path / "pictures", 0
    for split, counts in (("train", (6, 3)), ("val", (1, 1)), ("test", (2, 2))):
        for name, count in zip(("cat", "dog"), counts, strict=True):
            for number in range(count):
                brightness += 5
                write_picture(folder / split / name / f"{number}.png", brightness)
    return folder


def run_show(folder, tmp_path, *arguments, recipe=NAME):
    settings = (f"data.directory={folder}", "data.validation_fraction=0") if folder else ()
    assignments = [word for setting in settings for word in ("--set", setting)]
    arguments = [recipe, *assignments, "--out", tmp_path / "sheet.png", *arguments]
    return exit_code(lambda: show.main(list(map(str, arguments))))


def test_counts(folder, tmp_path, capsys):
    assert run_show(folder, tmp_path, "--csv", tmp_path / "counts.csv") == 0
    output = capsys.readouterr().out
    lines = [line.split() for line in output.splitlines()]
    assert output.startswith(
        "2 classes, 9 training, 2 validation, 4 test pictures; the largest class is 67 %\n"
    )
    assert ["class", "training", "validation", "test"] in lines
    assert ["pictures", "9", "2", "4"] in lines
    assert "warning" not in output
    with (tmp_path / "counts.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["class", "training", "validation", "test"],
            ["cat", "6", "1", "2"],
            ["dog", "3", "1", "2"],
        ]
    with PIL.Image.open(tmp_path / "sheet.png") as image:
        assert np.asarray(image).std() > 10


def test_sizes(folder, tmp_path, capsys):
    """By area, of pictures as they are seen: this one is on its side in its file."""
    exif = PIL.Image.Exif()
    exif[image_files.ORIENTATION] = 6
    PIL.Image.new("RGB", (90, 50)).save(folder / "train" / "dog" / "turned.jpg", exif=exif)
    write_picture(folder / "test" / "dog" / "long.png", 0, size=(5, 100))
    assert run_show(folder, tmp_path) == 0
    expected = "the smallest picture has 5×100 pixels, the median 40×30, the largest 50×90\n"
    assert expected in capsys.readouterr().out


def test_copies(folder, tmp_path, capsys):
    """Under other names, in either of the splits that judge, and in training with two labels or with one."""
    train = folder / "train"
    for source, target in (
        (train / "cat" / "0.png", folder / "test" / "cat" / "other name.png"),
        (train / "dog" / "1.png", folder / "val" / "dog" / "1.png"),
        (train / "cat" / "2.png", train / "dog" / "cat.png"),
        (train / "cat" / "3.png", train / "cat" / "again.png"),
        (folder / "val" / "cat" / "0.png", folder / "test" / "cat" / "as in val.png"),
    ):
        shutil.copy(source, target)
    assert run_show(folder, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    first, *_ = (row for row, line in enumerate(lines) if line.startswith("warning"))
    assert lines[first].endswith(
        "is in more than one of training, validation and test, which makes the test worthless: 3"
    )
    assert sorted(lines[first + 1 : first + 4]) == [
        f"  training {train}/cat/0.png (cat) = test {folder}/test/cat/other name.png (cat)",
        f"  training {train}/dog/1.png (dog) = validation {folder}/val/dog/1.png (dog)",
        f"  validation {folder}/val/cat/0.png (cat) = test {folder}/test/cat/as in val.png (cat)",
    ]
    assert lines[first + 4].endswith("is in training with different labels, of which one is wrong: 1")
    assert lines[first + 5] == f"  training {train}/cat/2.png (cat) = training {train}/dog/cat.png (dog)"
    assert lines[first + 6].startswith(str(tmp_path / "sheet.png"))


def test_test_pictures_that_serve_for_validation_are_no_copies(folder, tmp_path, capsys):
    shutil.rmtree(folder / "val")
    assert run_show(folder, tmp_path) == 0
    output = capsys.readouterr().out
    assert "9 training, 4 validation and test pictures" in output
    assert "no file is in more than one of training, validation and test\n" in output
    assert "warning" not in output


def test_pictures_in_memory(tmp_path, capsys):
    assert run_show(None, tmp_path, recipe="digits-mobilenetv2-sb") == 0
    output = capsys.readouterr().out
    assert "10 classes, 1295 training, 143 validation, 359 test pictures; the largest class is 10 %" in output
    assert "sizes and copies are not looked for: the pictures have no files of their own" in output


def test_a_stream_is_not_read(tmp_path, capsys, monkeypatch):
    """Neither of these files is there, so that reading them is an error."""
    split = Records(("nowhere",), (1000,), None)
    monkeypatch.setattr(records, "load_imagenet", lambda data: Dataset(("cat", "dog"), split, split, split))
    monkeypatch.setattr(show, "_first", lambda batches, count: (np.zeros((1, 224, 224, 3)), [0]))
    monkeypatch.setattr(Records, "training_batches", lambda *_: [])
    assert run_show(None, tmp_path, recipe="imagenet-mobilenetv2-sb") == 0
    output = capsys.readouterr().out
    assert "2 classes, 1000 training, 1000 validation and test pictures\n" in output
    assert "counts by class, sizes and copies are not shown" in output
    (tmp_path / "sheet.png").unlink()
    arguments = ("--csv", tmp_path / "counts.csv")
    assert run_show(None, tmp_path, *arguments, recipe="imagenet-mobilenetv2-sb") == 2
    assert "--csv needs counts by class" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_a_detector(tmp_path, capsys, monkeypatch):
    """Objects are counted, without the difficult ones, and pictures compared by their files."""
    dataset: Any = shapes_dataset()
    dataset.train.difficult[0, 0] = True
    monkeypatch.setattr(voc, "load_voc", lambda data: dataset)
    assert (
        run_show(None, tmp_path, "--csv", tmp_path / "counts.csv", recipe="voc-ssdlite-mobilenetv2-sb") == 0
    )
    output = capsys.readouterr().out
    expected = {}
    for part, split in dataset.parts.items():
        objects = [
            (label, is_difficult)
            for labels, difficult in zip(split.labels.tolist(), split.difficult.tolist(), strict=True)
            for label, is_difficult in zip(labels, difficult, strict=True)
        ]
        expected[part] = [objects.count((label, False)) for label in range(len(dataset.classes))]
    with (tmp_path / "counts.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head[1:] == list(expected)
    for column, counts in enumerate(expected.values(), 1):
        assert [int(row[column]) for row in rows] == counts
    train = f"{len(dataset.train)} training pictures with {sum(expected['training'])} objects"
    assert output.startswith(f"{len(dataset.classes)} classes, {train}, ")
    assert "which makes the test worthless: 8\n" in output  # they are tested with what they are trained with


def test_a_picture_that_is_there_is_replaced_if_asked_to(folder, tmp_path, capsys):
    (tmp_path / "sheet.png").write_text("mine")
    assert run_show(folder, tmp_path) == 2
    assert "sheet.png exists; --overwrite replaces it" in capsys.readouterr().err
    assert run_show(folder, tmp_path, "--overwrite") == 0
    with PIL.Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 100


def test_training_begins_with_what_there_is(tiny_network, run_train, tmp_path, capsys):
    assert run_train(tmp_path / "run", "epochs=1", recipe="digits-mobilenetv2-static") == 0
    output = capsys.readouterr().out
    assert output.startswith("10 classes, 1295 training, 143 validation, 359 test pictures; the largest")


def test_names_on_a_sheet_can_be_read(tmp_path):
    """The site shows a picture 690 pixels wide at most, beside letters of 13 to 16 pixels."""
    sizes, longest = [], "a name of twenty-eight signs"

    def draw(axes, number):
        axes.set_title(longest, fontsize=plots.SHEET_FONT)
        plots.draw_box(axes, (0.2, 0.2, 0.8, 0.8), number, "pear 90%")
        width = axes.figure.get_size_inches()[0]
        sizes.extend(text.get_fontsize() / 72 * 690 / width for text in (axes.title, *axes.texts))
        extent = axes.title.get_window_extent()
        assert extent.width / axes.figure.dpi < width / plots.COLUMNS

    plots.draw_sheet(np.zeros((8, 32, 32, 3)), draw, "a title", tmp_path / "sheet.png")
    assert len(longest) == plots.SHEET_CHARACTERS
    assert min(sizes) > 9.5
