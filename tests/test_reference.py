"""The pages that are made from the code and from results/ leave nothing out."""

import inspect
import pathlib
import re

import pytest

import sb_keras
from docs.scripts import reference, runs
from recipes import registry
from recipes.fields import flat_items

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize(
    "module", [module for _, modules in reference.MODULES.values() for module in modules]
)
def test_every_public_name_is_there(module):
    owner = sb_keras if module == "sb_keras" else getattr(sb_keras, module.partition(".")[2])
    expected = {
        f"{module}.{name}"
        for name in dir(owner)
        if not name.startswith("_")
        and (inspect.isclass(value := getattr(owner, name)) or inspect.isfunction(value))
        and value.__module__.startswith("sb_keras" if hasattr(owner, "__path__") else module)
        and not (owner is sb_keras and hasattr(sb_keras.models, name))  # these have a page of their own
    }
    listed = set(re.findall(r"^::: (\S+)$", "".join(reference.python().values()), re.MULTILINE))
    assert expected
    assert expected <= listed


def test_every_key_is_there():
    page = reference.recipe_keys()
    assert all(f"- `{key}` (" in page for key, _ in flat_items(registry.RECIPES[registry.DEFAULT]))
    (photos,) = [line for line in page.splitlines() if line.startswith("- **photos-mobilenetv2-sb**: ")]
    assert "`optimizer.warmup_epochs=1`" in photos


def test_a_program_with_its_options():
    options = [action.dest for action in reference.parser_of("recipes.train")._actions]
    assert {"recipe", "run_dir", "set", "strategy", "dry_run"} <= set(options)
    names = reference.program_names()
    assert {"recipes.train", "tflite.convert", "tflite.web.bundle", "benchmarks.training"} <= set(names)


def test_every_run_has_a_row_and_a_card():
    table, cards = runs.table(), runs.cards()
    folders = [file.parent for file in (ROOT / "results").rglob("result.json")]
    assert len(table.splitlines()) == 2 + len(folders)
    linked = re.findall(r"cards\.md#([^)]+)\)", table)
    assert len(set(linked)) == len(folders)
    assert all(f'<a id="{anchor}"></a>' in cards for anchor in linked)


def test_a_score_is_that_of_the_result():
    (row,) = [line for line in runs.table().splitlines() if "#tinyimagenet-sb-0)" in line]
    assert "| 22.33 | tiny_imagenet |" in row
    assert row.endswith("| 15 | 0 | 1,675,548 |")
