"""Tests of python -m recipes.inspect."""

import csv

import keras
import numpy as np
import pytest

from recipes import inspect
from recipes.command import exit_code
from recipes.tasks.attention import inspect_attention
from sb_keras.layers import ShiftBalance, SqueezeExcite

pytestmark = pytest.mark.long

CHANNELS = 6


def network(layer, randomize, images):
    """One attention layer; the outputs are the trunk and what the layer makes of it."""
    inputs = keras.Input(images.shape[1:])
    trunk = keras.layers.Conv2D(CHANNELS, 3, use_bias=False)(inputs)
    outputs = layer([trunk, inputs])
    model = keras.Model(inputs, outputs)
    randomize(model, images)
    layer.excitation.excite_bn.gamma.assign(np.linspace(0.2, 6.0, CHANNELS))  # some gates saturate
    both = keras.Model(inputs, [trunk, outputs])
    return model, [np.float64(each) for each in both.predict(images, verbose=0)]


def in_batches(images):
    return (images[:4], images[4:])


def test_shift_and_balance(randomize, ten_images):
    layer = ShiftBalance(name="block1_expand_sb")
    model, (trunk, outputs) = network(layer, randomize, ten_images)
    scale = np.array([0.5, -0.25, 1.0, 2.0, -0.5, 0.1])
    layer.lambda_.assign(scale)
    outputs = np.float64(model.predict(ten_images, verbose=0))
    (row,) = inspect_attention(model, in_batches(ten_images))

    shift = np.mean(outputs - trunk, axis=(1, 2))  # the same at every position
    gates = shift / scale
    assert (row.layer, row.kind, row.channels) == ("block1_expand_sb", "sb", CHANNELS)
    assert row.lambda_mean == pytest.approx(np.mean(np.abs(scale)))
    assert (row.lambda_least, row.lambda_largest) == (-0.5, 2.0)
    # What is added to numbers of up to some ten and subtracted again has lost 1e-6 of ten, over λ = 0.1.
    assert row.gate_mean == pytest.approx(gates.mean(), abs=1e-4)
    assert row.gate_std == pytest.approx(gates.std(axis=0).mean(), abs=1e-4)
    assert 0 < row.saturated == np.mean(np.abs(gates) > 0.95) < 1
    shares = shift.var(axis=0) / (shift.var(axis=0) + trunk.var(axis=(0, 1, 2)))
    assert row.shift_share == pytest.approx(shares.mean(), rel=1e-3)
    assert np.isnan([row.dead, row.always_dead]).all()


def test_squeeze_and_excite(randomize, ten_images):
    layer = SqueezeExcite(name="block1_expand_se")
    model, _ = network(layer, randomize, ten_images)
    layer.excitation.excite_bn.beta.assign([-40.0, 0.0, 0.0, 0.0, 0.0, 40.0])  # always shut, always open
    trunk, outputs = keras.Model(model.inputs, [model.layers[1].output, model.output]).predict(
        ten_images, verbose=0
    )
    (row,) = inspect_attention(model, in_batches(ten_images))

    gates = np.sum(outputs * trunk, axis=(1, 2)) / np.sum(trunk**2, axis=(1, 2))
    assert row.kind == "se"
    assert row.gate_mean == pytest.approx(gates.mean(), abs=1e-5)
    assert row.dead == np.mean(gates < 0.05) > 1 / CHANNELS
    assert row.always_dead == np.mean((gates < 0.05).all(axis=0)) >= 1 / CHANNELS
    assert row.saturated == np.mean((gates < 0.05) | (gates > 0.95))
    assert np.isnan([row.lambda_mean, row.shift_share]).all()


@pytest.mark.usefixtures("tiny_network")
@pytest.mark.parametrize("kind", ["sb", "se-block", pytest.param("se", marks=pytest.mark.slow)])
def test_program(kind, run_train, tmp_path, capsys):
    settings = ("epochs=1", f"model.attention.kind={kind}")
    assert run_train(tmp_path / "run", *settings) == 0
    files = {"csv": tmp_path / "attention.csv", "plot": tmp_path / "attention.png"}
    arguments = [str(tmp_path / "run"), "--images", "20"]
    options = [str(part) for option, path in files.items() for part in (f"--{option}", path)]
    assert exit_code(lambda: inspect.main(arguments + options)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("20 test images, final model of ")
    with files["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (1 if kind == "se-block" else 3)
    assert files["plot"].read_bytes().startswith(b"\x89PNG")
    assert exit_code(lambda: inspect.main(arguments + options)) == 2  # nothing is overwritten


@pytest.mark.usefixtures("tiny_network")
def test_static_network(run_train, tmp_path, capsys):
    assert run_train(tmp_path / "run", "epochs=1", recipe="digits-mobilenetv2-static") == 0
    assert exit_code(lambda: inspect.main([str(tmp_path / "run")])) == 2
    assert "Expected a network with SB or SE. Received one with neither" in capsys.readouterr().err
