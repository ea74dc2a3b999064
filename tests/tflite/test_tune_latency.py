"""Tests of python -m tflite.tune."""

import csv
import itertools
import re

import pytest
from few_blocks import few_blocks

from recipes import tune as recipes_tune
from recipes.command import exit_code
from recipes.errors import UserError
from recipes.recipe import Recipe
from recipes.registry import RECIPES
from recipes.search import tuner
from recipes.search.costs import COSTS
from tflite import tune

RECIPE = RECIPES["digits-mobilenetv2-sb"]
SMALL = RECIPE.override(["model.width_multiplier=0.1"])

pytestmark = pytest.mark.long


def test_latency_is_measured():
    """No program with attention runs in a microsecond, and none of 32×32 pixels in a minute."""
    with few_blocks():
        assert 0.001 < tune.latencies_ms([(SMALL, 10)])[0] < 60_000


def test_refuses_what_takes_longer(tmp_path, monkeypatch, capsys):
    """The latency is that of the trial's own network; a refused one is not trained."""
    trained = []

    def train(run, recipe, **options):
        trained.append(recipe.model.width_multiplier)
        run.claim(recipe)
        run.write_result({"validation_accuracy": 0.5})
        return run.result

    monkeypatch.setattr(tuner, "train", train)
    monkeypatch.setattr(
        tune, "latencies_ms", lambda networks: [10 * r.model.width_multiplier for r, _ in networks]
    )
    arguments = ["digits-mobilenetv2-sb", "--run-dir", str(tmp_path / "s"), "--max-latency-ms", "4.5"]
    arguments += ["--choice", "model.width_multiplier=0.35,0.5,0.75"]
    assert exit_code(lambda: tune.main(arguments)) == 0
    assert trained == [0.35]
    with (tmp_path / "s" / "trials.csv").open(newline="") as file:
        reasons = {row["model.width_multiplier"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons == {
        "0.35": "",
        "0.5": "5 ms an image; at most 4.5 are allowed",
        "0.75": "7.5 ms an image; at most 4.5 are allowed",
    }
    # With another bound it is another search.
    assert exit_code(lambda: tune.main([*arguments, "--max-latency-ms", "9"])) == 2
    assert "belongs to another search: bounds is {'max_latency_ms': 4.5} there" in capsys.readouterr().err


def test_front(tmp_path, monkeypatch, capsys):
    """0.75 is better than 0.35 and slower; 0.5 is as slow as the first, 1.0 slower than 0.75, for less."""
    accuracies = {0.35: 0.7, 0.5: 0.6, 0.75: 0.9, 1.0: 0.8}
    latencies = {0.35: 1.0, 0.5: 1.0, 0.75: 2.0, 1.0: 3.5}

    def train(run, recipe, **options):
        run.claim(recipe)
        run.write_result(
            {"validation_accuracy": accuracies[recipe.model.width_multiplier] + recipe.seed / 50}
        )
        return run.result

    monkeypatch.setattr(tuner, "train", train)
    monkeypatch.setattr(
        tune, "latencies_ms", lambda networks: [latencies[r.model.width_multiplier] for r, _ in networks]
    )
    directory = tmp_path / "s"
    arguments = [
        "digits-mobilenetv2-sb",
        "--run-dir",
        str(directory),
        "--front",
        "latency-ms",
        "--seeds",
        "2",
    ]
    arguments += ["--choice", "model.width_multiplier=0.35,0.5,0.75,1.0"]
    assert exit_code(lambda: tune.main(arguments)) == 0
    with (directory / "front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model.width_multiplier"], row["latency_ms"], row["front"]) for row in rows] == [
        ("0.35", "1.0", "1"),
        ("0.5", "1.0", "0"),
        ("0.75", "2.0", "1"),
        ("1.0", "3.5", "0"),
    ]
    # Of 70 and 72 %: the mean, and the deviation with n − 1.
    assert float(rows[0]["validation_accuracy"]) == pytest.approx(0.71)
    assert float(rows[0]["standard_deviation"]) == pytest.approx(0.02 / 2**0.5)
    assert (directory / "front.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert printed.count(" front\n") == 2
    # What is offered to be trained is there.
    recipe = re.search(r"recipes.train (\S+)", printed.split("front: no other trial")[1])[1]
    first = rows[0]["trial"]
    assert Recipe.read(recipe.replace("TRIAL", first)).model.width_multiplier == 0.35


def test_front_of_multiply_adds(tmp_path, monkeypatch, capsys):
    """`recipes.tune` knows the multiply-adds alone: those of Table 1."""
    (found,) = COSTS[0].measure([RECIPES["imagenet-mobilenetv2-static"]], lambda recipe: 1000)
    assert found == pytest.approx(59.2e6, abs=0.1e6)  # as many digits as the paper has
    with pytest.raises(SystemExit):
        recipes_tune.main(
            ["digits-mobilenetv2-sb", "--run-dir", str(tmp_path / "s"), "--front", "latency-ms"]
        )
    assert "invalid choice: 'latency-ms' (choose from " in capsys.readouterr().err


def test_check(monkeypatch):
    """Of the network with as many classes as it is trained for."""
    monkeypatch.setattr(tune, "latencies_ms", lambda networks: [classes / 8 for _, classes in networks])
    tune.LATENCY.check(1.25, lambda recipe: 10)(SMALL)
    with pytest.raises(UserError, match=r"^1\.25 ms an image; at most 1\.2 are allowed$"):
        tune.LATENCY.check(1.2, lambda recipe: 10)(SMALL)


def test_a_bound_that_is_none(tmp_path, capsys):
    for bad in ("0", "-1", "nan"):
        arguments = ["digits-mobilenetv2-sb", "--run-dir", str(tmp_path / "s"), "--max-latency-ms", bad]
        assert exit_code(lambda arguments=arguments: tune.main(arguments)) == 2
        assert "--max-latency-ms must be finite and more than 0" in capsys.readouterr().err
    assert list(itertools.islice(tmp_path.iterdir(), 1)) == []
