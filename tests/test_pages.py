"""Every command that a page shows is one that its program takes, and every link leads somewhere."""

import argparse
import importlib
import json
import pathlib
import re
import shlex
import urllib.parse

import pytest

from docs.scripts.pages import blocks, notebook
from recipes import registry

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(
            ROOT / folder / "README.md"
            for folder in ("recipes", "tflite", "tflite/web", "benchmarks", "results")
        ),
    )
    if path.is_file()
}
END = {"&", "|", ";", "&&", ">", "2>&1"}


class Parsed(Exception):
    """Carries what a program has understood, before it does it."""


def commands(text):
    """The words of every `python …` and `make …` in a page's blocks."""
    for block in blocks(text):
        if block.language != "sh":
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            for command in re.findall(r"(?:python -m |python |^make )[^#]*", line):
                if command.count("'") % 2:  # the end of a script in quotes
                    command = command.rstrip().removesuffix("'")
                lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                words = list(lexer)
                end = next((number for number, word in enumerate(words) if word in END), len(words))
                yield words[:end]


COMMANDS = sorted({(name, *words) for name, text in PAGES.items() for words in commands(text)})


def understood(module, arguments, monkeypatch):
    """What a program's parser makes of its arguments."""
    parse = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        raise Parsed(parse(self, args, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises(Parsed) as caught:
        importlib.import_module(module).main(arguments)
    return caught.value.args[0]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:90])
def test_a_program_takes_the_command(command, monkeypatch):
    _, program, *arguments = command
    if program == "make":
        assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file()
    elif arguments[1].partition(".")[0] in ("recipes", "tflite", "benchmarks") and "." in arguments[1]:
        found = understood(arguments[1], arguments[2:], monkeypatch)
        if hasattr(found, "set"):
            named = hasattr(found, "recipe")
            recipe = registry.find(found.recipe if named else registry.DEFAULT)
            recipe.override(found.set, idle=not named)


def test_there_are_commands_of_every_guide():
    guides = {name for name in PAGES if name.startswith("docs/guides/")}
    assert len(guides) == 7
    in_python = {"docs/guides/layer.md", "docs/guides/attach.md"}
    assert guides - in_python <= {page for page, *_ in COMMANDS}


def anchors(text):
    """The fragments that GitHub makes of a page's headings."""
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    text = re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = urllib.parse.unquote(link).partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in set(anchors(target.read_text(encoding="utf-8"))), link


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("docs/guides/")])
def test_a_guide_is_short_and_a_notebook_has_its_code(name):
    assert len(PAGES[name].split()) < 1000  # five minutes
    cells = json.loads(notebook(PAGES[name], "https://example.org/sb_keras"))["cells"]
    code = [cell["source"].removeprefix("%%bash -e\n") for cell in cells if cell["cell_type"] == "code"]
    run = [block.code.replace(".venv/bin/", "").strip() for block in blocks(PAGES[name]) if block.run]
    shown = [source for source in code if source.startswith("from IPython.display import Image")]
    assert [source for source in code if source not in shown][1:] == run  # the first one installs
    files = re.findall(r"<!-- written: (\S+) -->\n!\[", PAGES[name])
    assert [re.search(r'Image\("(.+)", width', source)[1] for source in shown] == files
