"""What the README shows runs, and what it lists exists."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_example_runs(example):
    exec(example, {})


def python_files(package):
    """Its own, without those that npm installs."""
    return [path for path in (ROOT / package).rglob("*.py") if "node_modules" not in path.parts]


def test_the_tree_lists_every_module():
    tree = README.split("## The tree")[1]
    for package in ("sb_keras", "recipes", "tflite"):
        for path in python_files(package):
            assert path.name == "__init__.py" or path.name in tree, path


def test_every_module_of_the_tree_exists():
    listed = re.findall(r"(\w+\.py)", README.split("## The tree")[1])
    existing = {path.name for package in ("sb_keras", "recipes", "tflite") for path in python_files(package)}
    assert set(listed) <= existing


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert {"quickstart", "test"} <= set(targets)
    for target in targets:
        assert f"\n{target}:" in makefile
