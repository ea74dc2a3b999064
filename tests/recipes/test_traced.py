"""Trainings of one network trace it once, and end as they would alone."""

import keras
import numpy as np
import pytest
import tiny

from recipes import registry
from recipes.run_directory import RunDirectory
from recipes.search.traced import Traced
from recipes.tasks import task_of
from recipes.training.loop import train

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]

LAMBDA, RATE = "model.attention.lambda_init", "optimizer.learning_rate"
BASE = registry.find("digits-mobilenetv2-sb").override([*tiny.SETTINGS, "optimizer.ema_momentum=0.5"])


@pytest.fixture
def traces(monkeypatch):
    """A list that gets an entry whenever a training step is traced."""
    found, step = [], keras.Model.train_step

    def train_step(self, *args):
        found.append(self)
        return step(self, *args)

    monkeypatch.setattr(keras.Model, "train_step", train_step)
    return found


def finished(path, settings, traced=lambda model: model):
    """Result and model of a training."""
    keras.utils.clear_session()
    run = RunDirectory(path)
    result = train(run, recipe=BASE.override(settings), traced=traced)
    return {key: value for key, value in result.items() if "seconds" not in key}, run.load_model("final")


def test_trainings_of_one_network_are_as_if_each_was_alone(tmp_path, traces):
    trials = [["seed=0"], [f"{LAMBDA}=0.5", f"{RATE}=0.03", "seed=1"], ["model.attention.dropout=0.2"]]
    traced = Traced()
    together = [finished(tmp_path / f"together-{i}", trial, traced) for i, trial in enumerate(trials)]
    assert len({id(model) for model in traces}) == 2  # another network has a graph of its own
    count = len(traces)
    alone = [finished(tmp_path / f"alone-{i}", trial) for i, trial in enumerate(trials)]
    assert len({id(model) for model in traces[count:]}) == 3
    assert len(traces) - count > count
    for (result, model), (expected, other) in zip(together, alone, strict=True):
        assert result == expected
        assert model.get_config() == other.get_config()
        for ours, theirs in zip(model.variables, other.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    first, second, _ = together
    assert first[0] != second[0]


def test_what_a_graph_depends_on_is_not_shared():
    traced = Traced()
    for settings in (
        [],
        ["optimizer.momentum=0.5"],
        ["optimizer.weight_decay=0.1"],
        ["label_smoothing=0.1"],
        ["model.attention.gate=sigmoid"],
        ["model.attention.hidden_multiplier=2"],
        ["optimizer.head_learning_rate=0.5"],
        ["optimizer.head_learning_rate=0.5", f"{RATE}=0.1"],
        ["steps_per_execution=2"],
    ):
        recipe = BASE.override(settings)
        model = task_of(recipe).compiled_model(recipe, 10)
        task_of(recipe).create_state(model, 10)
        assert traced(model) is model, settings
