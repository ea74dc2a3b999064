"""Tests of what recipes.evaluate says and draws of a classifier, against sums by hand."""

import csv
import itertools
import math
from typing import Any

import keras
import numpy as np
import PIL.Image
import pytest

from recipes import evaluate
from recipes.command import exit_code
from recipes.data import load
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from recipes.settings import Data
from recipes.tasks import classification_report as report

pytestmark = pytest.mark.long

LABELS = np.array([0, 0, 0, 0, 1, 1, 3])
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 0])
CONFIDENCE = np.array([0.95, 0.95, 0.5, 0.3, 0.94, 0.94, 0.2])
PREDICTIONS = report.Predictions(("ant", "bee", "cat", "dog"), LABELS, PREDICTED, CONFIDENCE)


def test_class_rows():
    rows = report.class_rows(PREDICTIONS)
    # Of four ants three are found, among five that were called so; nothing was called a dog; no cats.
    assert rows[:2] == [("ant", 4, 3 / 4, 3 / 5), ("bee", 2, 1 / 2, 1 / 2)]
    assert rows[2][:2] == ("cat", 0)
    assert all(map(math.isnan, rows[2][2:]))
    assert rows[3][:3] == ("dog", 1, 0.0)
    assert math.isnan(rows[3][3])


def test_calibration_error():
    """Four in the last bin, three of them right; one is right at 0.5, and one wrong at 0.3 and at 0.2."""
    expected = abs(0.95 + 0.95 + 0.94 + 0.94 - 3) / 7 + 0.5 / 7 + 0.3 / 7 + 0.2 / 7
    assert PREDICTIONS.calibration_error == pytest.approx(expected, rel=1e-12)  # rounding


def test_bins_have_their_upper_edges():
    confidence = np.array([1 / 15, 2 / 15, 3 / 15, 1.0, 0.0])
    ones = np.ones(5, int)
    counts, _, _ = report.Predictions(("a", "b"), ones, ones, confidence).bins
    assert np.flatnonzero(counts).tolist() == [0, 1, 2, 14]
    assert counts[0] == 2  # that of 0, too, which no classifier gives


def test_confusion(tmp_path):
    path = tmp_path / "confusion.csv"
    report.write_confusion(PREDICTIONS, path)
    assert path.read_text().splitlines() == [
        "right \\ predicted,ant,bee,cat,dog",
        "ant,3,1,0,0",
        "bee,1,1,0,0",
        "cat,0,0,0,0",
        "dog,1,0,0,0",
    ]


def test_mistakes_are_sorted_by_confidence():
    assert PREDICTIONS.mistakes.tolist() == [5, 3, 6]


@pytest.mark.parametrize(
    "classes",
    [
        ("ant", "bee"),
        ("a class with a name that nobody will read to its end", "$x_1$", "b"),
        tuple(f"class number {number}" for number in range(40)),
        tuple(f"n{number:08d}" for number in range(200)),
    ],
    ids=len,
)
def test_no_label_is_cut_off_or_overlaps(classes, tmp_path, monkeypatch, rng):
    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, path: drawn.append(figure))
    labels, predicted = rng.integers(len(classes), size=(2, 3000))
    predictions = report.Predictions(classes, labels, predicted, rng.random(3000))
    report.plot_confusion_and_calibration(predictions, "a title", tmp_path / "plot.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    matrix, calibration, _ = figure.axes
    columns, rows = (
        [text.get_window_extent() for text in axis.get_ticklabels()] for axis in (matrix.xaxis, matrix.yaxis)
    )
    boxes = [
        *columns,
        *rows,
        *(axes.xaxis.label.get_window_extent() for axes in figure.axes),
        *(axes.yaxis.label.get_window_extent() for axes in figure.axes),
        *(text.get_window_extent() for text in calibration.get_legend().get_texts()),
    ]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(columns))
    assert all(a.y0 > b.y1 for a, b in itertools.pairwise(rows))
    assert matrix.xaxis.label.get_window_extent().y1 < min(box.y0 for box in columns)
    assert matrix.yaxis.label.get_window_extent().x1 < min(box.x0 for box in rows)
    assert len(rows) == len(classes)


def test_a_thousand_classes(tmp_path, rng):
    labels, predicted = rng.integers(1000, size=(2, 3000))
    classes = tuple(f"n{number:08d}" for number in range(1000))
    predictions = report.Predictions(classes, labels, predicted, rng.random(3000))
    report.plot_confusion_and_calibration(predictions, "a title", tmp_path / "plot.png")
    with PIL.Image.open(tmp_path / "plot.png") as image:
        assert max(image.size) < 4500  # which a browser shows


@pytest.fixture
def folder(tmp_path):
    """Ten pictures a class to train with and four to test, each test picture of its own brightness."""
    for split, count in (("train", 10), ("test", 4)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((32, 32, 3), 10 * (1 + count * label + number), "uint8")
                PIL.Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def test_the_sheet_names_files(folder, tmp_path, monkeypatch):
    """And shows, beside each name, the picture in that file."""
    sheets, captions = [], []
    monkeypatch.setattr(report, "draw_sheet", lambda pixels, draw, *_: sheets.append((pixels, draw)))
    data = Data("image_folder", directory=str(folder), validation_fraction=0.0)
    dataset = load(data)
    # Of the cats the second and the last are taken for dogs, of the dogs the third for a cat.
    predicted = np.array([0, 1, 0, 1, 1, 1, 0, 1])
    confidence = np.array([0.9, 0.7, 0.9, 0.8, 0.9, 0.9, 0.999, 0.9])
    predictions = report.Predictions(dataset.classes, dataset.test.labels, predicted, confidence)
    report.mistakes_sheet(predictions, dataset.test, data, "title", tmp_path / "sheet.png")
    ((pixels, draw),) = sheets

    class Axes:
        def set_title(self, text, **_):
            captions.append(text.splitlines())

    for row in range(len(pixels)):
        draw(Axes(), row)
    assert [caption[:2] for caption in captions] == [
        ["said cat (100 %)", "is dog"],
        ["said dog (80 %)", "is cat"],
        ["said dog (70 %)", "is cat"],
    ]
    for caption, name in zip(captions, ("dog/2.png", "cat/3.png", "cat/1.png"), strict=True):
        assert caption[2].endswith(f"test/{name}")
        assert len(caption[2]) <= 28
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], [10 * 7, 10 * 4, 10 * 2])


def test_nothing_is_wrong(tmp_path, capsys):
    predictions = report.Predictions(("a", "b"), LABELS[:3], LABELS[:3], CONFIDENCE[:3])
    split: Any = None  # it is not looked at
    report.mistakes_sheet(predictions, split, Data(), "title", tmp_path / "sheet.png")
    assert capsys.readouterr().out.count("\n") == 1
    assert not (tmp_path / "sheet.png").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network, not trained, has a random softmax layer on the mean of the pixels' columns."""
    run = RunDirectory(tmp_path_factory.mktemp("runs") / "run")
    run.claim(RECIPES["digits-mobilenetv2-static"])
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    flat = keras.layers.Flatten()(keras.layers.AveragePooling2D((32, 4))(inputs))
    run.save_model(
        keras.Model(inputs, keras.layers.Dense(10, "softmax", name="predictions")(flat)), run.final_file
    )
    run.keep_classes(tuple("0123456789"))
    return run


def run_evaluate(*arguments):
    return exit_code(lambda: evaluate.main([str(argument) for argument in arguments]))


def test_evaluate_writes_all_of_it(run, tmp_path, capsys):
    files = {
        key: tmp_path / f"{key}.{ending}"
        for key, ending in (("plot", "png"), ("sheet", "png"), ("confusion", "csv"))
    }
    assert run_evaluate(run.path, *(word for key, path in files.items() for word in (f"--{key}", path))) == 0
    summary = capsys.readouterr().out.splitlines()[-1]

    test = load(run.recipe.data).test
    images = np.concatenate(
        [images for images, _ in test.evaluation_batches(run.recipe.data, 100).as_numpy_iterator()]
    )
    probabilities = np.array(run.load_model()(images))
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    error = 0.0
    for low in range(15):
        inside = (sure > low / 15) & (sure <= (low + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(
                np.mean(predicted[inside] == test.labels[inside]) - sure[inside].mean()
            )
    assert summary.startswith(
        f"test accuracy {np.mean(predicted == test.labels):.4f}, "
        f"expected calibration error {error:.4f} (359 images"
    )
    with files["confusion"].open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head[1:] == [row[0] for row in rows] == list("0123456789")
    for label, row in enumerate(rows):
        expected = [np.sum((test.labels == label) & (predicted == other)) for other in range(10)]
        assert list(map(int, row[1:])) == expected
    for key in ("plot", "sheet"):
        assert np.asarray(PIL.Image.open(files[key])).std() > 10  # something is drawn


def test_confusion_of_a_detector(tmp_path, capsys):
    """It is refused before the work: the run has no model yet."""
    path = tmp_path / "run"
    RunDirectory(path).claim(RECIPES["voc-ssdlite-mobilenetv2-static"])
    assert run_evaluate(path, "--confusion", tmp_path / "confusion.csv") == 2
    error = capsys.readouterr().err
    assert error == f"error: --confusion is not for detection, which {path} is trained for\n"
