"""Tests of tflite.model_file: what is written is what was read, only smaller and in its place."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from tflite import model_file
from tflite.convert import convert


@pytest.fixture(scope="module")
def content():
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for _ in range(4):
        x = keras.layers.DepthwiseConv2D(3)(keras.layers.Conv2D(64, 1)(x)) if x.shape[1] > 2 else x
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")
    return convert(keras.Model(inputs, x), "int8", images)


def plain(content):
    """The same model as LiteRT's own tool writes it."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model_file.read(content)))


def answers(content):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    image = np.random.default_rng(1).integers(-128, 128, size=source["shape"]).astype("int8")
    interpreter.set_tensor(source["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


def test_same_model_in_fewer_bytes(content):
    assert plain(model_file.write(model_file.read(content))) == plain(content)
    channels = 3 * (64 + 64)
    assert len(plain(content)) - len(content) > 8 * channels  # at least their zero points
    np.testing.assert_array_equal(answers(content), answers(plain(content)))


def test_data_is_aligned(content):
    model = schema.Model.GetRootAs(content)
    for buffer in map(model.Buffers, range(model.BuffersLength())):
        if buffer.DataLength():
            assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0


def test_data_behind_the_flatbuffer(content):
    """As ai-edge-quantizer writes larger models: buffers name an offset and a size in the file."""
    model = model_file.read(content)
    data = {
        number: bytes(buffer.data) for number, buffer in enumerate(model.buffers) if buffer.data is not None
    }
    for number in data:
        model.buffers[number].data, model.buffers[number].offset = None, 1
        model.buffers[number].size = len(data[number])
    for _ in range(2):  # the offsets do not change the length
        start = -(-len(plain_bytes := model_file.write(model)) // 16) * 16
        tail = bytearray(start - len(plain_bytes))
        for number in data:
            model.buffers[number].offset = len(plain_bytes) + len(tail)
            tail += data[number] + bytes(-len(data[number]) % 16)
    whole = model_file.write(model) + bytes(tail)
    assert len(model_file.write(model)) == len(plain_bytes)
    np.testing.assert_array_equal(answers(whole), answers(content))
    assert model_file.write(model_file.read(whole)) == content
