"""What a training step does, counted in its graph: operations, bytes moved, multiply-adds.

python -m benchmarks.traffic [--kinds KIND ...] [--csv FILE]
"""

import argparse
import copy
import math
import sys

from benchmarks import output
from benchmarks.networks import (
    CLASSES,
    KINDS,
    NETWORKS,
    images_and_labels,
    sb_keras_model,
    step_products,
    stock_keras_model,
)
from recipes.command import exit_code
from recipes.tasks import TASKS

# Operations that compute nothing on a tensor's elements: no pass over memory.
FREE = {"Const", "ExpandDims", "Identity", "IdentityN", "NoOp", "Placeholder", "PreventGradient"}
FREE |= {"ReadVariableOp", "Reshape", "Shape", "ShapeN", "Size", "Squeeze", "StopGradient", "VarHandleOp"}
# Attention branches, normalization of expand convolutions, updates of weights: functions that are called.
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
LARGE = 2**20  # bytes; an operation that moves fewer costs its call rather than its bytes
HEAD = (
    *("network", "kind", "implementation", "operations", "large_operations"),
    *("gigabytes", "giga_multiply_adds", "bytes_per_multiply_add"),
)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.traffic", description=(__doc__ or "").partition("\n")[0]
    )
    output.add_kinds(parser, KINDS, KINDS)
    parser.add_argument("--csv", metavar="FILE", help="also writes every count")
    args = parser.parse_args(argv)
    output.check(args)
    network, rows = NETWORKS[0], []
    for kind in args.kinds:
        for name, make in (("sb_keras", sb_keras_model), ("stock Keras", stock_keras_model)):
            print(f"counting {name} {kind}", file=sys.stderr)
            model = make(network, kind)
            operations, large, moved = count(training_graph(model, network))
            products = step_products(network, kind)
            rows.append(
                (network.name, kind, name, operations, large, moved / 1e9, products / 1e9, moved / products)
            )
    output.show(args, HEAD, rows)


def training_graph(model, network):
    """The graph of one training step, with every size known."""
    import tensorflow as tf

    images, labels = images_and_labels(network)
    TASKS["classification"].create_state(model, CLASSES)
    step = tf.function(lambda x, y: model.train_step((x, y)))
    return step.get_concrete_function(
        tf.TensorSpec(images.shape, "float32"), tf.TensorSpec(labels.shape, "int64")
    ).graph


def count(graph):
    """Operations that compute, those among them that move a megabyte, and the bytes that all move.

    Counted are operations on which some output of the graph or a change of a variable depends, and those of
    the functions that it calls, with the sizes that they are called with. What TensorFlow makes one operation
    is one.
    """
    definition = graph.as_graph_def()
    return _count(graph, {function.signature.name: function for function in definition.library.function})


def _count(graph, functions):
    totals = [0, 0, 0]
    for operation in _needed(graph):
        if operation.type in CALLS:
            counts = _count(_called(operation, functions), functions)
        elif operation.type in FREE or _is_fused(operation):
            continue
        else:
            moved = sum(map(_bytes, (*operation.inputs, *operation.outputs)))
            counts = 1, moved >= LARGE, moved
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
    return tuple(totals)


def _is_fused(operation):
    """Whether TensorFlow makes it a part of the product before: a bias, and an activation behind one."""
    if operation.type not in ("BiasAdd", "Relu", "Relu6"):
        return False
    tensor = operation.inputs[0]
    while tensor.op.type in ("Identity", "IdentityN"):
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor.op.type in ("Conv2D", "MatMul") if operation.type == "BiasAdd" else _is_fused(tensor.op)


def _called(operation, functions):
    """The graph of a called function, with the shapes of what it is given here."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    definition = copy.deepcopy(functions[operation.get_attr("f").name])
    definition.ClearField("arg_attr")  # the shapes that it was traced for
    return function_def_to_graph(definition, input_shapes=[tensor.shape for tensor in operation.inputs])


def _needed(graph):
    waiting = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    found = set()
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return found


def _bytes(tensor):
    if tensor.dtype.size is None or tensor.shape.rank is None or None in tensor.shape.as_list():
        return 0
    return math.prod(tensor.shape) * tensor.dtype.size


if __name__ == "__main__":
    sys.exit(exit_code(main))
