"""What the README shows runs, and what the tree lists exists."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = ("sb_keras", "recipes", "tflite", "docs")
TREE = (ROOT / "docs" / "reference" / "tree.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_example_runs(example):
    exec(example, {})


def python_files(package):
    """Its own, without those that npm installs."""
    return [path for path in (ROOT / package).rglob("*.py") if "node_modules" not in path.parts]


def test_the_tree_lists_every_module():
    for package in PACKAGES:
        for path in python_files(package):
            assert path.name == "__init__.py" or path.name in TREE, path


def test_every_module_of_the_tree_exists():
    listed = re.findall(r"(\w+\.py)", TREE)
    existing = {path.name for package in PACKAGES for path in python_files(package)}
    assert set(listed) <= existing


def test_the_readme_begins_with_the_two_commands():
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets[:2] == ["quickstart", "test"]
