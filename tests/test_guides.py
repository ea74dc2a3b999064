"""Every guide runs from top to bottom as a notebook, on its own small data and with short trainings."""

import os
import pathlib
import re
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from docs.scripts.pages import notebook

ROOT = pathlib.Path(__file__).parent.parent
GUIDES = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "guides").glob("*.md"))
}
IN_PYTHON = ("attach", "layer")  # these take seconds
SHORT = "--set epochs=2 --set steps_per_epoch=2 --set batch_size=8"
# What makes a command short. The weights that recipes for own pictures begin with would be downloaded.
SHORTER = (
    (r"-m recipes\.(train|tune) \S+", rf"\g<0> {SHORT}"),
    (r"-m recipes\.\w+ (photos|boxes)-\S+", r"\g<0> --set model.weights=none --set data.image_size=160"),
    (r"-m tflite\.convert .* --evaluate", r"\g<0> --max-drop 100"),
    (r"-m tflite\.compress \S+", r"\g<0> --set compression.epochs=1 --set compression.steps_per_epoch=1"),
)


def shorter(code):
    """The commands of a cell on less data."""
    lines = code.replace("\\\n", " ").splitlines()
    for pattern, replacement in SHORTER:
        lines = [re.sub(pattern, replacement, line) for line in lines]
    return "\n".join(lines)


def checkout(folder):
    """A folder in which the programs run as in this checkout, and what they write is nobody else's."""
    for package in ("sb_keras", "recipes", "tflite"):
        (folder / package).symlink_to(ROOT / package)


MARKS = {name: pytest.mark.long if name in IN_PYTHON else pytest.mark.slow for name in GUIDES}


@pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in MARKS.items()])
def test_a_guide_runs_as_a_notebook(name, tmp_path, monkeypatch):
    checkout(tmp_path)
    pages = nbformat.reads(notebook(GUIDES[name], "https://example.org/sb_keras"), as_version=4)
    setup = next(cell for cell in pages.cells if cell.cell_type == "code")
    pages.cells.remove(setup)  # it clones and installs
    for cell in pages.cells:
        if cell.source.startswith("%%bash"):
            cell.source = shorter(cell.source)
    # Its `python` is the kernel's, as in an environment that is activated, and in Colab.
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(pages, kernel_name="python3", timeout=900, resources=resources).execute()
    pictures = [cell for cell in pages.cells if "Image(" in cell.source and "width=" in cell.source]
    assert all("image/png" in cell.outputs[0].data for cell in pictures)
