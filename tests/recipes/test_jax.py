"""Tests that the programs run on Keras's JAX backend, without TensorFlow."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
from test_distribution import assert_nearly_same
from test_going_on import DROPOUT, assert_same_training
from test_tune_training import tune_program

from recipes.data import load
from recipes.run_directory import RunDirectory
from recipes.tasks import TASKS

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]

# Python looks for modules in PathFinder's way; this one does not find TensorFlow.
WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "tensorflow" else super().find_spec(name, path, target)
sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""
CUT_OFF = """
from recipes.training.monitoring import StopOnDivergence
begin = StopOnDivergence.on_epoch_begin
def killed(self, epoch, logs=None):
    begin(self, epoch, logs)
    if epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
StopOnDivergence.on_epoch_begin = killed
"""


@pytest.fixture(scope="module", autouse=True)
def backend():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        # XLA's optimizations take longer than what they would speed up.
        flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        patch.setenv("XLA_FLAGS", flags)
        yield


@pytest.fixture(scope="module")
def finished(backend, tmp_path_factory, tiny_network):
    """A training that ran to its end, and what it printed."""
    path = tmp_path_factory.mktemp("jax") / "run"
    process = tiny.start("", path, *DROPOUT, before=WITHOUT_TENSORFLOW)
    assert process.returncode == 0, process.stderr
    return RunDirectory(path), process


def run(*programs):
    """Runs programs, each given as its name and its arguments, without TensorFlow, in one process."""
    code = f"""{WITHOUT_TENSORFLOW}
import importlib
from recipes.command import exit_code
for name, *arguments in {programs!r}:
    code = exit_code(lambda: importlib.import_module("recipes." + name).main(arguments))
    if code:
        sys.exit(code)
"""
    return subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True, text=True)


def test_training(finished):
    run, process = finished
    assert f"test accuracy {run.result['test_accuracy']:.4f}" in process.stdout
    assert "warning" not in process.stderr.lower()
    assert set(run.result["versions"]) == {"python", "jax", "keras", "sb_keras"}
    expected = {
        "recipe.json",
        "log.csv",
        "classes.json",
        "pictures.json",
        "result.json",
        "best.keras",
        "final.keras",
        "curves.png",
        "checkpoints",
    }
    assert {path.name for path in run.path.iterdir()} == expected  # TensorBoard's files are TensorFlow's
    assert np.all(np.isfinite([row["loss"] for row in run.log]))


def test_the_network_runs_on_tensorflow(finished):
    """The same accuracy on the same test images, within one of them: a tie may be broken otherwise."""
    run, _ = finished
    test = load(run.recipe.data).test
    accuracy = TASKS["classification"].evaluate(run.load_model(), test, run.recipe)["accuracy"]
    assert accuracy == pytest.approx(run.result["test_accuracy"], abs=1.5 / len(test))


@pytest.mark.slow
def test_going_on(finished, tmp_path):
    """Killed in its second epoch, it ends with the weights of the undisturbed training, bit for bit."""
    process = tiny.start(CUT_OFF, tmp_path / "run", *DROPOUT, before=WITHOUT_TENSORFLOW)
    assert process.returncode == -9, process.stderr
    process = tiny.start("", tmp_path / "run", *DROPOUT, before=WITHOUT_TENSORFLOW)
    assert "after epoch 1 of" in process.stdout, process.stderr
    assert_same_training(RunDirectory(tmp_path / "run"), finished[0])


@pytest.mark.slow
def test_programs(finished, tmp_path):
    run_dir = str(finished[0].path)
    sheet, plot = str(tmp_path / "sheet.png"), str(tmp_path / "plot.png")
    programs = (("evaluate", run_dir), ("inspect", run_dir), ("report", run_dir, "--plot", plot))
    output = run(*programs, ("list",), ("show", "--out", sheet))
    assert output.returncode == 0, output.stderr
    assert f"test accuracy {finished[0].result['test_accuracy']:.4f}" in output.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"sheet.png", "plot.png"}


@pytest.mark.slow
def test_two_devices(finished, tmp_path, monkeypatch):
    """A training on two devices is that on one, but for the rounding of sums of halves."""
    flags = os.environ["XLA_FLAGS"]
    monkeypatch.setenv("XLA_FLAGS", f"{flags} --xla_force_host_platform_device_count=2")
    options, code = (
        ("--strategy", "mirrored"),
        "import keras\nassert len(keras.distribution.list_devices()) == 2",
    )
    process = tiny.start(code, tmp_path / "run", *DROPOUT, before=WITHOUT_TENSORFLOW, options=options)
    assert process.returncode == 0, process.stderr
    assert_nearly_same(RunDirectory(tmp_path / "run"), finished[0])


@pytest.mark.slow
def test_a_search(backend, tmp_path):
    """keras-tuner without TensorFlow."""
    arguments = tiny.arguments(
        tmp_path / "s", "epochs=1", options=("--choice", "optimizer.learning_rate=0.1,0.05")
    )
    code = f"{WITHOUT_TENSORFLOW}\n{tune_program(arguments)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "best: trial " in done.stdout


NEEDS = (
    "error: the pictures of {} are read by TensorFlow, also for Keras on jax, and it is not installed; "
    "without it data.name must be one of digits, cifar10"
)
REFUSED = {
    "train voc-ssdlite-mobilenetv2-sb --run-dir": NEEDS.format("voc"),
    "train --strategy tpu --run-dir": "error: --strategy tpu needs Keras's TensorFlow backend. Received: jax",
    "show voc-ssdlite-mobilenetv2-sb --out": NEEDS.format("voc"),
    "show imagenet-mobilenetv2-sb --out": NEEDS.format("imagenet2012"),
}


@pytest.fixture(scope="module")
def refusals(backend, tmp_path_factory):
    """What each program answers, all in one process, and the folder that they were to write into."""
    folder = tmp_path_factory.mktemp("refused")
    commands = [[*command.split(), str(folder / f"{number}.png")] for number, command in enumerate(REFUSED)]
    code = f"""{WITHOUT_TENSORFLOW}
import importlib
from recipes.command import exit_code
for name, *arguments in {commands!r}:
    print(exit_code(lambda: importlib.import_module("recipes." + name).main(arguments)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line == "2" or line.startswith("error: ")]
    assert len(lines) == 2 * len(REFUSED), done.stderr
    return dict(zip(REFUSED, zip(lines[::2], lines[1::2], strict=True), strict=True)), folder


@pytest.mark.parametrize("command", REFUSED)
def test_what_needs_tensorflow(command, refusals):
    answers, folder = refusals
    assert answers[command] == (REFUSED[command], "2")
    assert not list(folder.iterdir())
