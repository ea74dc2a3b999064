"""Post-training quantization: a float32 .tflite model with smaller numbers in it.

The quantizer is LiteRT's own, ai-edge-quantizer, which works on the converted file, whatever it was
converted from; README.md in this folder compares it with TensorFlow's.
"""

import contextlib
import copy
import functools
import io
import warnings

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithm_manager import AlgorithmName
from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
from ai_edge_quantizer.quantizer import Quantizer
from ai_edge_quantizer.recipe_manager import RecipeManager
from ai_edge_quantizer.utils import qsv_utils

from recipes.command import quiet
from tflite import model_file

ALL = qtyping.TFLOperationName.ALL_SUPPORTED
DEPTHWISE = qtyping.TFLOperationName.DEPTHWISE_CONV_2D
SIGNATURE = "serving_default"
_WITH_KERNEL = (
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
)


@contextlib.contextmanager
def _quiet():
    """Keeps back progress bars, and LiteRT's warning that it keeps all tensors."""
    with quiet(), warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@_quiet()
def quantize_file(content, quantization, images=None, input_range=None):
    """Quantizes a float32 .tflite model.

    - `"float16"`: the weights are stored in half precision and computed with in single.
    - `"dynamic"`: the weights of convolutions and fully connected layers are stored in 8 bits, a scale a
      channel; their inputs are quantized as they come. Depthwise kernels, few numbers, stay in float32.
    - `"int8"`: so are all weights and activations, an activation by the range that it
      has on the images; input and output are 8-bit integers too.

    Args:
        content: The bytes of a model with the signature `serving_default` and one input.
        quantization: `"float16"`, `"dynamic"` or `"int8"`.
        images: Representative inputs for int8, float32 of shape (n, height, width, 3).
        input_range: The least and the largest value of the input; None for those that `images` have.

    Returns:
        The bytes of the quantized model.
    """
    manager, ranges = RecipeManager(), None
    if quantization == "float16":
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        manager.add_quantization_config(".*", ALL, config, AlgorithmName.FLOAT_CASTING)
    elif quantization == "dynamic":
        manager.add_dynamic_config(".*", ALL, num_bits=8)
        # XNNPACK has no kernel for these.
        manager.add_quantization_config(".*", DEPTHWISE, algorithm_key=AlgorithmName.NO_QUANTIZE)
    else:
        manager.add_static_config(".*", ALL, activation_num_bits=8, weight_num_bits=8)
        ranges = _ranges(manager, content, images, input_range)
        content = model_file.edited(content, functools.partial(_make_room_for_biases, ranges=ranges))
    quantizer = Quantizer(content, manager.get_quantization_recipe())
    content = bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)
    return without_idle_clamps(content) if quantization == "int8" else content


def _ranges(manager, content, images, input_range):
    """The range of every activation on the images, by its tensor's name."""
    model = model_file.read(content)
    if len(model.subgraphs) > 1:
        raise ValueError(
            "`model` must have no loops or conditions, as LSTM has, to be computed in integers; "
            "`quantization='dynamic'` keeps the weights in 8 bits"
        )
    (graph,) = model.subgraphs
    runner = Interpreter(model_content=content).get_signature_runner(SIGNATURE)
    (name,) = runner.get_input_details()
    calibrator = Calibrator(
        content, 2, CalibrationMode.CALIBRATION_PROFILER_BASED, qsv_update_func=qsv_utils.min_max_update
    )
    calibrator.calibrate({SIGNATURE: [{name: image[None]} for image in images]}, manager)
    ranges = calibrator.get_model_qsvs()

    names = [tensor.name.decode() for tensor in graph.tensors]
    if input_range is not None:
        low, high = input_range
        ranges[names[graph.inputs[0]]] = {"min": np.array([low]), "max": np.array([high])}
    _narrow_to_what_counts(model, ranges)
    for operator in graph.operators:
        code, output = model.operatorCodes[operator.opcodeIndex].builtinCode, names[operator.outputs[0]]
        inputs = [names[tensor] for tensor in operator.inputs if tensor >= 0]
        if code == schema.BuiltinOperator.ADD:
            for term in set(inputs) & set(ranges):
                _widen(ranges, term, _span(ranges[output]) / 500)
        elif code in _WITH_KERNEL:
            kernel = model.buffers[graph.tensors[operator.inputs[1]].buffer].data.view("float32")
            _widen(ranges, inputs[0], 1e-6)  # what is always 0
            _widen(ranges, output, _span(ranges[inputs[0]]) * np.abs(kernel).max() / 127 / 200)
    return ranges


def _narrow_to_what_counts(model, ranges):
    """Narrows the range of what attention is added to, or multiplied with, to where it makes a difference.

    A convolution with attention is T + λA before its ReLU6, and T may be far outside [0, 6], where that of a
    network without is clamped before it is quantized. With λA in [s, S], whatever T is below −S comes out as
    0, and above 6 − s as 6. Of a product with what is never negative, SE's, T below 0 comes out as 0.
    Integers stop at the ends of their range, so that these may be its ends.
    """
    (graph,) = model.subgraphs
    names = [tensor.name.decode() for tensor in graph.tensors]
    read = [index for each in graph.operators for index in each.inputs] + list(graph.outputs)
    tops = {schema.ActivationFunctionType.RELU: np.inf, schema.ActivationFunctionType.RELU6: 6.0}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in (schema.BuiltinOperator.ADD, schema.BuiltinOperator.MUL):
            continue
        top = tops.get(operator.builtinOptions.fusedActivationFunction)
        terms = [index for index in operator.inputs if names[index] in ranges]
        if top is None or len(terms) < 2:
            continue
        other, wide = sorted(terms, key=lambda index: _span(ranges[names[index]]))
        low, high = (ranges[names[other]][key] for key in ("min", "max"))
        if code == schema.BuiltinOperator.ADD:
            ends = (-np.maximum(high, 0), top - np.minimum(low, 0))
        else:
            ends = (0.0 if low >= 0 else -np.inf, np.inf)
        if read.count(wide) == 1:
            values = ranges[names[wide]]
            ranges[names[wide]] = {key: np.clip(value, *ends) for key, value in values.items()}


def _make_room_for_biases(model, ranges):
    """Gives every channel of a convolution a kernel that is not too small for its bias.

    A bias is stored in units of the input's scale times its channel's, in 32 bits. Where a kernel is next to
    nothing, as of a channel that died or was pruned, ai-edge-quantizer cuts the bias off, and with it all
    that the channel has to say. So one number of such a kernel becomes as large as the bias needs, which adds
    at most a 30,000th of the bias to what the channel says: a hundredth of a step of eight bits.

    Args:
        model: The `ModelT` of a float32 file. It is changed.
        ranges: The activations' ranges, by the names of their tensors.
    """
    (graph,) = model.subgraphs
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code not in _WITH_KERNEL or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        source, kernel, bias = (graph.tensors[index] for index in operator.inputs[:3])
        buffer = model.buffers[kernel.buffer]
        values = buffer.data.view("float32").reshape(kernel.shape).copy()
        # The channels are the last axis of a depthwise kernel, the first of others.
        axis = -1 if code == schema.BuiltinOperator.DEPTHWISE_CONV_2D else 0
        channels = np.moveaxis(values, axis, 0)
        biases = np.abs(model.buffers[bias.buffer].data.view("float32"))
        needed = biases * (127 * 255 / 2**30 / _span(ranges[source.name.decode()]))
        for channel, least in zip(channels, needed, strict=True):
            place = np.unravel_index(np.abs(channel).argmax(), channel.shape)
            if abs(channel[place]) < least:
                channel[place] = np.copysign(least, channel[place])
        buffer.data = values.reshape(-1).view(np.uint8)


def _span(values):
    """The width of a range as it is quantized: with zero in it."""
    return (np.maximum(values["max"], 0) - np.minimum(values["min"], 0)).item()


def _widen(ranges, name, least):
    """Makes a range at least so large.

    XNNPACK leaves out a sum if a term's scale is below a 1024th of its own, and refuses a convolution if
    the product of its input's and kernel's scales is 256 times its output's, for example where no channel
    is ever active. Against what such tensors join, a coarser scale loses nothing.
    """
    values = ranges[name]
    missing = max(0.0, least - _span(values))
    if missing:
        low, high = np.minimum(values["min"], 0) - missing / 2, np.maximum(values["max"], 0) + missing / 2
        ranges[name] = {"min": low, "max": high}


def as_images(calibration, image_shape):
    """Representative images as one array.

    Args:
        calibration: A float array (n, height, width, channels), preprocessed as for training, or an
            iterable of such batches.
        image_shape: The model's (height, width, channels).

    Returns:
        A float32 array (n, height, width, channels).

    Raises:
        ValueError: If there are no images, or they are of another shape or type, or not finite.
    """
    if calibration is None:
        raise ValueError("`calibration` must hold representative images, preprocessed as for training")
    expected = f"float images of shape (n, {', '.join(map(str, image_shape))})"
    batches = [calibration] if hasattr(calibration, "shape") else list(calibration)
    arrays = [np.asarray(batch) for batch in batches]
    for array in arrays:
        if not np.issubdtype(array.dtype, np.floating) or array.shape[1:] != tuple(image_shape):
            raise ValueError(
                f"`calibration` must be {expected}, or batches of them. "
                f"Received: {array.dtype} of shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError("`calibration` must be finite. Received images with NaN or infinity")
    if not sum(map(len, arrays)):
        raise ValueError(f"`calibration` must be {expected}. Received no images")
    return np.concatenate(arrays).astype("float32")


def without_idle_clamps(content):
    """Takes the ReLU6 away from sums whose 8-bit output cannot leave [0, 6] anyway.

    The answers stay the same to the bit: −128, the least integer, stands for 0, and 127 for at most 6.
    XNNPACK computes a convolution with its ReLU6 in one go, but that of a sum, such as attention's shift, in
    a second pass.

    Args:
        content: The bytes of an int8 model.

    Returns:
        The bytes of the same model.
    """
    model = model_file.read(content)
    (graph,) = model.subgraphs
    for operator in graph.operators:
        scales = graph.tensors[operator.outputs[0]].quantization
        if (
            model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.ADD
            and operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU6
            and scales.zeroPoint.item() == -128
            and round(6.0 / scales.scale.item()) >= 255
        ):
            operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    return model_file.write(model)


def make_unsigned(model):
    """Gives an int8 model an unsigned input and output, as cameras and MediaPipe have them: x + 128.

    A `QUANTIZE` operator before and behind what there is adds 128.

    Args:
        model: The `ModelT` of a file with one int8 input; outputs that are no integers stay as they are.
    """
    (graph,), (signature,) = model.subgraphs, model.signatureDefs

    def add_unsigned(tensor):
        """A tensor beside `tensor`, in whose place the signature then has it; its index."""
        twin = copy.deepcopy(graph.tensors[tensor])
        twin.type = schema.TensorType.UINT8
        twin.name = graph.tensors[tensor].name
        twin.quantization.zeroPoint = twin.quantization.zeroPoint + 128
        graph.tensors[tensor].name += b"_int8"
        graph.tensors.append(twin)
        for entry in (*signature.inputs, *signature.outputs):
            if entry.tensorIndex == tensor:
                entry.tensorIndex = len(graph.tensors) - 1
        return len(graph.tensors) - 1

    def requantize(source, target, first=False):  # 2: between signed and unsigned integers
        model_file.add_operator(model, "QUANTIZE", [source], [target], version=2, first=first)

    (first,) = graph.inputs
    graph.inputs = np.array([add_unsigned(first)], "int32")
    requantize(graph.inputs[0], first, first=True)
    outputs = graph.outputs.tolist()  # the array's memory may be an operator's too: `model_file.write`
    for position, last in enumerate(outputs):
        if graph.tensors[last].type == schema.TensorType.INT8:
            outputs[position] = add_unsigned(last)
            requantize(last, outputs[position])
    graph.outputs = np.array(outputs, "int32")
