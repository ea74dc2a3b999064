import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from recipes.data import to_pixels
from sb_keras import Attention
from tflite import model_file
from tflite.convert import convert
from tflite.delegation import find_delegation
from tflite.interpreter import dequantized, predict, quantized
from tflite.quantize import as_images, without_idle_clamps

pytestmark = pytest.mark.long

# What may be lost, of the largest output. Half precision has 11 bits, so 2^-11 in each of some ten layers;
# eight bits are 2^-9 in each weight and activation of some forty operators, which add up at random.
TOLERANCES = {"float16": 0.005, "dynamic": 0.05, "int8": 0.08}
KINDS = {kind: Attention(kind) for kind in ("static", "se-block", "se", "sb")}
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def opened(content):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return interpreter


@pytest.fixture
def trained(two_blocks, randomize, ten_images):
    def trained(kind):
        model = two_blocks(KINDS[kind])
        randomize(model, ten_images)
        return model

    return trained


@pytest.mark.parametrize("quantization", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_close_to_keras(trained, kind, quantization, ten_images):
    model = trained(kind)
    expected = np.array(model(ten_images))
    interpreter = opened(convert(model, quantization, ten_images))
    error = np.abs(predict(interpreter, ten_images) - expected).max() / np.abs(expected).max()
    assert error < TOLERANCES[quantization]
    assert find_delegation(interpreter).left_out == ()


def test_a_unit_that_is_never_active_behind_what_is_never_zero():
    """XNNPACK refuses a product of scales 256 times the output's; a range is quantized with zero in it."""
    images = np.random.default_rng(0).uniform(6, 6.5, size=(10, 8, 8, 4)).astype("float32")
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    silent = {"kernel_initializer": "ones", "bias_initializer": keras.initializers.Constant(-100.0)}
    x = keras.layers.Conv2D(1, 1, activation="relu", **silent)(x)
    x = keras.layers.Conv2D(3, 1, bias_initializer="ones", activation="sigmoid")(x)
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    interpreter = opened(convert(model, "int8", images))
    assert find_delegation(interpreter).left_out == ()
    # σ(1), by the sigmoid's scale of 1/256 and, times its slope, that of what goes into it
    np.testing.assert_allclose(predict(interpreter, images), 1 / (1 + np.exp(-1)), atol=1 / 256 + 0.2 / 127)


@pytest.mark.parametrize("read_twice", [False, True])
@pytest.mark.parametrize(
    ("activation", "join", "expected"),
    [
        ("relu6", keras.layers.Add, (10, 6)),
        ("relu", keras.layers.Add, (62, 60)),
        ("relu6", keras.layers.Multiply, (60, 6)),
    ],
)
def test_what_is_clamped_has_the_steps_of_its_answer(activation, join, expected, read_twice):
    """T is in [-60, 60]. Of a sum with a shift within 2 it counts from -2 to 6 + 2, of a product above 0."""
    inputs = keras.Input((8, 8, 1))
    trunk = keras.layers.Conv2D(4, 1, use_bias=False, name="trunk")(inputs)
    average = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    gate = keras.layers.Conv2D(4, 1, activation="sigmoid", use_bias=False)(average)
    if join is keras.layers.Add:
        gate = keras.layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(2.0))(gate)
    outputs = keras.layers.Activation(activation)(join()([gate, trunk]))
    model = keras.Model(inputs, keras.layers.Concatenate()([outputs, trunk]) if read_twice else outputs)
    model.get_layer("trunk").set_weights([np.array([60.0, -60.0, 30.0, 1.0]).reshape(1, 1, 1, 4)])
    images = np.random.default_rng(0).uniform(-1, 1, size=(20, 8, 8, 1)).astype("float32")
    interpreter = opened(convert(model, "int8", images))
    (source,) = interpreter.get_input_details()
    images = dequantized(quantized(images, source), source)  # not the input's rounding is asked for
    error = np.abs(predict(interpreter, images) - np.array(model(images)))
    if read_twice:  # what else it says is still there
        assert error[..., 4:].max() < 120 / 255
    elif join is keras.layers.Add:  # half a step of T and of the answer; those of the shift are a fiftieth
        assert error.max() < sum(expected) / 255 / 2 * 1.05
    else:  # half of T's arrives, with half a step of the gate times what of T is not clamped
        assert error.max() < (60 / 2 + 6) / 255 / 2 * 1.05 + 6 / 256


@pytest.mark.parametrize("smallness", [1e-3, 1e-6, 1e-9, 0])
@pytest.mark.parametrize("kind", ["full", "depthwise"])
def test_channels_of_which_the_bias_alone_is_left(kind, smallness):
    """A channel that died or was pruned still says its bias: the next layer has learned with it."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(10, 8, 8, 4)).astype("float32")
    inputs = keras.Input((8, 8, 4))
    make = keras.layers.Conv2D if kind == "full" else keras.layers.DepthwiseConv2D
    layer = make(*((4, 3) if kind == "full" else (3,)))
    model = keras.Model(inputs, keras.layers.Flatten()(layer(inputs)))
    kernel, bias = rng.normal(size=layer.kernel.shape), np.array([1.0, -1.0, 2.0, 0.5])
    (kernel if kind == "full" else kernel[..., 0])[..., :2] *= smallness
    layer.set_weights([kernel, bias])
    expected = np.array(model(images))
    found = predict(opened(convert(model, "int8", images)), images)
    # A step of the output's scale, half a step of every weight and input: three of 255 in all here.
    np.testing.assert_allclose(found, expected, atol=3 * np.ptp([*expected.flat, 0]) / 255)


def test_types_of_the_tensors(trained, ten_images):
    model = trained("sb")
    for normalization, dtype in ((None, np.int8), ((MEAN, STD), np.uint8)):
        interpreter = opened(convert(model, "int8", ten_images, normalization=normalization))
        ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
        assert [tensor["dtype"] for tensor in ends] == [dtype, dtype]
        weights = [tensor for tensor in interpreter.get_tensor_details() if len(tensor["shape"]) == 4]
        assert {tensor["dtype"] for tensor in weights} <= {np.int8, dtype}


def test_sigmoids_for_tanh(trained):
    """λ tanh(z) as 2λ σ(2z) − λ: the float file agrees in test_convert.py, and has no tanh."""
    names = {each["op_name"] for each in opened(convert(trained("sb")))._get_ops_details()}
    assert "LOGISTIC" in names
    assert "TANH" not in names


def test_no_idle_clamps(trained, ten_images):
    """Sums in 8 bits that cannot leave [0, 6] have no ReLU6; with it they gave the same to the bit."""
    content = convert(trained("sb"), "int8", ten_images)
    model = model_file.read(content)
    (graph,) = model.subgraphs
    sums = [
        operator
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.ADD
    ]
    shifted = [each for each in sums if graph.tensors[each.outputs[0]].quantization.zeroPoint[0] == -128]
    assert len(shifted) > 3
    for operator in shifted:
        assert operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.NONE
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    with_clamps = opened(model_file.write(model))
    np.testing.assert_array_equal(predict(opened(content), ten_images), predict(with_clamps, ten_images))


def test_clamps_that_are_needed_stay():
    """One sum before ReLU6 that goes beyond 6, where its output is calibrated beyond 6 too."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="a")(inputs)
    outputs = keras.layers.ReLU(max_value=6.0)(keras.layers.Add()([x, keras.layers.Conv2D(4, 1)(inputs)]))
    images = np.random.default_rng(0).normal(0, 20, size=(10, 8, 8, 3)).astype("float32")
    model = model_file.read(convert(keras.Model(inputs, outputs), "int8", images))
    (graph,) = model.subgraphs
    (operator,) = [
        each
        for each in graph.operators
        if model.operatorCodes[each.opcodeIndex].builtinCode == schema.BuiltinOperator.ADD
    ]
    # [0, 6] it is: make it [0, 12], of which the upper half must be cut off
    output = graph.tensors[operator.outputs[0]].quantization
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    output.scale = 2 * output.scale
    content = model_file.write(model)
    assert without_idle_clamps(content) == content


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8"])
def test_pixels(trained, quantization, rng):
    """With a normalization, the file of a network takes pixels, and gives what the network gives."""
    pixels = rng.integers(0, 256, size=(10, 32, 32, 3)).astype("float32")
    images = ((pixels / 255 - MEAN) / STD).astype("float32")
    model = trained("sb")
    content = convert(model, quantization, images, normalization=(MEAN, STD))
    interpreter = opened(content)
    expected = np.array(model(images))
    tolerance = TOLERANCES.get(quantization, 1e-4) * np.abs(expected).max()
    np.testing.assert_allclose(predict(interpreter, pixels), expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(to_pixels(images, MEAN, STD), pixels)
    if quantization == "int8":  # a pixel is its own quantized value
        assert interpreter.get_input_details()[0]["quantization"] == (1.0, 0)


def test_unsigned_file_has_the_same_answers(trained, ten_images):
    model = trained("static")
    normalization = ((0.5, 0.5, 0.5), (1 / 255, 1 / 255, 1 / 255))
    pixels = to_pixels(ten_images, *normalization)
    signed = opened(convert(model, "int8", ten_images))
    expected = predict(signed, ten_images)
    actual = predict(opened(convert(model, "int8", ten_images, normalization=normalization)), pixels)
    np.testing.assert_allclose(actual, expected, atol=0.08 * np.abs(expected).max())


def test_smaller_files(rng):
    model = keras.Sequential([keras.Input((8, 8, 3)), *(keras.layers.Conv2D(64, 3) for _ in range(3))])
    images = rng.normal(size=(10, 8, 8, 3)).astype("float32")
    sizes = {q: len(convert(model, q, images)) for q in ("float32", "float16", "dynamic", "int8")}
    weights = 4 * model.count_params()
    # The rest of a file does not shrink, and every channel gets a scale and a zero point.
    assert sizes["float32"] - sizes["float16"] == pytest.approx(weights / 2, rel=0.02)
    assert sizes["float32"] - sizes["dynamic"] == pytest.approx(weights * 3 / 4, rel=0.04)
    assert sizes["float32"] - sizes["int8"] == pytest.approx(weights * 3 / 4, rel=0.04)


def test_values_in_integers():
    tensor = {"dtype": np.int8, "quantization": (0.5, -3)}
    values = np.array([-100.0, -0.3, 0.0, 0.2, 0.26, 1.0, 100.0], "float32")
    expected = np.array([-128, -4, -3, -3, -2, -1, 127], "int8")
    np.testing.assert_array_equal(quantized(values, tensor), expected)
    np.testing.assert_array_equal(dequantized(expected, tensor), [-62.5, -0.5, 0, 0, 0.5, 1, 65])
    as_float = {"dtype": np.float32, "quantization": (0.0, 0)}
    np.testing.assert_array_equal(dequantized(quantized(values, as_float), as_float), values)


def batches():
    yield np.zeros((2, 8, 8, 3), "float32")
    yield np.ones((1, 8, 8, 3), "float64")


def test_calibration_in_batches():
    images = as_images(batches(), (8, 8, 3))
    assert (images.shape, images.dtype) == ((3, 8, 8, 3), np.float32)
    assert images.mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "`calibration` must hold representative images, preprocessed as for training"),
        (np.zeros((0, 8, 8, 3)), r"float images of shape \(n, 8, 8, 3\).* Received no images"),
        ([], "Received no images"),
        (np.zeros((2, 9, 8, 3)), r"Received: float64 of shape \(2, 9, 8, 3\)"),
        (np.zeros((8, 8, 3)), r"Received: float64 of shape \(8, 8, 3\)"),
        (np.zeros((2, 8, 8, 3), "uint8"), r"Received: uint8 of shape"),
        (np.full((2, 8, 8, 3), np.nan), "Received images with NaN"),
    ],
)
@pytest.mark.parametrize("quantization", ["int8", "qat-int8"])
def test_wrong_calibration(quantization, calibration, message):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=message):
        convert(model, quantization, calibration)


def test_loops_are_refused():
    """LSTM is one in the file."""
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Reshape((4, 12))(keras.layers.Conv2D(3, 1)(inputs))
    model = keras.Model(inputs, keras.layers.LSTM(2)(x))
    with pytest.raises(ValueError, match="must have no loops or conditions, as LSTM has"):
        convert(model, "int8", np.zeros((2, 4, 4, 3), "float32"))
