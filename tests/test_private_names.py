"""Keras's private names, which change without notice, are used in one module."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("sb_keras", "recipes", "tflite", "benchmarks")
EXCEPT = ROOT / "sb_keras" / "graph.py"
PRIVATE = re.compile(
    r"_keras_history|_flatten_layers|_inbound_nodes|_functional\b|_nodes_by_depth|_maybe_symbolic_build"
)
MODULES = [
    path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != EXCEPT and "node_modules" not in path.parts
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_name_of_keras(path):
    # `as_functional` is this package's own.
    found = PRIVATE.findall(path.read_text().replace("as_functional", ""))
    assert not found, f"{path}: expected these in {EXCEPT.name} only"


def test_the_search_finds_what_is_there():
    assert len(set(PRIVATE.findall(EXCEPT.read_text()))) == 6
