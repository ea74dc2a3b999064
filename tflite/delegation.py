"""Which operators of a .tflite model run in XNNPACK, and which were left to LiteRT's own kernels.

LiteRT hands runs of supported operators (partitions) to XNNPACK. Each operator left out runs in a slower
kernel and cuts the graph around it, so the list says where a model loses time.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Operator:
    """One operator of a model.

    Attributes:
        index: Position in the model's list of operators, from 0.
        name: What it does, as the TFLite schema calls it: `"CONV_2D"`.
        output: Name of the first tensor that it writes.
    """

    index: int
    name: str
    output: str


@dataclass(frozen=True)
class Delegation:
    """How a model was divided.

    Attributes:
        operators: How many operators the model's main subgraph has.
        partitions: How many runs of operators XNNPACK executes; one is best.
        left_out: The operators outside all partitions, in the model's order.
    """

    operators: int
    partitions: int
    left_out: tuple[Operator, ...]


def find_delegation(interpreter):
    """Reads from an interpreter which of its operators it gave to XNNPACK.

    LiteRT keeps the model's operators and appends one `DELEGATE` node a partition, which reads and writes the
    partition's border tensors. Walking from what such a node writes back to what it reads meets exactly the
    operators that it replaced, so the answer is about this interpreter, not a guess from operator names.

    Only the main subgraph can be seen: a `WHILE` or `IF` counts as one operator left out, whatever its body
    does.

    Args:
        interpreter: A LiteRT interpreter; its tensors are allocated if they were not.

    Returns:
        The division of its main subgraph.

    Example:

    ```python
    interpreter = Interpreter("model.tflite")
    [operator.name for operator in find_delegation(interpreter).left_out]
    # ['CUMSUM']
    ```
    """
    interpreter.allocate_tensors()  # the default delegate is applied here, not in the constructor
    nodes = interpreter._get_ops_details()  # LiteRT 2.3 has no public listing
    partitions = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    writer = {int(tensor): node for node in operators for tensor in node["outputs"]}

    delegated = set()
    for partition in partitions:
        outside = {int(tensor) for tensor in partition["inputs"]}
        pending = [int(tensor) for tensor in partition["outputs"]]
        while pending:
            tensor = pending.pop()
            node = None if tensor in outside else writer.get(tensor)
            if node is not None and node["index"] not in delegated:
                delegated.add(node["index"])
                pending.extend(int(source) for source in node["inputs"])

    tensor_names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    left_out = tuple(
        Operator(node["index"], node["op_name"], tensor_names[int(node["outputs"][0])])
        for node in operators
        if node["index"] not in delegated
    )
    return Delegation(len(operators), len(partitions), left_out)
