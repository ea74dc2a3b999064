"""Tests of python -m tflite.tune."""

import csv
import itertools

import pytest

from recipes.command import exit_code
from recipes.errors import UserError
from recipes.registry import RECIPES
from recipes.search import tuner
from tflite import tune

RECIPE = RECIPES["digits-mobilenetv2-sb"]
SMALL = RECIPE.override(["model.width_multiplier=0.1"])

# keras-tuner 1.4.8 uses a name that Python deprecates.
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]


@pytest.mark.slow
def test_latency_is_measured():
    """No program of 51 layers with attention runs in a microsecond, and none of 32×32 pixels in a minute."""
    assert 0.001 < tune.latency_ms(SMALL) < 60_000


def test_refuses_what_takes_longer(tmp_path, monkeypatch, capsys):
    """The latency is that of the trial's own network; a refused one is not trained."""
    trained = []

    def train(run, recipe):
        trained.append(recipe.model.width_multiplier)
        run.claim(recipe)
        run.write_result({"validation_accuracy": 0.5})
        return run.result

    monkeypatch.setattr(tuner, "train", train)
    monkeypatch.setattr(tune, "latency_ms", lambda recipe: 10 * recipe.model.width_multiplier)
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


def test_check():
    found = tune.latency_ms(SMALL)
    tune.check_latency(2 * found)(SMALL)
    with pytest.raises(UserError, match=r"^[\d.]+ ms an image; at most [\d.e-]+ are allowed$"):
        tune.check_latency(found / 2)(SMALL)


def test_a_bound_that_is_none(tmp_path, capsys):
    for bad in ("0", "-1", "nan"):
        arguments = ["digits-mobilenetv2-sb", "--run-dir", str(tmp_path / "s"), "--max-latency-ms", bad]
        assert exit_code(lambda arguments=arguments: tune.main(arguments)) == 2
        assert "--max-latency-ms must be finite and more than 0" in capsys.readouterr().err
    assert list(itertools.islice(tmp_path.iterdir(), 1)) == []
