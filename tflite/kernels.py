"""The kernels inside a .tflite file, and how far they are pruned or clustered."""

import re
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflite import model_file

_WITH_KERNEL = {
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
}
_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT8: np.int8,
}


@dataclass(frozen=True)
class Kernel:
    """The kernel of one convolution or fully connected layer.

    Attributes:
        layer: The layer's name.
        shape: (filters, height, width, channels), (1, height, width, filters) where it is depthwise,
            (outputs, inputs) where it is fully connected.
        weights: How many.
        zeros: How many of them are 0.
        distinct: How many different values there are; at most 255 in 8 bits, whatever the scales.
    """

    layer: str
    shape: tuple[int, ...]
    weights: int
    zeros: int
    distinct: int


def find_kernels(content, layers):
    """Reads the kernels of a .tflite file.

    Args:
        content: The bytes of the file.
        layers: The set of the names of the network's layers that have kernels.

    Returns:
        A list of `Kernel`, in the file's order. One that no layer is found for bears a part of its tensor's
        name.

    Example:

    ```python
    folded = sb_keras.fold(model)
    kernels = find_kernels(convert(folded), {layer.name for layer in folded.layers})
    print({kernel.layer: kernel.zeros / kernel.weights for kernel in kernels})
    ```
    """
    model = model_file.read(content)
    (graph,) = model.subgraphs
    writers = {operator.outputs[0]: operator for operator in graph.operators}
    tensors = []
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode in _WITH_KERNEL:
            index = operator.inputs[1]
            while index in writers:  # float16 weights pass a DEQUANTIZE
                index = writers[index].inputs[0]
            tensors.append(graph.tensors[index])

    found = []
    for tensor, layer in zip(
        tensors, _layers([tensor.name.decode() for tensor in tensors], layers), strict=True
    ):
        values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), _DTYPES[tensor.type])
        zeros, distinct = int(np.sum(values == 0)), len(np.unique(values))
        found.append(Kernel(layer, tuple(map(int, tensor.shape)), values.size, zeros, distinct))
    return found


def _layers(tensor_names, layers):
    """The layers of kernels with names such as `net/quant_conv/Conv2D` or `net_1/conv_1/convolution`."""
    scopes = [name.partition(";")[0].split("/")[-2].removeprefix("quant_") for name in tensor_names]
    # Keras numbers the names of layers that are called again.
    once = [re.sub(r"_\d+$", "", scope) for scope in scopes]
    return max(scopes, once, key=lambda names: len(layers.intersection(names)))
