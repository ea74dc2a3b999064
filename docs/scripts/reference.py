"""Pages made from the code: public names, programs with their options, keys of a recipe."""

import argparse
import ast
import collections
import importlib
import pathlib
from unittest import mock

from recipes.command import quiet
from recipes.fields import documented_keys
from recipes.recipe import Recipe
from recipes.registry import RECIPES

ROOT = pathlib.Path(__file__).parents[2]
# Pages of the public names: title, and where the names are.
MODULES = {
    "attention": ("Attention, folding and costs", ("sb_keras",)),
    "models": ("Networks", ("sb_keras.models",)),
    "layers": ("Layers", ("sb_keras.layers",)),
    "detection": ("Detection", ("sb_keras.detection",)),
    "training": (
        "Losses, optimizers, callbacks",
        ("sb_keras.losses", "sb_keras.optimizers", "sb_keras.callbacks"),
    ),
}


def python():
    """A page for each of `MODULES`, by its name: every public object with its docstring."""
    return {
        name: f"# {title}\n\n" + "\n".join(f"::: {each}\n" for module in modules for each in public(module))
        for name, (title, modules) in MODULES.items()
    }


def public(module):
    """The names that a module exports, dotted: those that it imports as themselves, or else its own."""
    path = ROOT / module.replace(".", "/")
    files = (path / "__init__.pyi", path / "__init__.py", path.with_suffix(".py"))
    body = ast.parse(next(file for file in files if file.is_file()).read_text(encoding="utf-8")).body
    exported = {
        alias.asname: node.module
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.asname == alias.name and node.module  # not the modules of a package
    }
    own = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    if module == "sb_keras":  # the networks have a page of their own
        exported = {name: source for name, source in exported.items() if source != "models"}
    return [f"{module}.{name}" for name in sorted(exported or own, key=str.lower) if not name.startswith("_")]


class _Found(Exception):
    """Carries a program's parser."""


def parser_of(module):
    """The argument parser of a program, whose `main` is stopped as soon as it parses."""

    def stop(self, *args):
        raise _Found(self)

    with quiet(), mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            importlib.import_module(module).main([])
        except _Found as found:
            return found.args[0]
    raise TypeError(f"{module} parses no arguments")


def program_names():
    """Every module that is a program."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("recipes", "tflite", "benchmarks")
        for path in sorted((ROOT / package).rglob("*.py"))
        if "node_modules" not in path.parts
        and path.name != "__main__.py"
        and '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]


def programs():
    """A page of all programs, each with its options as argparse has them."""
    lines = ["# Programs", "", "All run from the root of a checkout, and all say this by `--help` too."]
    lines += ["", "What they end with: [exit codes](run-directory.md#exit-codes)."]
    for name in program_names():
        parser = parser_of(name)
        actions = [action for action in parser._actions if action.dest != "help"]
        needed = [_spelled(each) for each in actions if each.required and each.nargs != "?"]
        lines += ["", f"## {name}", "", f"{parser.description}", "", "```sh"]
        lines += [f".venv/bin/{' '.join((parser.prog, *needed))}", "```", ""]
        lines += [f"- {_option(parser, action)}" for action in actions]
    return "\n".join(lines) + "\n"


def _spelled(action):
    """An option, or an argument, with what it takes."""
    value = action.metavar or ("" if action.nargs == 0 else "|".join(map(str, action.choices or ())))
    return " ".join(filter(None, (", ".join(action.option_strings), value))) or action.dest


def _option(parser, action):
    """What an option is called, what it takes, and what it does."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    if action.required and action.option_strings:
        text = f"{text}; required" if text else "required"
    return f"`{_spelled(action)}`" + (f": {text}" if text else "")


def recipe_keys():
    """A page of the keys of a recipe: type, default and meaning, from the dataclasses."""
    lines = [
        "# Recipe keys",
        "",
        "A recipe is everything that decides how a network is trained. Each key is one of `recipe.json`, and "
        "one for `--set KEY=VALUE`. The default is that of a new recipe; the named ones have "
        "[their own](#what-the-named-recipes-say).",
    ]
    groups = collections.defaultdict(list)
    for key, kind, default, meaning in documented_keys(Recipe("")):
        text = f"- `{key}` ({kind}; {default or 'none'}): {meaning}"
        groups[key.rpartition(".")[0] or "The recipe itself"].append(text)
    for group, texts in groups.items():
        lines += ["", f"## {group}", "", *texts]
    lines += ["", "## What the named recipes say", "", "Where it is not the default:", ""]
    for name, recipe in RECIPES.items():
        own = [f"`{key}={value}`" for key, _, value in Recipe(name).differences(recipe)]
        lines.append(f"- **{name}**: {', '.join(own)}")
    return "\n".join(lines) + "\n"
