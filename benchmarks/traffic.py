"""What a training step does, counted in its graph: operations, bytes moved, multiply-adds.

python -m benchmarks.traffic [--networks N ...] [--kinds KIND ...] [--csv FILE]
"""

import collections
import math

# Operations that compute nothing on a tensor's elements: no pass over memory.
FREE = {"Const", "ExpandDims", "Identity", "IdentityN", "NoOp", "Placeholder", "PreventGradient"}
FREE |= {"ReadVariableOp", "Reshape", "Shape", "ShapeN", "Squeeze", "StopGradient", "VarHandleOp"}
LARGE = 2**20  # bytes; an operation that moves fewer costs its call rather than its bytes


def count(step_graph):
    """Operations by type: number, number of large ones, and bytes read and written."""
    table = collections.defaultdict(lambda: [0, 0, 0])
    for operation in step_graph.get_operations():
        if operation.type in FREE:
            continue
        moved = sum(map(_bytes, (*operation.inputs, *operation.outputs)))
        entry = table[operation.type]
        entry[0] += 1
        entry[1] += moved >= LARGE
        entry[2] += moved
    return dict(table)


def _bytes(tensor):
    if tensor.dtype.size is None or tensor.shape.rank is None or None in tensor.shape.as_list():
        return 0
    return math.prod(tensor.shape) * tensor.dtype.size
