"""Every guide runs from top to bottom, on its own small data and with short trainings."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from docs.scripts.pages import blocks

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
    """The commands of a block with this Python, on less data."""
    lines = code.replace("\\\n", " ").splitlines()
    for pattern, replacement in SHORTER:
        lines = [re.sub(pattern, replacement, line) for line in lines]
    return "\n".join(lines).replace(".venv/bin/python", sys.executable)


MARKS = {name: pytest.mark.long if name in IN_PYTHON else pytest.mark.slow for name in GUIDES}


@pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in MARKS.items()])
def test_a_guide_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    variables = {}
    for block in blocks(GUIDES[name]):
        if block.run and block.language == "python":
            exec(block.code, variables)
        elif block.run:
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", shorter(block.code)], env=environment, check=True
            )
