"""Tests of what a search shows: its table, which trials are equal, and its picture."""

import math

import numpy as np
import pytest

from recipes.search import report
from recipes.search.report import Trial

RATE, GATE = "optimizer.learning_rate", "model.attention.gate"
TRIALS = [
    Trial("2", {RATE: "0.1", GATE: "tanh"}, 3, (0.90, 0.92), ""),
    Trial("0", {RATE: "0.02", GATE: "tanh"}, 3, (0.89, 0.89), ""),
    Trial("1", {RATE: "0.1", GATE: "relu"}, 3, (0.87, 0.89), ""),
    Trial("3", {RATE: "9", GATE: "relu"}, 3, (), "the loss is nan"),
]


def test_equal_trials():
    """91 % of 200 pictures have a standard error of √(0.91 · 0.09 / 200) = 2.02 %: 89 % is within."""
    error = report.standard_error(TRIALS, 200)
    assert error == pytest.approx(0.0202361, rel=1e-5)
    lines = report.table([RATE, GATE], TRIALS, "accuracy", error).splitlines()
    assert " ".join(lines[0].split()) == "trial optimizer.learning_rate gate epochs accuracy / % ±"
    ends = (
        "91.00  1.41  best",
        "89.00  0.00  equal to the best",
        "88.00  1.41",
        "failed        the loss is nan",
    )
    for line, end in zip(lines[2:], ends, strict=True):
        assert line.endswith(end)
    assert "equal" not in report.table([RATE, GATE], TRIALS, "mean_average_precision")


def test_keys_that_end_alike_are_shown_as_long_as_they_must_be():
    keys = ["model.dropout", "model.attention.dropout", RATE]
    rows = [Trial("0", dict.fromkeys(keys, "0.1"), 3, (0.9,), "")]
    head = report.table(keys, rows, "accuracy").splitlines()[0].split()
    assert head[1:5] == ["model.dropout", "attention.dropout", "optimizer.learning_rate", "epochs"]


def test_trials_in_the_middle_of_their_schedule_are_no_rivals():
    """Hyperband's of fewer epochs: not the best, not equal to it, and not what the standard error is of."""
    rows = [
        Trial("5", {RATE: "0.1"}, 4, (0.80,), "", before="0"),
        Trial("4", {RATE: "0.2"}, 4, (0.79,), ""),
        Trial("0", {RATE: "0.1"}, 2, (0.90,), ""),
    ]
    error = report.standard_error(rows, 100)
    assert error == pytest.approx(0.04)  # √(0.8 · 0.2 / 100)
    lines = report.table([RATE], rows, "accuracy", error).splitlines()[2:]
    assert lines[0].endswith("80.00  best, goes on from 0")
    assert lines[1].endswith("79.00  equal to the best")
    assert lines[2].endswith("2         90.00")


def test_a_deviation_of_one_seed_is_left_out():
    single = [Trial("0", {RATE: "0.1"}, 3, (0.9,), ""), Trial("1", {RATE: "9"}, 3, (), "the loss is nan")]
    lines = report.table([RATE], single, "accuracy").splitlines()
    assert lines[0].endswith("accuracy / %")
    assert lines[2].endswith("90.00  best")
    assert lines[3].endswith("failed  the loss is nan")


def test_every_key_has_axes(tmp_path, monkeypatch):
    """A point is a trial, whatever else has the same value, and its deviation that of its seeds alone."""
    figures = []
    monkeypatch.setattr(report, "save", lambda figure, path: figures.append(figure))
    report.plot([RATE, GATE], TRIALS, "accuracy", "title", tmp_path / "trials.png", 0.02)
    left, right = figures[0].axes
    assert [axes.get_xlabel() for axes in (left, right)] == [RATE, GATE]
    assert [label.get_text() for label in left.get_xticklabels()] == ["0.02", "0.1"]
    assert [label.get_text() for label in right.get_xticklabels()] == ["relu", "tanh"]
    for axes, order, ticks in ((left, [89, 91, 88], [0, 1, 1]), (right, [88, 91, 89], [0, 1, 1])):
        points, _, (bars,) = axes.containers[0]
        np.testing.assert_allclose(points.get_ydata(orig=False), order)
        np.testing.assert_array_equal(np.round(points.get_xdata(orig=False)), ticks)
        lengths = [high - low for (_, low), (_, high) in bars.get_segments()]
        deviations = {89: 0, 91: 100 * math.sqrt(2 * 0.01**2), 88: 100 * math.sqrt(2 * 0.01**2)}
        np.testing.assert_allclose(lengths, [2 * deviations[mean] for mean in order], atol=1e-9)
