"""Tests of what a chief knows that is started again, without processes."""

import keras_tuner
import pytest
from keras_tuner.engine.trial import TrialStatus

from recipes.search.sharing import shared
from recipes.search.tuner import GridOracle


@pytest.fixture
def chief(tmp_path, monkeypatch):
    """A function that makes the chief's oracle of one search, as it was saved last."""
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    space = keras_tuner.HyperParameters()
    space.Choice("x", [1, 2, 3])

    def chief():
        oracle = shared(GridOracle)(
            objective=keras_tuner.Objective("score", "max"), hyperparameters=space, max_trials=3
        )
        oracle._set_project_dir(tmp_path, "search")
        if (tmp_path / "search" / "oracle.json").exists():
            oracle.reload()
        return oracle

    return chief


def end(oracle, trial):
    oracle.update_trial(trial.trial_id, {"score": 0.5})
    trial.status = TrialStatus.COMPLETED
    oracle.end_trial(trial)


@pytest.mark.parametrize("tuners", [("tuner0",), ("tuner0", "tuner1")], ids=["the first", "the newest"])
def test_a_trial_ends_at_a_chief_that_was_started_again(chief, tuners):
    """keras-tuner has saved it before it noted when it began."""
    killed = chief()
    *_, newest = [killed.create_trial(tuner) for tuner in tuners]
    oracle = chief()
    assert set(oracle.ongoing_trials) == set(tuners)
    end(oracle, newest)
    assert oracle.end_order == [newest.trial_id]
    assert newest.trial_id not in [trial.trial_id for trial in oracle.ongoing_trials.values()]


def test_a_trial_that_has_ended_ends_once(chief):
    """A tuner that got no answer says it again."""
    killed = chief()
    trial = killed.create_trial("tuner0")
    end(killed, trial)
    oracle = chief()
    end(oracle, trial)
    assert oracle.end_order == [trial.trial_id]
    assert oracle.get_best_trials()[0].score == 0.5
    assert oracle.create_trial("tuner0").trial_id != trial.trial_id
