"""The code of a page, which the tests run and the notebooks hold, and the page as a notebook."""

import json
import re
from typing import NamedTuple

# A block behind a comment `<!-- not run: why -->` is shown, but neither run nor made a cell.
_BLOCK = re.compile(r"(<!-- not run: [^\n]*-->\n)?```(python|sh)\n(.*?)```\n?", re.DOTALL)
# A picture behind a comment `<!-- written: pictures.png -->` is one that the code before it writes.
_WRITTEN = re.compile(r"<!-- written: (\S+) -->\n!\[[^\n]*\n")


class Block(NamedTuple):
    """Code of a page: its language, `"python"` or `"sh"`, and whether it is to be run."""

    language: str
    code: str
    run: bool
    start: int
    end: int


def blocks(text):
    """The blocks of code of a Markdown page, in order."""
    return [Block(found[2], found[3], not found[1], *found.span()) for found in _BLOCK.finditer(text)]


def notebook(text, repository):
    """A Markdown page as a Jupyter notebook, in JSON.

    Where the page has a picture that its code writes, the notebook shows the one that was written.

    Args:
        text: The page.
        repository: Address of the repository, which the first cell clones; None where there is none, and the
            notebook is for a checkout.
    """
    setup = _code(
        "# What the page needs. Leave it out in a checkout that is set up, with its environment activated.\n"
        f"!git clone {repository} sb_keras\n"
        "%cd sb_keras\n"
        "%pip install --quiet -c constraints.txt -e '.[compression,jax]'\n"
        "%pip install --quiet -c constraints.txt --no-deps tensorflow-model-optimization\n"
    )
    if repository is None:
        setup = _markdown("Run this notebook in the root of a checkout, with its environment activated.")
    position = text.index("\n") + 1
    cells = [_markdown(text[:position]), setup]
    for block in blocks(text):
        if block.run:
            cells += [*_shown(text[position : block.start]), _code(_as_cell(block))]
            position = block.end
    cells += _shown(text[position:])
    return json.dumps(
        {
            "cells": [cell for cell in cells if cell["source"]],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4,
            "nbformat_minor": 4,
        },
        indent=1,
        ensure_ascii=False,
    )


def _as_cell(block):
    code = block.code.replace(".venv/bin/python", "python")
    return code if block.language == "python" else f"%%bash -e\n{code}"  # ends where a command fails


def _shown(text):
    """The cells of text, and between them those that show what was written."""
    text, *rest = _WRITTEN.split(text)
    yield _markdown(text)
    for file, text in zip(rest[::2], rest[1::2], strict=True):
        yield _code(f'from IPython.display import Image\n\nImage("{file}", width=800)')
        yield _markdown(text)


def _markdown(text):
    """A cell of text: without pictures, and with links only to where one gets from anywhere."""
    text = re.sub(r"<picture>.*?</picture>\n?", "", text, flags=re.DOTALL).replace(
        ".venv/bin/python", "python"
    )
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n?", "", text)
    text = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip()}


def _code(code):
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": code.strip(),
    }
