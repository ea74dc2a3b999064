"""Tests of what happens when a run directory cannot be written: one clear line, and the run goes on later."""

import pathlib

import keras
import pytest
import tensorflow as tf
import tiny

from recipes.errors import UserError
from recipes.files import replacing
from recipes.keras_file import load_model
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory
from recipes.training.event_files import LambdaHistograms

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network", "eager_steps")]
STATIC = "digits-mobilenetv2-static"  # whose files are as soon there
FULL = pathlib.Path("/dev/full")  # Linux's device on which every write fails as on a full disk

needs_dev_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


@needs_dev_full
@pytest.mark.parametrize(
    "file",
    ["log.csv", "best.keras", "checkpoints/epoch-0001.keras", "final.keras", "curves.png", "result.json"],
)
def test_full_disk(file, tmp_path, run_train, capsys):
    """The line names the file; the same command then trains to the end."""
    run = RunDirectory(tmp_path / "run")
    temporary = (run.path / file).with_name("tmp-" + pathlib.Path(file).name)
    run.claim(RECIPES[STATIC].override(tiny.SETTINGS))
    temporary.symlink_to(FULL)
    assert run_train(run.path, recipe=STATIC) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert errors == [f"error: cannot write {run.path / file}: No space left on device"]
    assert not temporary.is_symlink()
    assert not (run.path / file).exists()
    assert run_train(run.path, recipe=STATIC) == 0
    assert run.result["epochs"] == 2


def test_full_disk_under_tensorboard(tmp_path, run_train, monkeypatch, capsys):
    """The error is the one that TensorFlow 2.21 raised where a disk was full."""
    message = (
        "events.out.tfevents.1.v2; No space left on device\n\tFailed to flush 11 events [Op:WriteSummary]"
    )
    run, flush = RunDirectory(tmp_path / "run"), LambdaHistograms.on_epoch_end

    def full(self, epoch, logs=None):
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(LambdaHistograms, "on_epoch_end", full)
    assert run_train(run.path) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: cannot write to {run.tensorboard}: No space left on device"
    )
    monkeypatch.setattr(LambdaHistograms, "on_epoch_end", flush)
    assert run_train(run.path) == 0


def test_a_file_that_is_there_stays(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")

    def write_half():
        with replacing(file) as temporary:
            temporary.write_text("half of the n")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"cannot write .*file: No space left"):
        write_half()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_read_only_directory(tmp_path, run_train, monkeypatch, capsys):
    """A superuser can write to any directory, so the system's answer is put in its mouth."""
    monkeypatch.setattr("recipes.run_directory.os.access", lambda path, mode: False)
    assert run_train(tmp_path / "run") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: cannot write to {tmp_path / 'run'}: it is read-only"
    )


def test_a_file_in_the_place_of_the_directory(tmp_path, run_train, capsys):
    (tmp_path / "run").write_text("mine")
    assert run_train(tmp_path / "run") == 2
    assert "is not a directory; choose another --run-dir" in capsys.readouterr().err
    assert (tmp_path / "run").read_text() == "mine"


def test_a_strangers_file_runs_no_code(tmp_path):
    """A Lambda layer holds Python code, which Keras runs only if it is told to."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: print("owned") or x, output_shape=(2,))(inputs))
    model.save(tmp_path / "m.keras")
    with pytest.raises(UserError, match=r"m\.keras cannot be loaded \(.*(unsafe|[Ll]ambda)"):
        load_model(tmp_path / "m.keras")


def test_a_file_of_unknown_layers(tmp_path):
    class Mine(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((2,))
    keras.Model(inputs, Mine()(inputs)).save(tmp_path / "m.keras")
    with pytest.raises(UserError, match=r"m\.keras cannot be loaded \(TypeError: .*class 'Mine'"):
        load_model(tmp_path / "m.keras")
