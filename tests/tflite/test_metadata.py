import dataclasses
import io
import json
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from recipes.errors import UserError
from tflite.convert import convert
from tflite.metadata import Metadata, add_metadata, read_metadata

FULL = Metadata(
    name="cifar10-mobilenetv2-sb",
    description="Tells a cat from a dog and an écureuil",
    version="1.2",
    author="Zoë",
    license="Apache-2.0",
    labels=("cat", "dog", "écureuil"),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    recipe=json.dumps({"name": "cifar10-mobilenetv2-sb"}),
)
PLAIN = Metadata(name="pixels", mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))


@pytest.fixture(scope="module")
def content():
    inputs = keras.Input((4, 4, 3), name="picture")
    dense = keras.layers.Dense(3, activation="softmax", name="scores")
    return convert(keras.Model(inputs, dense(keras.layers.Flatten()(inputs))))


@pytest.fixture
def file(tmp_path):
    """A function that writes a file and returns its path."""

    def write(content):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("metadata", [FULL, Metadata(name="little")])
def test_round_trip(content, file, metadata):
    assert read_metadata(file(add_metadata(content, metadata))) == metadata


def test_normalization_is_kept_to_seven_digits(content, file):
    read = read_metadata(file(add_metadata(content, PLAIN)))
    np.testing.assert_allclose(np.array([read.mean, read.std]), np.array([PLAIN.mean, PLAIN.std]), rtol=1e-7)


def test_same_network_same_bytes(content):
    assert add_metadata(content, FULL) == add_metadata(content, FULL)


def test_the_network_is_unchanged(content):
    def parts(content):
        model = schema.ModelT.InitFromPackedBuf(content)
        (graph,) = model.subgraphs
        weights = [np.asarray(buffer.data).tolist() for buffer in model.buffers]
        tensors = [(tensor.name, tensor.shape.tolist(), tensor.buffer) for tensor in graph.tensors]
        operators = [
            (each.opcodeIndex, each.inputs.tolist(), each.outputs.tolist()) for each in graph.operators
        ]
        return weights, (tensors, operators)

    weights, graph = parts(content)
    new_weights, new_graph = parts(add_metadata(content, FULL))
    assert new_graph == graph
    assert new_weights[:-1] == weights  # the last is the metadata

    x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype("float32")
    before, after = (
        Interpreter(model_content=each).get_signature_runner("serving_default")(picture=x)["scores"]
        for each in (content, add_metadata(content, FULL))
    )
    np.testing.assert_array_equal(after, before)


def test_files_are_in_the_zip_at_the_end(content):
    with zipfile.ZipFile(io.BytesIO(add_metadata(content, FULL))) as archive:
        assert archive.read("labels.txt").decode() == "cat\ndog\nécureuil\n"
        assert archive.read("recipe.json").decode() == FULL.recipe
        # MediaPipe reads them where they are, without unpacking.
        assert {each.compress_type for each in archive.infolist()} == {zipfile.ZIP_STORED}


def test_several_outputs(file):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(1, 1)(inputs))
    model = keras.Model(inputs, [x, keras.layers.Dense(3)(x)])
    assert read_metadata(file(add_metadata(convert(model), FULL))) == FULL


@pytest.mark.parametrize("label", ["", "cat\ndog", "cat\r", "cat\u2028"])
def test_a_label_is_one_line(content, label):
    with pytest.raises(UserError, match=r"^a class name must be one line of text\. Received: "):
        add_metadata(content, dataclasses.replace(FULL, labels=("cat", "dog", label)))


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match=r"^cannot read .*nothing\.tflite: No such file or directory$"):
        read_metadata(tmp_path / "nothing.tflite")


def test_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"^cannot read .*: Is a directory$"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04" + bytes(100)])
def test_another_kind_of_file(file, content):
    with pytest.raises(UserError, match=r"model\.tflite is not a \.tflite file$"):
        read_metadata(file(content))


def test_a_model_without_metadata(content, file):
    assert read_metadata(file(content)) is None


@pytest.mark.parametrize("metadata", [FULL, PLAIN])
def test_a_truncated_file(content, file, metadata):
    whole = add_metadata(content, metadata)
    for length in {*range(8, len(whole), 97), len(whole) - 1}:
        with pytest.raises(UserError, match=r"model\.tflite is damaged or incomplete$"):
            read_metadata(file(whole[:length]))


def test_damaged_bytes_end_in_a_clear_error_or_in_none(content, file, rng):
    whole = add_metadata(content, FULL)
    errors = 0
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[rng.integers(8, len(whole))] ^= rng.integers(1, 256)
        try:
            read_metadata(file(damaged))
        except UserError:
            errors += 1
    assert errors > 50
