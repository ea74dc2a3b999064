"""Reading and writing the flatbuffer that a .tflite file is, as Python objects.

The schema is TensorFlow Lite's (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs).
LiteRT's own `tools.flatbuffer_utils` makes lists of its vectors. Here they stay arrays, and `write` stores
equal ones once.
"""

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
