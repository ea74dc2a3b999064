"""A network and a training small enough to run many times."""

import pathlib
import subprocess
import sys
import textwrap

from sb_keras.models import mobilenet_v2
from sb_keras.models.stages import Stage

ROOT = pathlib.Path(__file__).parents[2]
# One of the 17 blocks and 4 % of the head: compiling and running the whole network takes a minute.
NETWORK = {
    "CIFAR_STAGES": (Stage(expand_ratio=1, filters=24, repeats=1, strides=2),),
    "HEAD_FILTERS": 48,
}
SETTINGS = ("model.width_multiplier=0.1", "epochs=2", "steps_per_epoch=2", "batch_size=16")


def shrink(set_attribute=setattr):
    """Makes the CIFAR network the tiny one, in this process."""
    for name, value in NETWORK.items():
        set_attribute(mobilenet_v2, name, value)


def arguments(run_dir, *settings, recipe="digits-mobilenetv2-sb", options=()):
    """Those of `python -m recipes.train` for a tiny training."""
    assignments = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return [recipe, "--run-dir", str(run_dir), *options, *assignments]


def popen(code, *args, before="", **kwargs):
    """Starts `recipes.train` with the tiny network, after some other code, in a new process.

    The code `before` runs before anything is imported.
    """
    program = f"""{before}
import os, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background job it is ignored
import tiny
from recipes import train
from recipes.command import exit_code
from recipes.training.monitoring import StopOnDivergence
tiny.shrink()
{textwrap.dedent(code)}
sys.exit(exit_code(lambda: train.main({arguments(*args, **kwargs)!r})))
"""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def start(code, *args, **kwargs):
    """As `popen`, and waits for the end."""
    process = popen(code, *args, **kwargs)
    stdout, stderr = process.communicate(timeout=500)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
