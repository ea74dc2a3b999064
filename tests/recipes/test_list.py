"""Tests of python -m recipes.list."""

import csv

import pytest

from recipes import list as list_program
from recipes.command import exit_code
from recipes.registry import PAPER, RECIPES


def test_shows_recipes_and_the_papers_results(capsys):
    assert exit_code(lambda: list_program.main([])) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for recipe in RECIPES.values():
        assert sum(line.startswith(f"{recipe.name} ") for line in lines) == 1
    for result in PAPER:
        command = f"{result.recipe} --set {result.setting}" if result.setting else result.recipe
        spread = "" if result.spread is None else f" ± {result.spread:.3f}"
        assert f"{result.table} {command} {result.accuracy:.3f}{spread}" in lines
    assert "6 cifar10-mobilenetv2-dyconv-x0.75 92.506 ± 0.102" in lines


def test_csv(tmp_path, capsys):
    path = tmp_path / "paper.csv"
    assert exit_code(lambda: list_program.main(["--csv", str(path)])) == 0
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 84 + 11 + 27
    assert rows[27 + 11] == {
        "table": "5",
        "recipe": "cifar10-mobilenetv2-se",
        "setting": "model.attention.positions=expand",
        "accuracy": "90.98",
        "spread": "0.191",
    }


@pytest.mark.parametrize(
    ("name", "message"), [("old.csv", "exists already"), ("no/new.csv", "no such folder")]
)
def test_csv_refuses_before_it_prints(name, message, tmp_path, capsys):
    (tmp_path / "old.csv").write_text("mine")
    assert exit_code(lambda: list_program.main(["--csv", str(tmp_path / name)])) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert (tmp_path / "old.csv").read_text() == "mine"
