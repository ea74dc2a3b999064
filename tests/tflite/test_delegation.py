"""Tests of tflite.delegation: what XNNPACK takes of a model, and what it leaves."""

import pytest
from ai_edge_litert.interpreter import Interpreter
from small_models import allocated

from tflite.delegation import Operator, find_delegation


@pytest.mark.parametrize(
    ("name", "operators", "partitions", "left_out"),
    [
        ("plain", 2, 1, []),
        ("gather", 2, 1, [(1, "GATHER")]),
        ("two_partitions", 4, 2, [(1, "CUMSUM")]),
        ("kernel_input", 3, 2, [(1, "CONV_2D")]),  # the TRANSPOSE of the kernel before it is taken
        ("outputs", 3, 1, [(2, "CUMSUM")]),
        ("half", 5, 2, [(3, "CUMSUM")]),  # with the DEQUANTIZE of weights that both partitions read
        ("all_left_out", 2, 0, [(0, "CUMSUM"), (1, "CUMSUM")]),
    ],
)
def test_delegation_is_exact(models, name, operators, partitions, left_out):
    delegation = find_delegation(allocated(models / f"{name}.tflite"))

    assert delegation.operators == operators
    assert delegation.partitions == partitions
    assert [(operator.index, operator.name) for operator in delegation.left_out] == left_out


@pytest.mark.parametrize("name", ["plain", "gather", "two_partitions", "kernel_input", "outputs", "half"])
def test_delegation_agrees_with_one_partition_an_operator(models, name):
    # Without fusion each delegated operator gets a DELEGATE node with the operator's own outputs, so
    # comparing outputs settles the question without walking the graph.
    path = models / f"{name}.tflite"
    nodes = allocated(path, experimental_disable_delegate_node_fusion=True)._get_ops_details()
    taken = {int(tensor) for node in nodes if node["op_name"] == "DELEGATE" for tensor in node["outputs"]}
    expected = [
        node["index"]
        for node in nodes
        if node["op_name"] != "DELEGATE" and taken.isdisjoint(map(int, node["outputs"]))
    ]

    assert [operator.index for operator in find_delegation(allocated(path)).left_out] == expected


def test_delegation_allocates_and_names_the_output(models):
    delegation = find_delegation(Interpreter(str(models / "two_partitions.tflite")))

    assert delegation.left_out == (Operator(1, "CUMSUM", "Cumsum"),)
