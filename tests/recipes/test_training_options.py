"""Tests of a training's options: moving average of the weights, clipping, accumulation, smoothed labels."""

import numpy as np
import pytest

from recipes.run_directory import RunDirectory, load_model
from recipes.tasks import TASKS
from recipes.training import monitoring

pytestmark = pytest.mark.usefixtures("tiny_network")


def weights_of(model):
    return [weight.numpy() for weight in model.trainable_variables]


def test_moving_average_of_the_weights(tmp_path, run_train, monkeypatch):
    """What is saved is the average over all steps; what a checkpoint holds are the weights themselves."""
    steps = []
    original = monitoring.StopOnDivergence.on_train_batch_end

    def record(self, batch, logs=None):
        steps.append(weights_of(self.model))
        return original(self, batch, logs)

    monkeypatch.setattr(monitoring.StopOnDivergence, "on_train_batch_end", record)
    assert run_train(tmp_path / "run", "optimizer.ema_momentum=0.7") == 0
    run = RunDirectory(tmp_path / "run")
    average = steps[0]
    for weights in steps[1:]:
        average = [0.7 * old + 0.3 * new for old, new in zip(average, weights, strict=True)]
    for saved, expected in zip(weights_of(run.load_model()), average, strict=True):
        np.testing.assert_allclose(saved, expected, rtol=1e-4, atol=1e-6)  # float32
    checkpoint = load_model(run.latest_checkpoint()[0])
    for saved, expected in zip(weights_of(checkpoint), steps[-1], strict=True):
        np.testing.assert_array_equal(saved, expected)
    # The last epoch's validation is that of the saved weights.
    assert run.result["test_accuracy"] >= 0
    result = run.result
    assert result["validation_accuracy"] == run.log[-1]["val_accuracy"]


def test_the_average_survives_the_end_of_a_process(tmp_path, run_train, monkeypatch):
    """Cut off between the last checkpoint and the final model."""
    settings = ("optimizer.ema_momentum=0.7",)
    assert run_train(tmp_path / "whole", *settings) == 0
    with monkeypatch.context() as patch:
        original = RunDirectory.save_model

        def interrupted(self, model, path):
            if path == self.final_file:
                raise KeyboardInterrupt
            original(self, model, path)

        patch.setattr(RunDirectory, "save_model", interrupted)
        assert run_train(tmp_path / "run", *settings) == 130
    assert run_train(tmp_path / "run", *settings) == 0
    models = [RunDirectory(tmp_path / name).load_model() for name in ("run", "whole")]
    for ours, theirs in zip(*map(weights_of, models), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def moved(run):
    """How far a training of one step has moved all weights together."""
    import keras

    keras.utils.set_random_seed(run.recipe.seed)
    start = weights_of(TASKS["classification"].compiled_model(run.recipe, 10))
    end = weights_of(run.load_model())
    return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(end, start, strict=True)))


def test_clipping(tmp_path, run_train):
    """One step of SGD moves the weights by the learning rate times the norm of the gradients."""
    settings = ("epochs=1", "steps_per_epoch=1", "optimizer.weight_decay=0", "optimizer.clip_norm=0.01")
    assert run_train(tmp_path / "run", *settings) == 0
    # Differences of float32 weights near 1 are off by 1e-7, and there are thousands.
    assert moved(RunDirectory(tmp_path / "run")) == pytest.approx(0.05 * 0.01, rel=0.02)


def test_accumulation(tmp_path, run_train):
    """The weights move at every second step only, by the mean of two gradients."""
    settings = ("epochs=1", "optimizer.accumulation_steps=2")
    assert run_train(tmp_path / "one", *settings, "steps_per_epoch=1") == 0
    assert moved(RunDirectory(tmp_path / "one")) == 0
    assert run_train(tmp_path / "two", *settings, "steps_per_epoch=2") == 0
    assert moved(RunDirectory(tmp_path / "two")) > 0


def test_smoothed_labels(tmp_path, run_train):
    """With all of the label spread but little, nothing can be learned beyond ln 10 at the start."""
    assert run_train(tmp_path / "run", "label_smoothing=0.9", "epochs=1") == 0
    run = RunDirectory(tmp_path / "run")
    assert run.log[0]["val_loss"] == pytest.approx(np.log(10), rel=0.02)
