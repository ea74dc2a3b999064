"""Tests of tflite.report: the tables, JSON and the plot."""

import json

from tflite.delegation import Delegation, Operator
from tflite.latency import Row
from tflite.profiler import REST, OperatorTime
from tflite.report import format_operators, format_table, write_json, write_plot


def make_row(label="a.tflite", threads=1, left_out=(), latency_ms=2.0, ratio=1.0) -> Row:
    return Row(
        label=label,
        path=f"runs/{label}",
        size_bytes=1536,
        threads=threads,
        runs=50,
        latency_ms_median=latency_ms,
        latency_ms_p10=0.9 * latency_ms,
        latency_ms_p90=1.2 * latency_ms,
        latency_ms_p99=1.5 * latency_ms,
        ratio=ratio,
        delegation=Delegation(9, 2, left_out),
    )


def test_table_is_aligned_and_lists_what_is_left_out():
    sums = [Operator(index, "CUMSUM", f"sum_{index}") for index in range(5)]
    left_out = (*sums, Operator(7, "GATHER", "pick"))

    table = format_table([make_row(), make_row("longer.tflite", left_out=left_out, latency_ms=3, ratio=1.5)])

    assert table.splitlines() == [
        "file           threads  median ms    p10    p90    p99  ratio   kB  partitions  left out",
        "─" * 88,
        "a.tflite             1      2.000  1.800  2.400  3.000  1.000  1.5           2    0 of 9",
        "longer.tflite        1      3.000  2.700  3.600  4.500  1.500  1.5           2    6 of 9",
        "",
        "Operators of longer.tflite outside XNNPACK:",
        "  CUMSUM × 5: #0 sum_0, #1 sum_1, #2 sum_2, and 2 more",
        "  GATHER × 1: #7 pick",
    ]


OPERATORS = [
    OperatorTime(0, "Convolution", Operator(0, "CONV_2D", "relu;first"), 0.2, 0.1),
    OperatorTime(1, "Add (ND)", Operator(1, "ADD", "sum"), 0.7, 0.35),
    OperatorTime(2, "Convolution", None, 0.6, 0.3),
    OperatorTime(3, REST, None, 0.5, 0.25),
]


def test_operators_are_grouped_and_sorted():
    assert format_operators(make_row(latency_ms=1.9), OPERATORS).splitlines() == [
        "Operators of a.tflite, 1 thread:",
        "kind             count     ms   share",
        "─" * 37,
        "Convolution          2  0.800  40.0 %",
        "Add (ND)             1  0.700  35.0 %",
        "rest of the run      1  0.500  25.0 %",
        "Together 2.000 ms; without profiling 1.900 ms.",
        "",
        "slowest 3       ms   share  position, output",
        "─" * 26,
        "Add (ND)     0.700  35.0 %  #1 sum",
        "Convolution  0.600  30.0 %  #2",
        "Convolution  0.200  10.0 %  #0 first",
    ]


def test_only_the_ten_slowest_are_listed():
    operators = [OperatorTime(i, "Add (ND)", None, 0.01 * i, 0.0) for i in range(12)]

    table = format_operators(make_row(), [*operators, OperatorTime(12, REST, None, 0.5, 0.5)])

    listed = [line.rpartition("#")[2] for line in table.splitlines() if "#" in line]
    assert listed == [str(i) for i in range(11, 1, -1)]


def test_json_has_the_operators_of_each_row(tmp_path):
    path = tmp_path / "rows.json"

    write_json([make_row(), make_row("b.tflite")], path, [OPERATORS, OPERATORS[:1]])

    first, second = json.loads(path.read_text())
    assert first["operator_times"][1] == {
        "position": 1,
        "kind": "Add (ND)",
        "source": {"index": 1, "name": "ADD", "output": "sum"},
        "latency_ms_median": 0.7,
        "share": 0.35,
    }
    assert len(first["operator_times"]) == 4
    assert len(second["operator_times"]) == 1


def test_plot_draws_every_bar(tmp_path):
    path = tmp_path / "latency.png"

    write_plot([make_row(label, threads) for threads in (1, 2) for label in ("a.tflite", "b.tflite")], path)

    assert path.read_bytes().startswith(b"\x89PNG")
