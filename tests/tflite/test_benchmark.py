"""Tests of tflite.benchmark, the command line."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.command import exit_code
from tflite.benchmark import main


def command(arguments):
    """The exit code of the command line."""
    try:
        return exit_code(lambda: main(arguments))
    except SystemExit as stop:  # argparse's
        return stop.code


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


def test_operators_are_shown_for_every_row(models, tmp_path, capsys):
    path = tmp_path / "rows.json"
    files = [str(models / f"{name}.tflite") for name in ("plain", "gather")]

    assert command([*files, "--runs", "1", "--threads", "1,2", "--operators", "--json", str(path)]) == 0

    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.endswith(("thread:", "threads:"))] == [
        "Operators of plain.tflite, 1 thread:",
        "Operators of gather.tflite, 1 thread:",
        "Operators of plain.tflite, 2 threads:",
        "Operators of gather.tflite, 2 threads:",
    ]
    kinds = [[each["kind"] for each in row["operator_times"]] for row in json.loads(path.read_text())]
    assert [len(each) for each in kinds] == [3, 3, 3, 3]  # two operators and the rest of the run
    assert kinds[1][1] == "GATHER"


def test_module_starts_without_tensorflow():
    check = "import sys, tflite.benchmark; assert not {'tensorflow', 'matplotlib'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", check], cwd=Path(__file__).parents[2], check=True)


def test_overwrite_replaces(models, tmp_path, capsys):
    path = tmp_path / "rows.json"
    path.write_text("old")
    arguments = [str(models / "plain.tflite"), "--runs", "1", "--json", str(path)]

    assert command(arguments) == 2
    assert f"{path} exists; --overwrite replaces it" in capsys.readouterr().err
    assert path.read_text() == "old"

    assert command([*arguments, "--overwrite"]) == 0
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
        ("plain.tflite --plot plot.jpg", "--plot takes a name that ends in .png. Received: plot.jpg"),
        ("plain.tflite --csv gone/rows.csv", "cannot write gone/rows.csv: no such folder: gone"),
        ("plain.tflite --csv rows --json ./rows", "every file needs a name of its own. Received: rows, ./"),
        ("plain.tflite --csv plain.tflite --overwrite", "every file needs a name of its own"),
        ("missing.tflite --operators", "missing.tflite: expected a model that LiteRT loads"),
        ("", "the following arguments are required: FILE.tflite"),
    ],
)
def test_wrong_input_ends_with_one_line(models, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(models)
    before = {path.name: path.stat().st_size for path in models.iterdir()}

    assert command(arguments.split()) == 2

    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert {path.name: path.stat().st_size for path in models.iterdir()} == before
