"""Tests of what `recipes.tune` refuses: in one line, before anything is trained or written."""

import pytest
from searches import BLOCKS, LAMBDA, run_tune

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_network")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--choice", "model.depth=1,2"), "unknown key 'model.depth' in --choice."),
        (("--choice", f"{LAMBDA}=a,b"), LAMBDA),
        (("--choice", LAMBDA), "--choice takes KEY=VALUE,VALUE,… Received: 'model.attention.lambda_init'"),
        (("--choice", f"{LAMBDA}=1", "--choice", f"{LAMBDA}=2"), f"Received: {LAMBDA} several times"),
        (("--algorithm", "hyperband", "--choice", "epochs=1,2"), "hyperband chooses the epochs itself"),
        (("--set", "model.attention.kind=static"), "it has no attention whose values could be searched for"),
        (("--set", "data.name=image_folder"), "image_folder needs --set data.directory"),
        (("--choice", "epochs=1,2,1"), "--choice takes every value of a key once. Received: epochs=1,2,1"),
        (("--choice", f"{BLOCKS}=1,2;2,1"), f"every value of a key once. Received: {BLOCKS}=1,2;2,1"),
        (("--choice", f"{LAMBDA}=0.1,0.10"), f"every value of a key once. Received: {LAMBDA}=0.1,0.10"),
        (("--choice", f"{BLOCKS}=1,2;1,99"), f"{BLOCKS} must be from 1 to 17, which CifarMobileNetV2 has"),
        (("--choice", "seed=1,2"), "--seeds N trains every trial with N of them"),
        (("--choice", "model.attention.experts=2,8"), "model.attention.experts has no effect where"),
        (
            ("--choice", "model.attention.positions=expand,project;project,expand"),
            "every value of a key once. Received: model.attention.positions=expand,project;project,expand",
        ),
        (
            ("--choice", "compression.sparsity=0.3,0.6"),
            "--choice compression.sparsity has no effect on a training. Received: compression.sparsity=0.3,",
        ),
        (("--choice", "name=a,b"), "--choice name has no effect on a training. Received: name=a,b"),
        (("--algorithm", "hyperband", "--set", "epochs=2"), "hyperband needs at least 3 epochs, or no trial"),
        (("--seeds", "2", "--set", f"seed={2**31 - 1}"), "seed must be"),
        (
            ("--front", "madds", "--algorithm", "bayesian"),
            "--front needs --algorithm grid or random",
        ),
        (("--trials", "0"), "--trials must be at least 1. Received: 0"),
        (("--seeds", "0"), "--seeds must be at least 1. Received: 0"),
    ],
)
def test_wrong_input(options, message, trained, tmp_path, capsys):
    assert run_tune(tmp_path / "s", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "s").exists()
    assert not trained
