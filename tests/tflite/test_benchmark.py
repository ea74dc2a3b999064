"""Tests of tflite.benchmark and the two modules behind it; none of them asserts a time."""

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tflite.benchmark import format_table, main, write_plot
from tflite.delegation import Delegation, Operator, find_delegation
from tflite.latency import InputError, Row, distinct_labels, measure, summarize, take_turns

IMAGE = tf.TensorSpec((1, 8, 8, 4), tf.float32)
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 4)).astype("float32")


def conv(inputs, kernel=KERNEL):
    return tf.nn.relu6(tf.nn.conv2d(inputs, kernel, 1, "SAME"))


def to_tflite(function, *specs, **settings) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(function).get_concrete_function(*specs)]
    )
    for name, value in settings.items():
        owner = converter.target_spec if name.startswith("supported_") else converter
        setattr(owner, name, value)
    return converter.convert()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A directory of models of which it is known what XNNPACK takes, and of some that cannot be measured."""
    folder = tmp_path_factory.mktemp("models")
    half = {"optimizations": [tf.lite.Optimize.DEFAULT], "supported_types": [tf.float16]}
    flex = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]}
    contents = {
        "plain": to_tflite(lambda x: conv(conv(x)), IMAGE),
        "gather": to_tflite(lambda x: tf.gather(conv(x), [2, 0], axis=3), IMAGE),
        "two_partitions": to_tflite(lambda x: conv(x) + conv(tf.cumsum(conv(x), axis=1)), IMAGE),
        "kernel_input": to_tflite(
            lambda x, kernel: conv(conv(x, kernel)), IMAGE, tf.TensorSpec(KERNEL.shape, tf.float32)
        ),
        "outputs": to_tflite(lambda x: (*tf.split(conv(x), 2, axis=3), tf.cumsum(x, axis=1)), IMAGE),
        "half": to_tflite(lambda x: conv(tf.cumsum(conv(x), axis=2)), IMAGE, **half),
        "all_left_out": to_tflite(lambda x: tf.cumsum(tf.cumsum(x, axis=1), axis=2), IMAGE),
        "integers": to_tflite(lambda x: x + 1, tf.TensorSpec((2, 3), tf.int32)),
        "batch": to_tflite(lambda x: conv(x), tf.TensorSpec((None, 8, 8, 4), tf.float32)),
        "any_size": to_tflite(lambda x: conv(x), tf.TensorSpec((1, None, None, 4), tf.float32)),
        "complex": to_tflite(tf.math.real, tf.TensorSpec((2,), tf.complex64)),
        "index": to_tflite(lambda i: tf.gather(KERNEL, i), tf.TensorSpec((1,), tf.int32)),
        "flex": to_tflite(lambda x: tf.linalg.inv(tf.matmul(x, x, transpose_b=True)), IMAGE, **flex),
    }
    contents["custom"] = contents["flex"].replace(b"FlexMatrixInverse", b"MineMatrixInverse")
    contents["cut"] = contents["plain"][:-100]
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)
    (folder / "notes.tflite").write_text("not a model at all")
    return folder


def allocated(path: Path, **settings) -> Interpreter:
    interpreter = Interpreter(str(path), **settings)
    interpreter.allocate_tensors()
    return interpreter


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


# What XNNPACK takes.


@pytest.mark.parametrize(
    ("name", "operators", "partitions", "left_out"),
    [
        ("plain", 2, 1, []),
        ("gather", 2, 1, [(1, "GATHER")]),
        ("two_partitions", 4, 2, [(1, "CUMSUM")]),
        ("kernel_input", 3, 2, [(1, "CONV_2D")]),  # the TRANSPOSE of the kernel before it is taken
        ("outputs", 3, 1, [(2, "CUMSUM")]),
        ("half", 5, 2, [(3, "CUMSUM")]),  # with the DEQUANTIZE of weights that both partitions read
        ("all_left_out", 2, 0, [(0, "CUMSUM"), (1, "CUMSUM")]),
    ],
)
def test_delegation_is_exact(models, name, operators, partitions, left_out):
    delegation = find_delegation(allocated(models / f"{name}.tflite"))

    assert delegation.operators == operators
    assert delegation.partitions == partitions
    assert [(operator.index, operator.name) for operator in delegation.left_out] == left_out


@pytest.mark.parametrize("name", ["plain", "gather", "two_partitions", "kernel_input", "outputs", "half"])
def test_delegation_agrees_with_one_partition_an_operator(models, name):
    # Without fusion each delegated operator gets a DELEGATE node with the operator's own outputs, so
    # comparing outputs settles the question without walking the graph.
    path = models / f"{name}.tflite"
    nodes = allocated(path, experimental_disable_delegate_node_fusion=True)._get_ops_details()
    taken = {int(tensor) for node in nodes if node["op_name"] == "DELEGATE" for tensor in node["outputs"]}
    expected = [
        node["index"]
        for node in nodes
        if node["op_name"] != "DELEGATE" and taken.isdisjoint(map(int, node["outputs"]))
    ]

    assert [operator.index for operator in find_delegation(allocated(path)).left_out] == expected


def test_delegation_allocates_and_names_the_output(models):
    delegation = find_delegation(Interpreter(str(models / "two_partitions.tflite")))

    assert delegation.left_out == (Operator(1, "CUMSUM", "Cumsum"),)


# How time is taken.


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


# The rows and what is made of them.


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


def test_table_is_aligned_and_lists_what_is_left_out():
    sums = [Operator(index, "CUMSUM", f"sum_{index}") for index in range(5)]
    left_out = (*sums, Operator(7, "GATHER", "pick"))

    table = format_table([make_row(), make_row("longer.tflite", left_out=left_out, latency_ms=3, ratio=1.5)])

    assert table.splitlines() == [
        "file           threads  median ms    p10    p90    p99  ratio   kB  partitions  left out",
        "a.tflite             1      2.000  1.800  2.400  3.000  1.000  1.5           2    0 of 9",
        "longer.tflite        1      3.000  2.700  3.600  4.500  1.500  1.5           2    6 of 9",
        "",
        "Operators of longer.tflite outside XNNPACK:",
        "  CUMSUM × 5: #0 sum_0, #1 sum_1, #2 sum_2, and 2 more",
        "  GATHER × 1: #7 pick",
    ]


def test_plot_draws_every_bar(tmp_path):
    path = tmp_path / "latency.png"

    write_plot([make_row(label, threads) for threads in (1, 2) for label in ("a.tflite", "b.tflite")], path)

    assert path.read_bytes().startswith(b"\x89PNG")


def test_command_line_writes_all_outputs(models, tmp_path):
    outputs = {name: tmp_path / f"latency.{name}" for name in ("csv", "json", "png")}
    command = [
        *(sys.executable, "-m", "tflite.benchmark", models / "plain.tflite", models / "gather.tflite"),
        *("--threads", "1,2", "--runs", "2", "--warmup", "0"),
        *("--csv", outputs["csv"], "--json", outputs["json"], "--plot", outputs["png"]),
    ]

    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "GATHER × 1: #1 Identity" in done.stdout
    assert "round" not in done.stderr  # the counter is for terminals
    objects = json.loads(outputs["json"].read_text())
    assert [(each["label"], each["threads"]) for each in objects] == [
        ("plain.tflite", 1),
        ("gather.tflite", 1),
        ("plain.tflite", 2),
        ("gather.tflite", 2),
    ]
    assert objects[1]["delegation"] == {
        "operators": 2,
        "partitions": 1,
        "left_out": [{"index": 1, "name": "GATHER", "output": "Identity"}],
    }
    with outputs["csv"].open(newline="") as file:
        records = list(csv.DictReader(file))
    assert [record["left_out"] for record in records] == ["", "GATHER:1", "", "GATHER:1"]
    for record, each in zip(records, objects, strict=True):
        assert float(record["latency_ms_median"]) == each["latency_ms_median"]
        assert int(record["size_bytes"]) == (models / each["label"]).stat().st_size
        assert (record["operators"], record["partitions"]) == ("2", "1")
    assert outputs["png"].read_bytes().startswith(b"\x89PNG")


def test_module_starts_without_tensorflow():
    check = "import sys, tflite.benchmark; assert not {'tensorflow', 'matplotlib'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[2], check=True)


def test_overwrite_replaces(models, tmp_path, capsys):
    path = tmp_path / "rows.json"
    path.write_text("old")
    arguments = [str(models / "plain.tflite"), "--runs", "1", "--json", str(path)]

    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "received an existing file (--overwrite replaces it)" in capsys.readouterr().err
    assert path.read_text() == "old"

    assert main([*arguments, "--overwrite"]) == 0
    assert len(json.loads(path.read_text())) == 1


# Wrong inputs.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.tflite", "missing.tflite: expected a .tflite file, received nothing there"),
        (".", "expected a .tflite file, received a directory"),
        ("notes.tflite", "expected a TFLite model (b'TFL3' at byte 4), received b'a mo'"),
        ("cut.tflite", "expected a model that LiteRT loads, received: The model is not a valid Flatbuffer"),
        ("flex.tflite", "(FlexMatrixInverse) failed to prepare"),
        ("custom.tflite", "received: Encountered unresolved custom op: MineMatrixInverse"),
        ("index.tflite", "expected a model that LiteRT runs, received: gather index out of bounds"),
        ("any_size.tflite", "(only the batch may be unknown), received 'x' of shape (1, ?, ?, 4)"),
        ("complex.tflite", "expected inputs of numbers, received 'input' of type complex64"),
        ("plain.tflite --threads 0", "threads: expected different counts of at least 1, received 0"),
        ("plain.tflite --threads 2,2", "threads: expected different counts of at least 1, received 2, 2"),
        ("plain.tflite --threads two", "--threads: expected numbers such as 1,2, received 'two'"),
        ("plain.tflite --runs 0", "runs: expected at least 1, received 0"),
        ("plain.tflite --warmup -1", "warmup: expected at least 0, received -1"),
        ("plain.tflite --seed -1", "seed: expected at least 0, received -1"),
        ("plain.tflite --plot plot.jpg", "--plot: expected a name that ends in .png, received plot.jpg"),
        ("plain.tflite --csv gone/rows.csv", "expected a path in an existing directory, received gone"),
        ("plain.tflite --csv rows --json ./rows", "expected a file of its own for each output"),
        ("plain.tflite --csv plain.tflite --overwrite", "expected a file of its own for each output"),
        ("", "the following arguments are required: FILE.tflite"),
    ],
)
def test_wrong_input_ends_with_one_line(models, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(models)
    before = {path.name: path.stat().st_size for path in models.iterdir()}

    with pytest.raises(SystemExit) as stop:
        main(arguments.split())

    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert message in err
    assert err.startswith("python -m tflite.benchmark: error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert {path.name: path.stat().st_size for path in models.iterdir()} == before


def test_every_file_is_checked_before_any_is_timed(models):
    paths, rounds = [models / "plain.tflite", models / "flex.tflite"], []

    with pytest.raises(InputError, match="FlexMatrixInverse"):
        measure(paths, progress=lambda done, total: rounds.append(done))

    assert rounds == []


def test_measure_needs_a_file():
    with pytest.raises(InputError, match="files: expected at least one, received none"):
        measure([])
