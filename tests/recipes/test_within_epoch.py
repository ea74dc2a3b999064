"""Tests of checkpoints within an epoch: a training that was cut off anywhere ends as one that was not."""

import signal
import time
import types

import keras
import numpy as np
import pytest
import tiny
from test_distribution import TWO_DEVICES, assert_nearly_same
from test_going_on import assert_same_training
from workers import start_workers

from recipes.errors import Terminated
from recipes.run_directory import RunDirectory
from recipes.training import loop
from recipes.training.monitoring import StopOnDivergence, Validation
from recipes.training.pace import Pace
from recipes.training.within_epoch import Position, Snapshot, Snapshots

# What a training goes on with does not depend on graphs; test_kills.py has them.
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network", "eager_steps")]

STEPS = 4
SETTINGS = (
    *("epochs=2", f"steps_per_epoch={STEPS}", "model.dropout=0.2", "model.attention.dropout=0.2"),
    *("optimizer.ema_momentum=0.9", "optimizer.warmup_epochs=1"),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_network, eager_steps, run_train):
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert run_train(path, *SETTINGS) == 0
    return RunDirectory(path)


def at_step(number, action):
    """A method for `StopOnDivergence`, which comes before the checkpoint, that does something at a step."""

    def on_train_batch_end(self, batch, logs=None):
        if (self._epoch - 1) * STEPS + self._first + batch + 1 == number:
            action()

    return on_train_batch_end


def interrupt():
    raise KeyboardInterrupt


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def terminate():
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("step", [7, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 4, 5))])
def test_going_on_from_a_step(step, undisturbed, tmp_path, run_train, monkeypatch, capsys):
    """Of either epoch, with a checkpoint after every step: bit for bit the undisturbed run."""
    run = RunDirectory(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_train_batch_end", at_step(step, interrupt))
        assert run_train(run.path, *SETTINGS, options=("--checkpoint-minutes", "0")) == 130
    assert run_train(run.path, *SETTINGS) == 0
    epoch, done = divmod(step - 1, STEPS)  # the one in which it was interrupted is lost
    if done:
        assert (
            f"going on with {run.path} after epoch {epoch} of 2, step {done} of {STEPS}"
            in capsys.readouterr().out
        )
    assert_same_training(run, undisturbed)
    assert not run.snapshot_file.exists()


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize(
    ("end", "code", "word"), [(ctrl_c, 130, "interrupted"), (terminate, 75, "terminated")]
)
def test_a_signal_within_an_epoch(end, code, word, undisturbed, tmp_path, run_train, monkeypatch, capsys):
    """No step is lost, not even the one that was going on."""
    run = RunDirectory(tmp_path / "a run")
    with monkeypatch.context() as patch:
        patch.setattr(StopOnDivergence, "on_train_batch_end", at_step(7, end))
        assert run_train(run.path, *SETTINGS) == code
    assert f"{word}. To go on: python -m recipes.train digits-mobilenetv2-sb --run-dir '{run.path}'" in (
        capsys.readouterr().err
    )
    assert run_train(run.path, *SETTINGS) == 0
    assert "after epoch 1 of 2, step 3 of 4" in capsys.readouterr().out
    assert_same_training(run, undisturbed)


def test_sigterm_while_it_is_evaluated(undisturbed, tmp_path, run_train, monkeypatch, capsys):
    """At once, and the last step alone is repeated: `fit` could not go on behind it."""
    run, evaluated = RunDirectory(tmp_path / "run"), []
    original = Validation.on_epoch_end

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            terminate()
            evaluated.append(epoch)
        original(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "on_epoch_end", on_epoch_end)
        assert run_train(run.path, *SETTINGS) == 75
    assert not evaluated
    assert run_train(run.path, *SETTINGS) == 0
    assert "after epoch 1 of 2, step 3 of 4" in capsys.readouterr().out
    assert_same_training(run, undisturbed)


def test_sigterm_before_the_first_step(tmp_path, run_train, monkeypatch):
    """There is nothing to write."""
    run = RunDirectory(tmp_path / "run")
    monkeypatch.setattr(StopOnDivergence, "on_epoch_begin", lambda *_: terminate())
    assert run_train(run.path, *SETTINGS) == 75
    assert not run.snapshot_file.exists()
    assert not run.has_checkpoints


def test_sigterm_while_data_are_loaded(tmp_path, run_train, monkeypatch):
    def load(_):
        terminate()
        raise AssertionError("still loading")

    monkeypatch.setattr(loop, "load", load)
    assert run_train(tmp_path / "run", *SETTINGS) == 75


def test_a_process_that_gets_sigterm(tmp_path):
    """It ends with the code that asks for another try (sysexits.h: EX_TEMPFAIL)."""
    settings = ("epochs=20", "steps_per_epoch=80")
    with tiny.popen("", tmp_path / "run", *settings, options=("--checkpoint-minutes", "0")) as process:
        while not RunDirectory(tmp_path / "run").snapshot_file.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.2)
        process.terminate()
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 75
    assert "Traceback" not in errors


CUT_OFF = """
end = StopOnDivergence.on_train_batch_end

def killed(self, batch, logs=None):
    end(self, batch, logs)
    if self._epoch == 2 and self._first + batch + 1 == 3:
        time.sleep(2)  # until the checkpoint of step 2 is written
        os.kill(os.getpid(), signal.SIGKILL)

StopOnDivergence.on_train_batch_end = killed
"""
OFTEN = ("--checkpoint-minutes", "0")


@pytest.mark.slow
def test_on_jax(tmp_path):
    before = 'import os; os.environ["KERAS_BACKEND"] = "jax"'
    process = tiny.start("", tmp_path / "whole", *SETTINGS, before=before)
    assert process.returncode == 0, process.stderr
    process = tiny.start(f"import time\n{CUT_OFF}", tmp_path / "run", *SETTINGS, before=before, options=OFTEN)
    assert process.returncode == -signal.SIGKILL, process.stderr
    process = tiny.start("", tmp_path / "run", *SETTINGS, before=before)
    assert "after epoch 1 of 2, step 2 of 4" in process.stdout, process.stderr
    assert_same_training(RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "whole"))


@pytest.mark.slow
def test_on_two_devices(tmp_path):
    """On one machine the same sums in the same order: bit for bit."""
    options = ("--strategy", "mirrored")
    process = tiny.start(TWO_DEVICES, tmp_path / "whole", *SETTINGS, options=options)
    assert process.returncode == 0, process.stderr
    code = f"import time\n{TWO_DEVICES}\n{CUT_OFF}"
    process = tiny.start(code, tmp_path / "run", *SETTINGS, options=(*options, *OFTEN))
    assert process.returncode == -signal.SIGKILL, process.stderr
    process = tiny.start(TWO_DEVICES, tmp_path / "run", *SETTINGS, options=options)
    assert "after epoch 1 of 2, step 2 of 4" in process.stdout, process.stderr
    assert_nearly_same(RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "whole"), 1e-4)


@pytest.mark.slow
def test_two_workers(tmp_path):
    """The chief is terminated; the other says that it is alone; both go on from the last epoch."""

    def run(path, code=""):
        workers = start_workers(path, *SETTINGS, code=code)
        outputs = [worker.communicate(timeout=300) for worker in workers]
        return [worker.returncode for worker in workers], outputs

    codes, outputs = run(tmp_path / "whole")
    assert codes == [0, 0], outputs
    cut_off = CUT_OFF.replace("SIGKILL", "SIGTERM").replace("if self", "if index == 0 and self")
    imports = "import os, signal, time\nfrom recipes.training.monitoring import StopOnDivergence\n"
    codes, outputs = run(tmp_path / "run", imports + cut_off)
    assert codes == [75, 1], outputs
    codes, outputs = run(tmp_path / "run")
    assert codes == [0, 0], outputs
    assert "after epoch 1 of 2\n" in outputs[0][0]
    assert_nearly_same(RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "whole"), 1e-4)


def test_which_one_is_used(tmp_path, capsys):
    """That of an epoch that is over is what a kill between its checkpoint and the next epoch leaves."""
    path = tmp_path / "within-epoch.npz"
    assert loop.latest_snapshot(path, 0) is None
    Snapshot(Position(2, 3, 1.0), [np.arange(100)]).write(path)
    positions = [getattr(loop.latest_snapshot(path, epochs), "position", None) for epochs in (0, 2, 3)]
    assert positions == [Position(2, 3), Position(2, 3), None]
    path.write_bytes(path.read_bytes()[:-100])
    assert loop.latest_snapshot(path, 2) is None
    assert capsys.readouterr().err == f"warning: {path} is damaged; going on from the epoch before\n"


def compiled(units):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dropout(0.5)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def test_a_snapshot_holds_all_state(tmp_path):
    """Weights, Adam's moments, the sums of the metrics, the state of dropout's generator."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 8, 4)).astype("float32")
    model = compiled(4)
    model.train_on_batch(x, y)
    Snapshot.of(model, Position(2, 5, 1.5)).write(tmp_path / "file.npz")
    expected = [model.train_on_batch(x, y) for _ in range(3)][-1]
    snapshot = Snapshot.read(tmp_path / "file.npz")
    assert (snapshot.position, snapshot.position.seconds) == (Position(2, 5), 1.5)
    other = compiled(4)
    other.train_on_batch(y, x)
    snapshot.restore(other)
    assert [other.train_on_batch(x, y) for _ in range(3)][-1] == expected
    with pytest.raises(Exception, match="not that of this network"):
        snapshot.restore(compiled(3))


def test_a_failed_write_ends_the_training(tmp_path):
    """Rather than a training of days that nothing is left of."""
    model = compiled(4)
    recipe = type("Recipe", (), {"steps_per_execution": 1})()
    snapshots = Snapshots(tmp_path / "gone" / "file.npz", recipe, 4, minutes=0)
    with pytest.raises(Exception, match="cannot write"):
        model.fit(np.zeros((4, 4)), np.zeros((4, 4)), 1, callbacks=[snapshots], verbose=0)
    with pytest.raises(Terminated):
        Snapshots(tmp_path / "file.npz", recipe, 4, minutes=0).terminate()


@pytest.mark.parametrize("end", ["interrupt", "terminate"])
@pytest.mark.parametrize("times", [1, 2])
def test_the_end_of_a_step_is_waited_for(end, times, tmp_path):
    """Asked twice, Ctrl-C does not wait, for a step that hangs; SIGTERM does: some send several."""
    snapshots = Snapshots(tmp_path / "file.npz", types.SimpleNamespace(steps_per_execution=1), 5, minutes=60)
    done = []

    def begin(batch, logs=None):
        for _ in range(times if batch == 2 else 0):
            getattr(snapshots, end)()

    steps = keras.callbacks.LambdaCallback(
        on_train_batch_begin=begin, on_train_batch_end=lambda batch, logs: done.append(batch)
    )
    data = np.zeros((5, 4), "float32")
    with pytest.raises(KeyboardInterrupt) as error:
        compiled(4).fit(data, data, 1, callbacks=[steps, snapshots], verbose=0)
    assert error.type is (KeyboardInterrupt if end == "interrupt" else Terminated)
    if (end, times) == ("interrupt", 2):
        assert done == [0, 1]
        assert not snapshots.path.exists()
    else:
        assert done == [0, 1, 2]
        assert Snapshot.read(snapshots.path).position == Position(0, 3)


def test_time_left_after_a_part_of_an_epoch(monkeypatch, capsys):
    """25 of 100 steps: the first in 20 s, the others in 0.5 s each; then 6 s of validation."""
    clock = types.SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("recipes.training.pace.time", clock)
    recorder = types.SimpleNamespace(metric="val_accuracy", rows=[{"epoch": 2, "val_accuracy": 0.5}])
    pace = Pace(types.SimpleNamespace(epochs=3, batch_size=10), recorder)
    pace.set_params({"steps": 100})
    pace.on_epoch_begin(1)
    for step in range(25):
        clock.now += 0.5 if step else 20
        pace.on_train_batch_end(step)
    clock.now += 6
    pace.on_epoch_end(1)
    assert "20 images/s; 56 s left; best" in capsys.readouterr().out
