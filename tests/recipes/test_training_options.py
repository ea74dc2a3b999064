"""Tests of a training's options: average of the weights, clipping, accumulation, warm-up, early stopping …"""

import numpy as np
import pytest

from recipes.keras_file import load_model
from recipes.run_directory import RunDirectory
from recipes.tasks import TASKS
from recipes.training import monitoring

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


def weights_of(model):
    return [weight.numpy() for weight in model.trainable_variables]


def weights_by_step(monkeypatch):
    """A list that a training adds its weights to after every step."""
    steps = []
    original = monitoring.StopOnDivergence.on_train_batch_end

    def record(self, batch, logs=None):
        steps.append(weights_of(self.model))
        return original(self, batch, logs)

    monkeypatch.setattr(monitoring.StopOnDivergence, "on_train_batch_end", record)
    return steps


def start_of(run):
    """The weights that a training began with."""
    import keras

    keras.utils.set_random_seed(run.recipe.seed)
    return weights_of(TASKS["classification"].compiled_model(run.recipe, 10))


def distance(weights, others):
    return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(weights, others, strict=True)))


def test_moving_average_of_the_weights(tmp_path, run_train, monkeypatch):
    """What is saved is the average over all steps; what a checkpoint holds are the weights themselves."""
    steps = weights_by_step(monkeypatch)
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


@pytest.mark.slow
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


def test_clipping(tmp_path, run_train):
    """One step of SGD moves the weights by the learning rate times the norm of the gradients."""
    settings = ("epochs=1", "steps_per_epoch=1", "optimizer.weight_decay=0", "optimizer.clip_norm=0.01")
    assert run_train(tmp_path / "run", *settings) == 0
    run = RunDirectory(tmp_path / "run")
    moved = distance(weights_of(run.load_model()), start_of(run))
    # Differences of float32 weights near 1 are off by 1e-7, and there are thousands.
    assert moved == pytest.approx(0.05 * 0.01, rel=0.02)


def test_accumulation(tmp_path, run_train, monkeypatch):
    """The weights move at every second step only, by the mean of two gradients."""
    steps = weights_by_step(monkeypatch)
    assert run_train(tmp_path / "run", "epochs=1", "optimizer.accumulation_steps=2") == 0
    start = start_of(RunDirectory(tmp_path / "run"))
    assert [distance(weights, start) > 0 for weights in steps] == [False, True]


def test_smoothed_labels(tmp_path, run_train):
    """With all of the label spread but little, nothing can be learned beyond ln 10 at the start."""
    assert run_train(tmp_path / "run", "label_smoothing=0.9", "epochs=1") == 0
    run = RunDirectory(tmp_path / "run")
    assert run.log[0]["val_loss"] == pytest.approx(np.log(10), rel=0.02)


def test_warm_up(tmp_path, run_train, monkeypatch):
    """Step n of the N of the first epoch has n / N of the learning rate, and the cosine begins behind it."""
    rates = []
    original = monitoring.StopOnDivergence.on_train_batch_end

    def record(self, batch, logs=None):
        rates.append(float(self.model.optimizer.learning_rate))
        return original(self, batch, logs)

    monkeypatch.setattr(monitoring.StopOnDivergence, "on_train_batch_end", record)
    settings = (
        "optimizer.name=adamw",
        "optimizer.learning_rate=0.01",
        "optimizer.warmup_epochs=1",
        "epochs=3",
    )
    assert run_train(tmp_path / "run", *settings) == 0
    np.testing.assert_allclose(rates, [0.005, 0.01, 0.01, 0.01, 0.005, 0.005], rtol=1e-6)
    run = RunDirectory(tmp_path / "run")
    assert [row["learning_rate"] for row in run.log] == pytest.approx([0.01, 0.01, 0.005])
    assert type(run.load_model().optimizer).__name__ == "AdamW"


def _owner(path):
    """Whose a weight is: the attention's, the classifier's, or the trunk's, which has many layers."""
    layers = path.split("/")
    if layers[0].endswith("_sb") or "routing" in layers:
        return "attention"
    return "head" if layers[0] == "predictions" else "trunk"


@pytest.mark.parametrize(
    ("own", "kind"), [("head", "static"), ("head", "sb"), ("attention", "sb"), ("attention", "dyconv")]
)
def test_learning_rates_of_their_own(tmp_path, run_train, own, kind):
    """With a rate of next to nothing for the rest, a step moves the head, or the attention, alone."""
    import keras

    settings = (
        f"model.attention.kind={kind}",
        "optimizer.learning_rate=1e-12",
        f"optimizer.{own}_learning_rate=0.05",
        "optimizer.weight_decay=0",
    )
    assert run_train(tmp_path / "run", *settings, "epochs=1", "steps_per_epoch=1") == 0
    run = RunDirectory(tmp_path / "run")
    keras.utils.set_random_seed(run.recipe.seed)
    start = TASKS["classification"].compiled_model(run.recipe, 10)
    moved = {
        _owner(before.path)
        for before, after in zip(start.trainable_weights, run.load_model().trainable_weights, strict=True)
        if np.abs(before.numpy() - after.numpy()).max() > 1e-9
    }
    assert moved == {own}


# What is around the steps


@pytest.mark.usefixtures("eager_steps")
@pytest.mark.parametrize("interrupted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_early_stopping(tmp_path, run_train, monkeypatch, capsys, interrupted):
    """Two epochs after the best one the training ends, with the best one's weights; also when it goes on."""
    accuracies = [0.1, 0.4, 0.3, 0.4, 0.9, 0.9]
    original, saved = monitoring.Validation.on_epoch_end, {}

    def evaluate(self, epoch, logs=None):
        original(self, epoch, logs)
        logs["val_accuracy"] = accuracies[epoch]
        saved[epoch] = weights_of(self.model)

    monkeypatch.setattr(monitoring.Validation, "on_epoch_end", evaluate)
    settings = ("early_stopping_epochs=2", "epochs=6", "steps_per_epoch=1")
    if interrupted:  # behind the last epoch's checkpoint, before the result is there
        with monkeypatch.context() as patch:
            patch.setattr(RunDirectory, "write_result", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            assert run_train(tmp_path / "run", *settings) == 130
    assert run_train(tmp_path / "run", *settings) == 0
    run = RunDirectory(tmp_path / "run")
    assert len(run.log) == run.result["epochs"] == 4
    assert (run.result["best_epoch"], run.result["validation_accuracy"]) == (2, 0.4)
    for ours, best in zip(weights_of(run.load_model()), saved[1], strict=True):
        np.testing.assert_array_equal(ours, best)
    assert "no better val_accuracy for 2 epochs: the training ends after 4" in capsys.readouterr().out


def test_balanced_classes_weigh_the_same():
    """As scikit-learn computes `class_weight="balanced"`."""
    from sklearn.utils.class_weight import compute_class_weight

    from recipes import registry
    from recipes.data.split import Dataset
    from recipes.data.tf_batches import Arrays
    from recipes.training.loop import class_weights

    labels = np.array([0, 0, 0, 1, 2, 2], "int32")
    split = Arrays(np.zeros((6, 32, 32, 3), "uint8"), labels)
    dataset = Dataset(("a", "b", "c"), split, split, split)
    recipe = registry.find("digits-mobilenetv2-sb")
    assert class_weights(recipe, dataset) is None
    weights = class_weights(recipe.override(["class_weights=balanced"]), dataset)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert weights is not None
    assert list(weights) == [0, 1, 2]
    assert list(weights.values()) == pytest.approx(expected.tolist())


@pytest.mark.usefixtures("eager_steps")
def test_class_weights_change_the_training(tmp_path, run_train):
    """The digits' classes differ by a few pictures: so do the losses, by little."""
    losses = []
    for name, settings in (("plain", ()), ("balanced", ("class_weights=balanced",))):
        assert run_train(tmp_path / name, *settings, "epochs=1") == 0
        losses.append(RunDirectory(tmp_path / name).log[0]["loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
