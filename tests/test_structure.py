"""Tests of the structure: imports point one way, in no circle; programs start without what takes seconds."""

import ast
import graphlib
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
BELOW = {"sb_keras": (), "recipes": ("sb_keras",), "tflite": ("sb_keras", "recipes")}  # what each may import
PROGRAMS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("recipes", "tflite")
    for path in (ROOT / package).rglob("*.py")
    if "node_modules" not in path.parts and '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
# What takes seconds to import.
HEAVY = (
    "tensorflow",
    "keras",
    "jax",
    "torch",
    "matplotlib",
    "tensorflow_datasets",
    "keras_tuner",
    "tf_keras",
)


def modules():
    """Every module of the three packages, with its path."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in BELOW
        for path in (ROOT / package).rglob("*.py")
        if "node_modules" not in path.parts
    }


def imports(path, known):
    """The modules that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            names = {alias.name for alias in node.names}
            found |= submodules
            if len(submodules) < len(names):
                found.add(node.module)
    return found & known.keys()


def test_packages_import_what_is_below_them():
    known = modules()
    for name, path in known.items():
        package = name.partition(".")[0]
        for imported in imports(path, known):
            assert imported.partition(".")[0] in (package, *BELOW[package]), f"{name} imports {imported}"


def test_no_circle():
    known = modules()
    graph = {name: imports(path, known) for name, path in known.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises a CycleError with the circle
    assert set(order) == set(known)


def test_the_floors_of_recipes():
    """Values know no loaders, data no tasks, tasks no training, and nothing below a program knows one."""
    floors = ("recipe", "data", "tasks", "training", "search")
    above = {floor: floors[number + 1 :] for number, floor in enumerate(floors)}
    known = modules()
    programs = set(PROGRAMS)
    for name, path in known.items():
        floor = name.split(".")[1] if name.startswith("recipes.") else ""
        for imported in imports(path, known):
            assert not (imported in programs and name.startswith("recipes.")), f"{name} imports {imported}"
            for other in above.get(floor, ()):
                assert not f"{imported}.".startswith(f"recipes.{other}."), f"{name} imports {imported}"


def test_files_are_short():
    """Three hundred lines are what a reader keeps in mind."""
    long = {name: count for name, path in modules().items() if (count := lines(path)) > 300}
    assert not long


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def start(code, *arguments, **kwargs):
    """Runs a program's `main` in a new process; its output, and the heavy modules that it imported."""
    program = f"""
import importlib, json, sys
from recipes.command import exit_code
name, *arguments = {arguments!r}
try:
    code = exit_code(lambda: importlib.import_module(name).main(arguments))
except SystemExit as stop:
    code = stop.code
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps([code, heavy]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, **kwargs)
    assert done.stdout, done.stderr
    *output, last = done.stdout.splitlines()
    found, heavy = json.loads(last)
    assert found == code, done.stderr
    return "\n".join(output), done.stderr, heavy


@pytest.mark.parametrize("package", ["recipes", "tflite"])
def test_a_package_shows_its_programs(package):
    command = [sys.executable, "-m", package]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    shown = [line.removeprefix("python -m ").split(maxsplit=1) for line in done.stdout.splitlines()]
    expected = [name for name in PROGRAMS if name.startswith(f"{package}.") and name.count(".") == 1]
    assert [name for name, _ in shown] == expected  # without those in a folder of their own, for the web page
    assert all(about.endswith(".") for _, about in shown)
    wrong = subprocess.run([*command, "train"], cwd=ROOT, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (2, "error: unrecognized arguments: train\n")


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_imports_nothing_heavy(name):
    output, _, heavy = start(0, name, "--help")
    assert f"python -m {name}" in output
    assert heavy == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("recipes.train", "digits-mobilenetv2-sbb", "--run-dir", "x"),
            "Did you mean digits-mobilenetv2-sb?",
        ),
        (("recipes.train", "--set", "epoch=3", "--run-dir", "x"), "Did you mean epochs?"),
        (("recipes.train", "--set", "epochs=many", "--run-dir", "x"), "epochs must be an integer"),
        (("recipes.train", "--set", "data.name=digit", "--run-dir", "x"), "Did you mean digits?"),
        (
            (
                "recipes.train",
                "cifar10-mobilenetv2-sb",
                "--run-dir",
                "x",
                "--set",
                "data.directory=/no/where",
            ),
            "no such folder: /no/where",
        ),
        (("recipes.train", "--run-dri", "x"), "Did you mean --run-dir?"),
        (("recipes.tune", "digits-mobilenetv2-static", "--run-dir", "x"), "it has no attention"),
        (("recipes.evaluate", "/no/where"), "is not a run directory"),
        (("recipes.evaluate", "/no/where", "--csv", "LICENSE"), "LICENSE exists; --overwrite replaces it"),
        (("recipes.show", "--out", "sheet.jpg"), "--out takes a name that ends in .png"),
        (("recipes.inspect", "/no/where"), "is not a run directory"),
        (("recipes.report", "/no/where"), "is not a run directory"),
        (("tflite.convert", "/no/where", "--out", "LICENSE"), "LICENSE exists; --overwrite replaces it"),
        (("tflite.convert", "/no/where", "--out", "x.tflite"), "is not a run directory"),
        (
            ("tflite.convert", "x", "--out", "x.tfl"),
            "--out takes a name that ends in .tflite. Received: x.tfl",
        ),
        (("tflite.convert", "x", "--out", "x.tflite", "--max-drop", "2"), "--max-drop goes with --evaluate"),
        (("tflite.convert", "x", "--out", "x.tflite", "--calibration-images", "9"), "--quantize int8"),
        (("recipes.train", "--run-dir", ""), "the name of a run directory must not be empty"),
        (("tflite.convert", "x", "--out", "x.tflite", "--quantize", "int4"), "invalid choice: 'int4'"),
        (("tflite.compress", "x", "--method", "prune", "--out", "x", "--set", "epochs=1"), "compression"),
        (("tflite.evaluate", "x.tflite", "digit"), "unknown recipe 'digit'"),
        (("tflite.benchmark", "x.tflite"), "expected a .tflite file"),
        (("tflite.classify", "x.png", "--model", "x.tflite"), "no such file or folder: x.png"),
    ],
)
def test_mistakes_on_the_command_line_are_answered_at_once(arguments, message):
    output, error, heavy = start(2, *arguments)
    assert output == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert heavy == []


def test_list_imports_nothing_heavy():
    output, _, heavy = start(0, "recipes.list")
    assert "cifar10-mobilenetv2-sb" in output
    assert heavy == []


def test_help_lists_the_keys_of_set():
    """With type, default and a sentence each."""
    output, _, _ = start(0, "recipes.train", "--help")
    assert "optimizer.learning_rate  (a number; 0.05)\n      That of the first epoch, or " in output
    assert "model.attention.positions  (comma-separated: a text that is not empty; expand,depthwise" in output
    assert "steps_per_epoch  (an integer or none; none)" in output


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("tensorflo", "KERAS_BACKEND must be one of tensorflow, jax, torch. Received: 'tensorflo'."),
        ("mxnet", "KERAS_BACKEND must be one of tensorflow, jax, torch. Received: 'mxnet'"),
    ],
)
def test_unknown_backend(backend, message, tmp_path):
    import os

    environment = {**os.environ, "KERAS_BACKEND": backend}
    _, error, _ = start(2, "recipes.train", "--run-dir", str(tmp_path / "run"), env=environment)
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
