"""Reading and writing the flatbuffer that a .tflite file is, as Python objects.

The schema is TensorFlow Lite's (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs).
LiteRT's own `tools.flatbuffer_utils` makes lists of its vectors. Here they stay arrays, and `write` stores
equal ones once.
"""

import copy

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
# Of the data of a tensor, as the schema asks: kernels read them from the mapped file.
_ALIGNMENT = 16


def read(content):
    """The `ModelT` in the bytes of a .tflite file."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(content))
    for buffer in model.buffers:
        if buffer.offset:  # ai-edge-quantizer puts the data of larger models behind the flatbuffer
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def order_outputs(model, names):
    """Puts the outputs of a `ModelT` into the order of these names, which its one signature has.

    A converter that is given a dictionary sorts it.
    """
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    outputs = {entry.name.decode(): entry for entry in signature.outputs}
    signature.outputs = [outputs[name] for name in names]
    graph.outputs = np.array([entry.tensorIndex for entry in signature.outputs], "int32")


def add_tensor(model, name, shape, kind="FLOAT32", data=None):
    """Adds a tensor to a `ModelT` with one graph.

    Args:
        model: The `ModelT`.
        name: The tensor's name.
        shape: Its shape.
        kind: Its type, as the schema names it.
        data: Its values, an array; None for one that is computed.

    Returns:
        Its index.
    """
    (graph,), tensor = model.subgraphs, schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name.encode(), np.array(shape, "int32"), 0
    tensor.type = getattr(schema.TensorType, kind)
    if data is not None:
        tensor.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT(np.frombuffer(data.tobytes(), np.uint8)))
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_constant(model, name, values, dtype="int32"):
    """Adds a tensor of given values to a `ModelT`; its index."""
    values = np.array(values, dtype)
    return add_tensor(model, name, values.shape, dtype.upper(), values)


def add_operator(model, name, inputs, outputs, version=1, first=False, **options):
    """Adds an operator to a `ModelT` with one graph, as the last one or the first.

    Args:
        model: The `ModelT`.
        name: The operator's name, as the schema has it.
        inputs: Indices of its inputs.
        outputs: And of its outputs.
        version: Its version, which depends on the types of its tensors.
        first: Whether it comes before all others.
        **options: The fields of its options.

    Returns:
        The `OperatorCodeT` and the `OperatorT`.
    """
    (graph,) = model.subgraphs
    entry, operator = schema.OperatorCodeT(), schema.OperatorT()
    entry.builtinCode = getattr(schema.BuiltinOperator, name)
    entry.deprecatedBuiltinCode, entry.version = min(entry.builtinCode, 127), version
    operator.opcodeIndex = len(model.operatorCodes)
    operator.inputs, operator.outputs = np.array(inputs, "int32"), np.array(outputs, "int32")
    if options:
        kind = f"{name.capitalize()}Options"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        vars(operator.builtinOptions).update(options)
    model.operatorCodes.append(entry)
    graph.operators.insert(0 if first else len(graph.operators), operator)
    return entry, operator


def take_middle(model, size):
    """Lets the one image that a `ModelT` takes be the middle of a larger one.

    Args:
        model: The `ModelT` of a file with one input (1, height, width, channels). It is changed.
        size: Height and width of the larger image.
    """
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    (middle,) = graph.inputs
    whole = copy.deepcopy(graph.tensors[middle])
    _, height, width, channels = (int(side) for side in whole.shape)
    whole.shape = np.array((1, size, size, channels), "int32")
    # Or LiteRT takes the output's number of pictures, 1, for fixed.
    graph.tensors[middle].shapeSignature = np.array((-1, height, width, channels), "int32")
    whole.name, graph.tensors[middle].name = graph.tensors[middle].name, whole.name + b"_middle"
    graph.tensors.append(whole)
    graph.inputs = np.array([len(graph.tensors) - 1], "int32")
    (entry,) = signature.inputs
    entry.tensorIndex = len(graph.tensors) - 1
    begin = add_constant(model, "middle_begin", [0, (size - height) // 2, (size - width) // 2, 0])
    extent = add_constant(model, "middle_size", [-1, height, width, channels])  # of all pictures
    version = 1 if whole.type == schema.TensorType.FLOAT32 else 2
    add_operator(model, "SLICE", [*graph.inputs, begin, extent], [middle], version, first=True)


def edited(content, *edits):
    """The bytes of a file after some functions changed its `ModelT`, which is read and written once."""
    model = read(content)
    for edit in edits:
        edit(model)
    return write(model)


def write(model):
    """The bytes of a `ModelT`.

    Vectors with the same content are stored once. In an 8-bit file that is a sixth of it: every channel of a
    kernel has a zero point of 8 bytes, and all of them are 0.
    """
    builder = _SharingBuilder()
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):
    def __init__(self):
        super().__init__()
        self._vectors = {}

    def CreateNumpyVector(self, x):
        key = x.dtype.str, x.tobytes()
        if key not in self._vectors:
            if x.dtype == np.uint8:
                self.Prep(_ALIGNMENT, x.nbytes)
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]
