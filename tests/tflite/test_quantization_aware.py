"""Quantization-aware training, beside Keras and NumPy."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from compressed import FROZEN, kernels

import sb_keras
from recipes.compression import Compression
from recipes.errors import UserError
from tflite.delegation import find_delegation
from tflite.interpreter import predict

if not importlib.util.find_spec("tensorflow_model_optimization"):  # not importorskip: see tflite/tfmot.py
    pytest.skip("tensorflow-model-optimization is not installed", allow_module_level=True)

from tflite.compression import quantization_aware
from tflite.fake_quantization import KernelQuantizer, emulate_integers

pytestmark = pytest.mark.long


def opened(content):
    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=False)
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize("kind", ["static", "sb", "se"])
def test_integers_give_the_answers_of_the_floats(kind, compressible, colors):
    model = compressible(kind)
    interpreter = opened(quantization_aware(model, colors, Compression(epochs=2)))
    expected = np.array(model(colors))
    # 2⁻⁹ in each weight and activation of some ten operators, which add up at random.
    np.testing.assert_allclose(predict(interpreter, colors), expected, rtol=0, atol=0.05)
    assert np.std(expected, axis=0).max() > 0.1  # what constant answers would miss
    types = {tensor["dtype"] for tensor in interpreter.get_tensor_details() if tensor["name"]}
    assert types == {np.int8, np.int32}
    (left,) = find_delegation(interpreter).left_out
    assert left.name == "SOFTMAX"  # XNNPACK has none in integers
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["classes"]}
    }


def test_kernels_in_the_file_have_a_scale_a_channel(compressible, colors):
    model = compressible()
    interpreter = opened(quantization_aware(model, colors, FROZEN))
    found = {
        tuple(tensor["shape"]): tensor
        for tensor in interpreter.get_tensor_details()
        if len(tensor["quantization_parameters"]["scales"]) > 1 and tensor["dtype"] == np.int8
    }
    folded = kernels(sb_keras.fold(model))
    # TFLite has (filters, height, width, channels), and (1, height, width, filters) for depthwise ones.
    for name, transposed in (("stem", (3, 0, 1, 2)), ("depthwise", (3, 0, 1, 2)), ("classes", (1, 0))):
        kernel = folded[name].transpose(transposed)
        axis = 3 if name == "depthwise" else 0
        others = tuple(each for each in range(kernel.ndim) if each != axis)
        scales = np.abs(kernel).max(axis=others) / 127
        tensor = found[kernel.shape]
        np.testing.assert_allclose(tensor["quantization_parameters"]["scales"], scales, rtol=1e-5)
        shape = [-1 if each == axis else 1 for each in range(kernel.ndim)]
        expected = np.round(kernel / scales.reshape(shape))
        # A value in the middle between two integers may go either way.
        assert np.abs(interpreter.get_tensor(tensor["index"]) - expected).max() <= 1
        assert np.mean(interpreter.get_tensor(tensor["index"]) == expected) > 0.98


def test_ranges_start_where_the_activations_are(compressible, colors):
    model = compressible()
    batches = tf.data.Dataset.from_tensor_slices(colors).batch(16)
    emulating = emulate_integers(sb_keras.fold(model), batches)
    added = next(layer for layer in model.layers if isinstance(layer, keras.layers.Add))
    outputs = np.array(keras.Model(model.input, added.output)(colors)).reshape(4, -1)
    ranges = emulating.get_layer(f"quant_{added.name}")._output_quantizer_vars
    np.testing.assert_allclose(ranges["max_var"], outputs.max(1).mean(), rtol=1e-4)
    np.testing.assert_allclose(ranges["min_var"], min(outputs.min(1).mean(), 0), rtol=1e-4)


def test_input_range_stays(compressible, colors):
    model = compressible("static")
    content = quantization_aware(model, colors, Compression(epochs=2), input_range=(-3.0, 252.0))
    (source,) = opened(content).get_input_details()
    assert source["quantization"] == (1.0, -125)


@pytest.mark.parametrize("attribute", ["kernel", "depthwise_kernel"])
def test_rounding_of_a_kernel(attribute, rng):
    kernel = rng.normal(size=(3, 3, 4, 1 if attribute == "depthwise_kernel" else 6)).astype("float32")
    kernel[:, :, 0] = 0
    axes = (0, 1) if attribute == "depthwise_kernel" else (0, 1, 2)
    scales = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True) / 127, 1e-12)
    quantizer = KernelQuantizer(attribute)
    rounded = quantizer(tf.constant(kernel), training=True, weights={})
    np.testing.assert_allclose(rounded, np.round(kernel / scales) * scales, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(quantizer(tf.constant(kernel), training=False, weights={}), kernel)


def test_the_older_fold_with_tanh(rng, colors):
    """λ behind a tanh: the file's answers depend on the images as the network's do."""
    x = inputs = keras.Input((16, 16, 3))
    branch = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    branch = keras.layers.Conv2D(4, 1, activation="tanh")(branch)
    branch = keras.layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer="ones")(branch)
    y = keras.layers.Add()([keras.layers.Conv2D(4, 3, padding="same")(x), branch])
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(y))
    actual = predict(opened(quantization_aware(model, colors, FROZEN)), colors)
    expected = np.array(model(colors))
    spread = np.ptp(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.05 * spread)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_swish_and_upsampling(interpolation, colors):
    """The layers of other networks than ours; Keras's answers are the expected ones."""
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="swish")(x)
    x = keras.layers.UpSampling2D(2, interpolation=interpolation)(keras.layers.Conv2D(8, 1)(x))
    x = keras.layers.Activation("silu")(x)
    outputs = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    interpreter = opened(quantization_aware(model, colors, FROZEN))
    expected = np.array(model(colors))
    actual = predict(interpreter, colors)
    # As above, 2⁻⁹ in each of some ten operators.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.05 * np.ptp(expected))
    types = {tensor["dtype"] for tensor in interpreter.get_tensor_details() if tensor["name"]}
    assert np.float32 not in types


def test_outputs_that_are_no_probabilities(colors):
    inputs = keras.Input((16, 16, 3), name="picture")
    x = keras.layers.Conv2D(4, 3)(inputs)
    heads = [
        keras.layers.Conv2D(2, 1, name="boxes")(x),
        keras.layers.Conv2D(3, 1, activation="sigmoid", name="scores")(x),
    ]
    model = keras.Model(inputs, heads)
    content = quantization_aware(model, colors, Compression(epochs=1), output_names=["b", "s"])
    interpreter = opened(content)
    runner = interpreter.get_signature_runner()
    (source,) = interpreter.get_input_details()
    scale, zero_point = source["quantization"]
    integers = np.clip(np.round(colors[:1] / scale + zero_point), -128, 127).astype("int8")
    outputs, details = runner(picture=integers), runner.get_output_details()
    for name, expected in zip("bs", model(colors[:1]), strict=True):
        scale, zero_point = details[name]["quantization"]
        actual = scale * (outputs[name].astype("float32") - zero_point)
        np.testing.assert_allclose(actual, expected, atol=0.03 * np.ptp(expected))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.LayerNormalization(name="odd"), "'odd' cannot be rounded .*LayerNormalization"),
        (keras.layers.Conv2D(2, 1, activation="gelu", name="odd"), "'odd_gelu' .*Activation 'gelu'"),
        (keras.layers.Activation("hard_swish", name="odd"), "'odd' .*Unknown activation function"),
    ],
)
def test_layers_that_cannot_be_rounded(layer, message):
    image = keras.Input((32, 32, 4), name="image")
    with pytest.raises(UserError, match=message):
        quantization_aware(keras.Model(image, layer(image)), np.zeros((1, 32, 32, 4), "float32"))
