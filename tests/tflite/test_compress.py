"""The command, on a run whose network is so small that fine-tuning takes a second."""

import csv
import functools
import gzip
import importlib.util

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from refusals import refused

import sb_keras
from recipes import data as data_sets
from recipes import registry
from recipes.command import exit_code
from recipes.run_directory import RunDirectory
from sb_keras import Attention
from sb_keras.layers import DynamicConv2D
from tflite.compress import compare, layer_table, main
from tflite.convert import convert
from tflite.interpreter import predict
from tflite.kernels import find_kernels
from tflite.metadata import read_metadata

pytestmark = pytest.mark.long

needs_tfmot = pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow_model_optimization"),
    reason="tensorflow-model-optimization is not installed",
)
QUICK = ("--set", "compression.epochs=1", "--set", "compression.steps_per_epoch=4")


def command(*arguments):
    return exit_code(lambda: main([str(argument) for argument in arguments]))


assert_refused = functools.partial(refused, command)


@needs_tfmot
@pytest.mark.parametrize("method", ["qat", "prune"])
def test_a_recipe_that_warms_up(method, monkeypatch):
    """Fine-tuning has a learning rate of its own; that of photographs and boxes warms up for an epoch."""
    from tflite import fine_tuning

    monkeypatch.setitem(fine_tuning.METHODS, "prune", lambda model, batches, **settings: model)
    monkeypatch.setattr(fine_tuning, "build", lambda *args, **kwargs: b"a file")
    settings = ["epochs=9", "optimizer.warmup_epochs=2"]
    recipe = registry.find("digits-mobilenetv2-sb").override(settings)
    dataset = data_sets.load(recipe.data)
    assert fine_tuning.fine_tuned(method, None, dataset, recipe, "float32") == b"a file"


@needs_tfmot
@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--method", "prune", "--set", "compression.sparsity=0.75"), "float32, pruned to 75% zeros"),
        (("--method", "prune", "--quantize", "int8"), "int8, pruned to 50% zeros"),
        (("--method", "cluster", "--set", "compression.clusters=8"), "float32, 8 different weights a layer"),
        (("--method", "cluster", "--quantize", "float16"), "float16, 16 different weights a layer"),
        (("--method", "qat"), "int8 after quantization-aware training"),
    ],
)
def test_command(run, digits, options, what, tmp_path, capsys):
    out, table, layers = (tmp_path / name for name in ("model.tflite", "files.csv", "layers.csv"))
    assert command(run.path, *options, *QUICK, "--out", out, "--csv", table, "--layers-csv", layers) == 0
    printed = capsys.readouterr().out
    assert what in printed
    assert printed.startswith("fine-tuning, 4 steps: the first takes a minute")  # it says so at once
    metadata = read_metadata(out)
    assert what in metadata.description
    assert metadata.labels == tuple("0123456789")

    content = out.read_bytes()
    images, labels = digits
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    predicted = predict(interpreter, 127.5 * (images + 1)).argmax(-1)
    reference, compressed = csv.DictReader(table.read_text().splitlines())
    assert float(compressed["accuracy"]) == pytest.approx(np.mean(predicted == labels))
    assert int(compressed["gzipped_bytes"]) == pytest.approx(len(gzip.compress(content)), rel=0.02)
    if "qat" in options:  # four steps bring back little of what pruning and clustering take
        assert float(compressed["accuracy"]) > float(reference["accuracy"]) - 0.05
    assert float(reference["same_class"]) == 1.0

    rows = {row["layer"]: row for row in csv.DictReader(layers.read_text().splitlines())}
    digit = rows["digit"]
    assert (digit["kernel"], int(digit["weights"])) == ("10×64", 640)
    if "prune" in options:
        sparsity = 0.75 if "compression.sparsity=0.75" in options else 0.5
        assert int(digit["zeros"]) >= sparsity * 640
    if what.startswith("float32, 8"):
        assert int(digit["distinct_values"]) == 8
    assert int(rows["all"]["weights"]) == sum(
        int(row["weights"]) for name, row in rows.items() if name != "all"
    )


@pytest.fixture
def network(two_blocks, randomize, ten_images):
    def network(kind):
        model = two_blocks(Attention(kind))
        randomize(model, ten_images)
        return model

    return network


def test_kernels_of_a_file(rng):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.DepthwiseConv2D(3, name="conv_1")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(keras.layers.Flatten()(x)))
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            # Of at most seven values, which stay different in half precision.
            layer.set_weights([rng.integers(-3, 4, kernel.shape) / 4, rng.normal(size=bias.shape)])
    for quantize in ("float32", "float16"):
        found = find_kernels(convert(model, quantize), {"conv", "conv_1", "dense"})
        assert [kernel.layer for kernel in found] == ["conv", "conv_1", "dense"]
        assert [kernel.shape for kernel in found] == [(4, 3, 3, 3), (1, 3, 3, 4), (2, 64)]
        for kernel in found:
            expected = model.get_layer(kernel.layer).get_weights()[0]
            assert kernel.weights == expected.size
            assert kernel.zeros == np.sum(expected == 0)
            assert kernel.distinct == len(np.unique(expected))


@pytest.mark.parametrize("kind", ["static", "se-block", "sb"])
def test_every_kernel_of_a_network_is_found(kind, network, ten_images):
    model = network(kind)
    for quantize in ("float32", "dynamic", "int8"):
        rows = layer_table(convert(model, quantize, ten_images), model)
        folded = {layer.name: layer for layer in sb_keras.fold(model).layers if layer.weights}
        assert {row[0]: row[2] for row in rows[:-1]} == {
            name: layer.get_weights()[0].size for name, layer in folded.items()
        }
        assert rows[-1][:3] == ("all", "", sum(row[2] for row in rows[:-1]))


def test_comparison(run, digits):
    """Two files, one of which gets a third of the classes wrong."""
    images, labels = digits
    recipe = run.recipe
    model = run.load_model()
    other = run.load_model()
    dense = other.get_layer("digit")
    kernel, bias = dense.get_weights()
    dense.set_weights([kernel, bias - 100 * (np.arange(10) > 6)])
    files = {
        name: convert(each, normalization=(recipe.data.mean, recipe.data.std))
        for name, each in (("good", model), ("bad", other))
    }
    rows = compare(files, data_sets.load(recipe.data).test, recipe)
    good, bad = (each.predict(images, verbose=0).argmax(-1) for each in (model, other))
    assert [row[0] for row in rows] == ["good", "bad"]
    assert [row[1] for row in rows] == pytest.approx([np.mean(good == labels), np.mean(bad == labels)])
    assert [row[2] for row in rows] == pytest.approx([1.0, np.mean(good == bad)])
    assert [row[3] for row in rows] == [len(content) for content in files.values()]


def test_wrong_arguments(run, tmp_path, capsys):
    out = tmp_path / "model.tflite"
    prune = ("--method", "prune", "--out", out)
    assert_refused(capsys, "is not a run directory", tmp_path / "none", *prune)
    assert_refused(capsys, "no such folder", run.path, "--method", "prune", "--out", tmp_path / "none" / "a")
    assert_refused(capsys, "is a folder", run.path, "--method", "prune", "--out", tmp_path, "--overwrite")
    assert_refused(capsys, "keys of the recipe's compression", run.path, *prune, "--set", "epochs=3")
    assert_refused(
        capsys, "compression.sparsity must be", run.path, *prune, "--set", "compression.sparsity=2"
    )
    assert_refused(
        capsys, "--method prune has no use for it", run.path, *prune, "--set", "compression.clusters=8"
    )
    assert_refused(capsys, "unknown key", run.path, *prune, "--set", "compression.bits=4")
    steps = "compression.steps_per_epoch=1000"
    assert_refused(capsys, "steps_per_epoch must be at most", run.path, *prune, "--set", steps)
    qat = ("--method", "qat", "--quantize", "float16", "--out", out)
    assert_refused(capsys, "--method qat makes int8 files. Received: --quantize float16", run.path, *qat)
    out.write_bytes(b"old")
    assert_refused(capsys, "--overwrite replaces it", run.path, *prune)
    assert_refused(capsys, "exists already", run.path, *prune, "--overwrite", "--csv", out)
    assert out.read_bytes() == b"old"
    with pytest.raises(SystemExit) as stopped:
        command(run.path, "--method", "shrink", "--out", out)
    assert stopped.value.code == 2


@needs_tfmot
def test_dynamic_convolutions_are_refused(run, tmp_path, capsys):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(DynamicConv2D(10, 1, name="mixed")(inputs))
    other = RunDirectory(tmp_path / "run")
    other.claim(run.recipe)
    other.save_model(keras.Model(inputs, x), other.final_file)
    out = tmp_path / "model.tflite"
    message = "'mixed' is a dynamic convolution"
    assert_refused(capsys, message, other.path, "--method", "cluster", "--out", out)
    assert not out.exists()
