"""Networks go through Keras's `model.export` to other runtimes, which answer as Keras does."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from sb_keras import Attention, fold
from sb_keras.layers import ChannelShuffle

pytestmark = pytest.mark.long

# The runtimes add in another order than TensorFlow, with a rounding of 6e-8 in each of some ten layers.
TOLERANCE = 1e-4


def saved_model(path):
    loaded = tf.saved_model.load(path)  # which holds the variables
    return lambda x: loaded.serve(x)


def onnx(path):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    (source,) = session.get_inputs()
    return lambda x: session.run(None, {source.name: x})[0]


def openvino(path):
    # On processors with AVX512_BF16 it would compute in bfloat16.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = pytest.importorskip("openvino").compile_model(path, "CPU", settings)
    return lambda x: compiled(x)[0]  # behind it come values that nothing reads


def litert(path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(path)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(x):
        interpreter.resize_tensor_input(source["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return run


# How each is opened, how its file is called, and what writes it beside TensorFlow.
RUNTIMES = {
    "tf_saved_model": (saved_model, "model", ()),
    "onnx": (onnx, "model.onnx", ("onnxruntime", "tf2onnx")),
    "openvino": (openvino, "model.xml", ("openvino",)),
    "litert": (litert, "model.tflite", ("ai_edge_litert",)),
}


@pytest.fixture(params=["static", "se", "sb", "dyconv", "shuffle"])
def model(request, two_blocks, randomize, ten_images):
    if request.param == "shuffle":
        inputs = keras.Input((32, 32, 3))
        x = ChannelShuffle(3)(keras.layers.Conv2D(6, 3, strides=8)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(x)))
    else:
        model = two_blocks(Attention(request.param))
    randomize(model, ten_images)
    return model


@pytest.mark.parametrize("form", [pytest.param("raw", marks=pytest.mark.slow), "folded"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_other_runtimes_answer_as_keras(model, form, runtime, ten_images, tmp_path):
    """The same file takes one image and several."""
    open_file, name, needed = RUNTIMES[runtime]
    for package in needed:
        pytest.importorskip(package, reason=f"pip install -e .[export-test] brings {package}")
    expected = keras.ops.convert_to_numpy(model(ten_images))
    if form == "folded":
        model = fold(model)
        model(ten_images[:1])  # Keras's ONNX export refuses a model that was never called
    path = str(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters' own
        model.export(path, format=runtime, verbose=False)
        run = open_file(path)
    for images, outputs in ((ten_images[:1], expected[:1]), (ten_images, expected)):
        np.testing.assert_allclose(run(images), outputs, rtol=0, atol=TOLERANCE * np.abs(expected).max())
