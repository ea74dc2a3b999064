"""Tests that one process at a time trains into a run directory."""

import subprocess
import sys

import pytest
import tiny

from recipes.errors import UserError
from recipes.registry import RECIPES
from recipes.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("tiny_network")
HOLD = """
import sys
from recipes.run_directory import RunDirectory
with RunDirectory(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_training_is_refused(run_train, tmp_path, capsys):
    """As long as another process trains into the directory; killed, it blocks nobody."""
    run = RunDirectory(tmp_path / "run")
    run.claim(RECIPES["digits-mobilenetv2-sb"].override(tiny.SETTINGS))
    before = sorted(run.path.rglob("*"))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, run.path], cwd=tiny.ROOT, stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdout.readline() == "locked\n"
        assert run_train(run.path) == 2
        assert capsys.readouterr().err == (
            f"error: another process is training into {run.path}; wait for it, or choose another --run-dir\n"
        )
        assert sorted(run.path.rglob("*")) == before
        other.kill()
    assert run_train(run.path) == 0
    assert run.result["epochs"] == 2


def test_a_training_that_another_one_overtook_is_refused(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.claim(RECIPES["digits-mobilenetv2-sb"])
    run.check_untrained()
    (run.path / "checkpoints" / "epoch-0001.keras").write_bytes(b"of the other process")
    with pytest.raises(UserError, match=r"another process has trained into .* meanwhile"):
        run.check_untrained()
