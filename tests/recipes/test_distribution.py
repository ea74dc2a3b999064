"""Tests that a training on several devices, or by several processes, is that of one device."""

import json
import re
import shutil
import signal
import time

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tiny
from workers import TWO_DEVICES, start_workers

from recipes.errors import UserError
from recipes.run_directory import RunDirectory
from recipes.tasks import TASKS
from recipes.training import distribution

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]

# Without it every device normalizes its half by the half's own statistics.
SYNCHRONIZED = "synchronized_batch_norm=true"


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Settings for forty pictures of noise in four classes.

    The digits have backgrounds of one color; the variance of what hardly varies is rounding where it is
    E[x²] − E[x]², as in Keras's synchronized normalization.
    """
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for number in range(40):
        path = folder / f"class-{number % 4}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype("uint8")).save(path)
    return (SYNCHRONIZED, "data.name=image_folder", f"data.directory={folder}")


@pytest.fixture(scope="module")
def one_device(noise, tmp_path_factory, tiny_network, run_train):
    """The run on one device that the others are compared with."""
    run = RunDirectory(tmp_path_factory.mktemp("one_device") / "run")
    assert run_train(run.path, *noise) == 0
    return run


def assert_nearly_same(run, other, tolerance=5e-3):
    """Losses, and weights in proportion to how far the training has moved them.

    Sums of halves are rounded otherwise than sums of all; with E[x²] − E[x]² this comes to 1e-3 of the
    movement. Without synchronization, with other images or with sums in place of means it is above 0.1.
    """
    for which in ("loss", "val_loss"):
        ours, theirs = ([row[which] for row in r.log] for r in (run, other))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance / 10, err_msg=which)
    keras.utils.set_random_seed(other.recipe.seed)
    start = (
        TASKS["classification"].compiled_model(other.recipe, len(other.result["classes"])).trainable_weights
    )
    ours, theirs, start = (
        np.concatenate([np.ravel(weight.numpy()) for weight in weights])
        for weights in (*(r.load_model().trainable_weights for r in (run, other)), start)
    )
    assert np.linalg.norm(ours - theirs) < tolerance * np.linalg.norm(theirs - start)


def mirrored(path, *settings, recipe="digits-mobilenetv2-sb"):
    process = tiny.start(TWO_DEVICES, path, *settings, options=("--strategy", "mirrored"), recipe=recipe)
    assert process.returncode == 0, process.stderr
    return RunDirectory(path)


def test_two_devices(noise, one_device, tmp_path):
    assert_nearly_same(mirrored(tmp_path / "two", *noise), one_device)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "dyconv"])
def test_two_devices_and_other_networks(kind, noise, tmp_path, run_train):
    recipe = f"digits-mobilenetv2-{kind}"
    assert run_train(tmp_path / "one", *noise, recipe=recipe) == 0
    two = mirrored(tmp_path / "two", *noise, recipe=recipe)
    assert_nearly_same(two, RunDirectory(tmp_path / "one"))


@pytest.mark.slow
def test_two_devices_without_synchronization(noise, tmp_path, run_train):
    """The comparison sees a difference where there is one."""
    settings = noise[1:]
    assert run_train(tmp_path / "one", *settings) == 0
    two = mirrored(tmp_path / "two", *settings)
    with pytest.raises(AssertionError):
        assert_nearly_same(two, RunDirectory(tmp_path / "one"))


@pytest.mark.slow
def test_two_devices_and_steps_per_execution(noise, one_device, tmp_path):
    assert_nearly_same(mirrored(tmp_path / "two", *noise, "steps_per_execution=2"), one_device)


@pytest.mark.slow
def test_two_devices_and_mixed_precision(noise, tmp_path, run_train):
    settings = (*noise, "precision=mixed_bfloat16")
    assert run_train(tmp_path / "one", *settings) == 0
    two = mirrored(tmp_path / "two", *settings)
    # A bfloat16 has eight bits: what is rounded otherwise differs in the third digit, and gradients, sums of
    # what nearly cancels, in the first. The losses remain to be compared.
    ours, theirs = ([row["loss"] for row in r.log] for r in (two, RunDirectory(tmp_path / "one")))
    np.testing.assert_allclose(ours, theirs, rtol=0.01)
    assert {weight.dtype for weight in two.load_model().trainable_variables} == {"float32"}


@pytest.mark.slow
def test_steps_per_execution_change_nothing(tmp_path, run_train):
    """On one device, bit for bit."""
    runs = [RunDirectory(tmp_path / str(steps)) for steps in (1, 2)]
    for run, steps in zip(runs, (1, 2), strict=True):
        assert run_train(run.path, f"steps_per_execution={steps}", "steps_per_epoch=4") == 0
    for ours, theirs in zip(*(run.load_model().weights for run in runs), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


SAVE_WEIGHTS = """
import keras
import numpy as np
class SaveWeights(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        np.savez({path!r} + f"-{{index}}.npz", *[weight.numpy() for weight in self.model.weights])
from recipes.training import loop
callbacks = loop._callbacks
loop._callbacks = lambda *args: [*callbacks(*args), SaveWeights()]
"""


def wait(workers):
    outputs = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers), outputs
    return outputs


def test_two_workers(noise, one_device, tmp_path):
    """Each process on its own port of this machine; the batches are those of one process, half for each."""
    code = SAVE_WEIGHTS.format(path=str(tmp_path / "weights"))
    outputs = wait(start_workers(tmp_path / "two", *noise, code=code))
    assert_nearly_same(RunDirectory(tmp_path / "two"), one_device)
    first, second = (np.load(tmp_path / f"weights-{index}.npz") for index in (0, 1))
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name])
    assert "test accuracy" in outputs[0][0]
    assert outputs[1][0] == ""  # only the chief speaks
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in one_device.path.iterdir()}


@pytest.mark.slow
def test_two_workers_and_class_weights(noise, tmp_path, run_train):
    """Of a folder where one class has a third of the others' pictures."""
    folder = tmp_path / "unequal"
    shutil.copytree(noise[-1].partition("=")[2], folder)
    for path in sorted((folder / "class-0").iterdir())[3:]:
        path.unlink()
    settings = (*noise[:-1], f"data.directory={folder}", "class_weights=balanced")
    assert run_train(tmp_path / "one", *settings) == 0
    wait(start_workers(tmp_path / "two", *settings))
    assert_nearly_same(RunDirectory(tmp_path / "two"), RunDirectory(tmp_path / "one"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "sb"])
def test_two_workers_on_cifar10(kind, cifar10_or_none, tmp_path, run_train):
    """As above, for the recipe of real images at a tenth of its learning rate.

    At its own rate six steps of the whole network multiply rounding beyond any bound: in one process, noise
    of 1e-6 on the images changes the weights by as much as the training has moved them.
    """
    if cifar10_or_none is None:
        pytest.skip("TFDS_DATA_DIR has no cifar10")
    recipe = f"cifar10-mobilenetv2-{kind}"
    settings = (SYNCHRONIZED, "batch_size=128", "steps_per_epoch=6", "optimizer.learning_rate=0.01")
    assert run_train(tmp_path / "one", *settings, recipe=recipe) == 0
    code = SAVE_WEIGHTS.format(path=str(tmp_path / "weights"))
    wait(start_workers(tmp_path / "two", *settings, code=code, recipe=recipe))
    assert_nearly_same(RunDirectory(tmp_path / "two"), RunDirectory(tmp_path / "one"))
    first, second = (np.load(tmp_path / f"weights-{index}.npz") for index in (0, 1))
    for name in first.files:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.slow
def test_two_workers_rehearse(noise, tmp_path):
    outputs = wait(start_workers(tmp_path / "none", *noise, options=("--dry-run",)))
    assert all("Nothing was written" in output for output, _ in outputs)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_two_workers_and_steps_per_execution(noise, one_device, tmp_path):
    wait(start_workers(tmp_path / "two", *noise, "steps_per_execution=2"))
    assert_nearly_same(RunDirectory(tmp_path / "two"), one_device)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed(victim, noise, tmp_path):
    """The other stops within a minute and says why; both started again end as the undisturbed run does."""
    settings = (*noise, "epochs=5")
    wait(start_workers(tmp_path / "undisturbed", *settings))
    workers = start_workers(tmp_path / "run", *settings)
    checkpoint = tmp_path / "run" / "checkpoints" / "epoch-0002.keras"
    while not checkpoint.exists():
        assert all(worker.poll() is None for worker in workers), [w.communicate() for w in workers]
        time.sleep(0.1)
    workers[victim].kill()
    _, error = workers[1 - victim].communicate(timeout=60)
    assert workers[1 - victim].returncode == 1
    assert re.search(r"^error: another worker is gone .* go on from the last checkpoint$", error, re.M)
    workers[victim].communicate()
    outputs = wait(start_workers(tmp_path / "run", *settings))
    assert re.search(r"going on with .* after epoch [234] of 5", outputs[0][0])
    assert_nearly_same(RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "undisturbed"))


@pytest.mark.parametrize(
    "config",
    [
        None,
        "not json",
        json.dumps({"cluster": {}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}),
        json.dumps({"cluster": {"worker": ["nowhere"]}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}),
    ],
)
def test_wrong_tf_config(config, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    expected = re.escape(f"Received: {config or 'nothing'}")
    with pytest.raises(UserError, match=f"^TF_CONFIG must be .*{expected}$"):
        distribution.strategy_of("multi-worker", 32)


def test_a_worker_that_waits_for_the_others(tmp_path):
    """It says whom it waits for, and Ctrl-C ends it: TensorFlow would not let Python's own handlers run."""
    worker, other = start_workers(tmp_path / "run")
    other.kill()
    other.communicate()
    assert any(line.startswith("waiting for 127.0.0.1:") for line in worker.stderr)
    time.sleep(1)  # until it does
    worker.send_signal(signal.SIGINT)
    worker.communicate()
    assert worker.returncode == -signal.SIGINT


def test_a_batch_that_workers_cannot_share(monkeypatch):
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(UserError, match=r"^batch_size must be a multiple of the 2 workers. Received: 5$"):
        distribution.strategy_of("multi-worker", 5)


def test_without_a_tpu(monkeypatch):
    def connect(tpu):
        raise ValueError("Please provide a TPU Name to connect to.")

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    monkeypatch.setattr(resolver, "connect", connect)
    with pytest.raises(UserError, match=r"no TPU was found \(Please provide"):
        distribution.strategy_of("tpu", 32)
