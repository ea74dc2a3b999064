"""Who reads a run and its data together compares the names of the classes, not their number."""

import json
import shutil

import pytest

from recipes import evaluate
from recipes.command import exit_code
from recipes.run_directory import RunDirectory
from tflite import compress, convert
from tflite import evaluate as tflite_evaluate
from tflite.web import bundle


@pytest.fixture
def renamed(run, tmp_path):
    """The run, whose sixth class had another name when it was trained."""
    shutil.copytree(run.path, tmp_path / "run")
    names = ["0", "1", "2", "3", "4", "fünf", "6", "7", "8", "9"]
    (tmp_path / "run" / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def file(run, tmp_path):
    path = tmp_path / "file.tflite"
    path.write_bytes(convert.convert(run.load_model()))
    return path


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (evaluate, "{run}"),
        (convert, "{run} --evaluate --out {out}.tflite"),
        (convert, "{run} --quantize int8 --out {out}.tflite"),
        (compress, "{run} --method prune --out {out}.tflite"),
        (tflite_evaluate, "{file} {run}"),
        (bundle, "{run} {file} --out {out}"),
    ],
    ids=["evaluate", "convert", "int8", "compress", "tflite.evaluate", "bundle"],
)
def test_renamed_classes_are_refused(program, arguments, renamed, file, tmp_path, capsys):
    arguments = arguments.format(run=renamed.path, file=file, out=tmp_path / "out").split()
    assert exit_code(lambda: program.main(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "trained with the classes 0, 1, 2, 3, 4, fünf, 6, 7, 8, 9; the data have 0, 1, 2, 3, 4, 5," in line
    assert not list(tmp_path.glob("out*"))


def test_labels_are_those_of_the_run(renamed):
    """Also of one that is not finished, whose best model is converted."""
    from tflite.export import metadata_of

    renamed.result_file.unlink()
    assert metadata_of(renamed).labels[5] == "fünf"
