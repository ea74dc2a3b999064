"""Tests that a training that was cut off goes on as if nothing had been."""

import signal

import keras
import numpy as np
import PIL.Image
import pytest
import tiny

from recipes.run_directory import RunDirectory
from recipes.training.monitoring import StopOnDivergence

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]

DROPOUT = ("epochs=3", "model.dropout=0.2", "model.attention.dropout=0.2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_network, run_train):
    """A run of three epochs with dropout in the attention and before the classifier."""
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert run_train(path, *DROPOUT) == 0
    return RunDirectory(path)


def assert_same_training(run, other):
    """The weights, the optimizer's state and the log are equal to the bit; but the seconds are not."""
    for which in ("final", "best"):
        model, expected = run.load_model(which), other.load_model(which)
        for ours, theirs in zip(model.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{which}: {ours.path}")
        for ours, theirs in zip(model.optimizer.variables, expected.optimizer.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{which}: {ours.path}")
    rows, expected_rows = ([{**row, "seconds": None} for row in r.log] for r in (run, other))
    assert rows == expected_rows
    assert {**run.result, "seconds": None} == {**other.result, "seconds": None}


@pytest.mark.parametrize(
    ("owner", "method", "calls"),
    [(StopOnDivergence, "on_train_batch_end", 4), (RunDirectory, "save_checkpoint", 2)],
    ids=["within an epoch", "before the checkpoint"],
)
def test_going_on_after_an_interruption(
    owner, method, calls, undisturbed, tmp_path, run_train, monkeypatch, capsys
):
    """Bit for bit the undisturbed run, dropout included."""
    original = getattr(owner, method)

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls -= 1
        if not calls:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, interrupted)
        assert run_train(tmp_path / "run", *DROPOUT) == 130
    run = RunDirectory(tmp_path / "run")
    assert run.result is None
    assert run_train(run.path, *DROPOUT) == 0
    assert f"going on with {run.path} after epoch 1 of 3" in capsys.readouterr().out
    assert_same_training(run, undisturbed)


def test_classes_belong_to_the_run(tmp_path, run_train, monkeypatch, capsys):
    """A folder renamed meanwhile, and sorted elsewhere, would exchange the labels half-way."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "eel"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            picture = PIL.Image.fromarray(rng.integers(0, 256, (32, 32, 3), "uint8"))
            picture.save(tmp_path / "data" / name / f"{number}.png")
    settings = ("data.name=image_folder", f"data.directory={tmp_path / 'data'}", "batch_size=4", "epochs=1")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_result", interrupted)
        assert run_train(tmp_path / "run", *settings) == 130
    run = RunDirectory(tmp_path / "run")
    assert run.classes == ("cat", "dog", "eel")
    (tmp_path / "data" / "dog").rename(tmp_path / "data" / "zdog")
    assert run_train(run.path, *settings) == 2
    message = "trained with the classes cat, dog, eel; the data have cat, eel, zdog"
    assert message in capsys.readouterr().err
    (tmp_path / "data" / "zdog").rename(tmp_path / "data" / "dog")
    assert run_train(run.path, *settings) == 0


@pytest.mark.slow
def test_going_on_with_an_annealed_temperature(tmp_path, run_train, monkeypatch):
    settings = ("epochs=3", "temperature_epochs=2", "model.attention.temperature=20", *DROPOUT)
    assert run_train(tmp_path / "whole", *settings, recipe="digits-mobilenetv2-dyconv") == 0

    def interrupted(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_epoch_begin", interrupted)
        patch.setattr(StopOnDivergence, "on_train_batch_end", lambda *_, **__: None)
        assert run_train(tmp_path / "parts", *settings, recipe="digits-mobilenetv2-dyconv") == 130
    run = RunDirectory(tmp_path / "parts")
    first = keras.saving.load_model(run.latest_checkpoint()[0])
    assert temperatures(first) == {20.0}
    assert run_train(run.path, *settings, recipe="digits-mobilenetv2-dyconv") == 0
    assert temperatures(run.load_model()) == {1.0}
    assert_same_training(run, RunDirectory(tmp_path / "whole"))


def temperatures(model):
    return {float(weight) for weight in model.weights if weight.name == "temperature"}


def test_going_on_from_the_checkpoint_before_a_damaged_one(
    undisturbed, tmp_path, run_train, monkeypatch, capsys
):
    """The epoch that was lost is trained again, and the same again."""

    def interrupted(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        self._epoch, self._first = epoch + 1, 0

    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_epoch_begin", interrupted)
        assert run_train(tmp_path / "run", *DROPOUT) == 130
    run = RunDirectory(tmp_path / "run")
    path, _ = run.latest_checkpoint()
    path.write_bytes(path.read_bytes()[:-100])
    assert run_train(run.path, *DROPOUT) == 0
    captured = capsys.readouterr()
    assert f"warning: {path} is damaged" in captured.err
    assert "after epoch 1 of 3" in captured.out
    assert_same_training(run, undisturbed)


# With more epochs

CONSTANT = ("optimizer.schedule=constant", "optimizer.ema_momentum=0.9", *DROPOUT)


def test_more_epochs_after_a_finished_training(tmp_path, run_train, monkeypatch, capsys):
    """Bit for bit the undisturbed run of all of them, also after an interruption; fewer are refused."""
    whole, run = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "run")
    assert run_train(whole.path, *CONSTANT, "epochs=3") == 0
    assert run_train(run.path, *CONSTANT, "epochs=1") == 0

    def interrupted(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt
        self._epoch, self._first = epoch + 1, 0

    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_epoch_begin", interrupted)
        assert run_train(run.path, *CONSTANT, "epochs=3") == 130
    assert f"going on with {run.path} after epoch 1 of 3" in capsys.readouterr().out
    assert not run.result_file.exists()  # no program takes the model of one epoch for that of three
    assert not run.final_file.exists()
    assert run_train(run.path, *CONSTANT, "epochs=1") == 2
    expected = f"error: {run.path} is trained for 2 epochs already. Received: epochs=1\n"
    assert capsys.readouterr().err == expected
    assert run_train(run.path, *CONSTANT, "epochs=3") == 0
    assert_same_training(run, whole)


def test_more_epochs_of_a_schedule_that_depends_on_them(undisturbed, tmp_path, run_train, capsys):
    """A line says so, and what it offers instead begins with the trained weights."""
    before = undisturbed.final_file.stat().st_mtime_ns
    assert run_train(undisturbed.path, *DROPOUT, "epochs=5") == 2
    (line,) = capsys.readouterr().err.splitlines()
    offer = f"model.weights={undisturbed.path}"
    assert line == (
        f"error: {undisturbed.path} is a training of 3 epochs, not of 5, and the cosine schedule of its "
        f"learning rate depends on their number; choose another --run-dir, and begin there with its "
        f"weights: --set {offer}"
    )
    assert undisturbed.final_file.stat().st_mtime_ns == before
    assert run_train(tmp_path / "other", *DROPOUT, "epochs=5", offer, "optimizer.learning_rate=1e-9") == 0
    runs = (undisturbed, RunDirectory(tmp_path / "other"))
    stem = [run.load_model("best").get_layer("stem").kernel for run in runs]
    np.testing.assert_allclose(*stem, rtol=0, atol=1e-6)  # a rate of 1e-9 leaves them where they are


# In a process of its own

SIGNAL = """
def send(self, batch, logs=None):
    if self._epoch == 2 and batch == 0:
        os.kill(os.getpid(), signal.{})

StopOnDivergence.on_train_batch_end = send
"""


@pytest.mark.slow
def test_going_on_after_sigkill(undisturbed, tmp_path, run_train):
    process = tiny.start(SIGNAL.format("SIGKILL"), tmp_path / "run", *DROPOUT)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert run_train(tmp_path / "run", *DROPOUT) == 0
    assert_same_training(RunDirectory(tmp_path / "run"), undisturbed)


def test_ctrl_c_ends_with_a_line(tmp_path):
    """Which is the command that goes on, as a shell takes it."""
    process = tiny.start(SIGNAL.format("SIGINT"), tmp_path / "a run")
    assert process.returncode == 130
    start = (
        f"interrupted. To go on: python -m recipes.train digits-mobilenetv2-sb --run-dir '{tmp_path}/a run' "
    )
    assert process.stderr.splitlines()[-1].startswith(start)
    assert "Traceback" not in process.stderr
    assert RunDirectory(tmp_path / "a run").latest_checkpoint()[1] == 1
