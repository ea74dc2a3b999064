"""Tests of tflite.latency: how time is taken; none of them asserts a time."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from recipes.errors import UserError
from recipes.files import distinct_labels
from tflite.latency import measure, summarize, take_turns


def test_take_turns_mixes_the_order_and_times_the_second_of_two_runs():
    now_s, calls = [0.0], []

    def invoke(index):
        calls.append(index)
        now_s[0] += (index + 1) / 1000

    done = []
    latencies_ms = take_turns(
        [lambda index=index: invoke(index) for index in range(3)],
        runs=30,
        warmup=2,
        progress=done.append,
        clock=lambda: now_s[0],
    )

    np.testing.assert_allclose(latencies_ms, [[1, 2, 3]] * 30)
    assert done == list(range(1, 31))
    warmup, timed = calls[:6], calls[6:]
    assert warmup == [0, 1, 2] * 2
    assert timed[0::2] == timed[1::2]
    order = timed[0::2]
    assert all(sorted(order[start : start + 3]) == [0, 1, 2] for start in range(0, 90, 3))
    assert {(a, b) for a, b in itertools.pairwise(order) if a != b} == set(
        itertools.permutations(range(3), 2)
    )


def test_take_turns_excludes_the_untimed_run():
    now_s, durations_s = [0.0], iter([9.0, 0.001, 9.0, 0.002])

    def invoke():
        now_s[0] += next(durations_s)

    latencies_ms = take_turns([invoke], runs=2, warmup=0, clock=lambda: now_s[0])

    np.testing.assert_allclose(latencies_ms, [[1], [2]])


def test_summarize_by_hand():
    first = np.arange(1.0, 12.0)  # 1 … 11: median 6, p10 2, p90 10, p99 10.9
    second = first * [2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]

    reference, other = summarize(np.stack([first, second], axis=1))

    assert reference == pytest.approx(
        {
            "latency_ms_median": 6,
            "latency_ms_p10": 2,
            "latency_ms_p90": 10,
            "latency_ms_p99": 10.9,
            "ratio": 1,
        }
    )
    assert other["latency_ms_median"] == 18
    assert other["ratio"] == 3  # six of eleven rounds


def test_ratio_is_taken_round_by_round():
    # Twice as slow in every round but the disturbed second; the medians, 2 and 20, would say ten times.
    latencies_ms = np.array([[1.0, 2.0], [2.0, 30.0], [10.0, 20.0]])

    assert summarize(latencies_ms)[1]["ratio"] == 2


def test_measure_gives_a_row_a_file_and_thread_count(models):
    paths = [models / "plain.tflite", models / "gather.tflite"]
    progress = []

    rows = measure(paths, threads=(1, 2), runs=3, warmup=0, progress=lambda *counts: progress.append(counts))

    assert [(row.label, row.threads) for row in rows] == [
        ("plain.tflite", 1),
        ("gather.tflite", 1),
        ("plain.tflite", 2),
        ("gather.tflite", 2),
    ]
    assert progress == [(done, 6) for done in range(1, 7)]
    for row in rows:
        assert row.path == str(models / row.label)
        assert row.size_bytes == len(Path(row.path).read_bytes())
        assert row.runs == 3
        assert 0 < row.latency_ms_p10 <= row.latency_ms_median <= row.latency_ms_p90 <= row.latency_ms_p99
        assert [operator.name for operator in row.delegation.left_out] == (
            ["GATHER"] if row.label == "gather.tflite" else []
        )
    assert [row.ratio for row in rows[::2]] == [1, 1]


@pytest.mark.parametrize("name", ["integers", "batch", "kernel_input"])
def test_measure_feeds_any_input(models, name):
    assert len(measure([models / f"{name}.tflite"], runs=1, warmup=0)) == 1


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["a/x.tflite", "b/y.tflite"], ["x.tflite", "y.tflite"]),
        (["a/m.tflite", "b/m.tflite"], ["a/m.tflite", "b/m.tflite"]),
        (["r/a/1/m.tflite", "r/b/1/m.tflite"], ["a/1/m.tflite", "b/1/m.tflite"]),
        (["m.tflite", "a/m.tflite"], ["m.tflite", "a/m.tflite"]),
        (["a/m.tflite", "a/m.tflite"], ["m.tflite", "m.tflite (2)"]),
        (["/m.tflite", "/a/m.tflite"], ["/m.tflite", "a/m.tflite"]),
    ],
)
def test_labels_tell_files_apart(paths, labels):
    assert distinct_labels([Path(path) for path in paths]) == labels


def test_every_file_is_checked_before_any_is_timed(models):
    paths, rounds = [models / "plain.tflite", models / "flex.tflite"], []

    with pytest.raises(UserError, match="FlexMatrixInverse"):
        measure(paths, progress=lambda done, total: rounds.append(done))

    assert rounds == []


def test_measure_needs_a_file():
    with pytest.raises(UserError, match="files: expected at least one, received none"):
        measure([])
