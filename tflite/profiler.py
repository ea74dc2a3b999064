"""Where the time goes inside a .tflite model: what each operator takes, by LiteRT's own profiler.

XNNPACK reports the time of every operator that it runs, in whole microseconds, rounded down: hundreds of
operators come out a tenth of a millisecond short. What is lost so counts as rest of the run. Of a run of
MobileNetV2 ×1.0 on an x86 core, the operators made up 97 %; with SB in all layers, 96 %.
"""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.errors import UserError
from tflite.compiled_model import ProfiledModel
from tflite.delegation import Operator, find_delegation
from tflite.latency import load

WARMUP = 5
REST = "rest of the run"

# The TFLite operators that XNNPACK's come from, as far as the networks of this package have them.
_SOURCES = {
    "Convolution": {"CONV_2D", "DEPTHWISE_CONV_2D"},
    "Fully Connected": {"FULLY_CONNECTED", "CONV_2D"},  # a 1×1 convolution is a matrix product
    "Mean": {"MEAN"},
    "Add": {"ADD"},
    "Multiply": {"MUL"},
    "Convert": {"QUANTIZE", "DEQUANTIZE"},
    "TanH": {"TANH"},
    "Sigmoid": {"LOGISTIC"},
    "Softmax": {"SOFTMAX"},
    "Clamp": {"RELU", "RELU6"},
    "Static Reshape": {"RESHAPE"},
}
# These may also end the operator before them: its activation, or an axis that it takes away.
_ENDINGS = {"Clamp", "Static Reshape"}


@dataclass(frozen=True)
class OperatorTime:
    """What one operator of the running model takes.

    Attributes:
        position: Position in the order of execution, from 0.
        kind: What runs, as the runtime calls it: XNNPACK's `"Fully Connected (NC, F32) GEMM"`, or TFLite's
            `"CUMSUM"` for an operator outside XNNPACK; or `REST`.
        source: The model's operator that it is or is part of; None where that cannot be told.
        latency_ms_median: Median over the runs.
        share: Its part of the sum over all rows.
    """

    position: int
    kind: str
    source: Operator | None
    latency_ms_median: float
    share: float


def operator_times(path, threads=1, runs=50):
    """Measures every operator of a .tflite file on random input.

    Args:
        path: The file.
        threads: Number of CPU threads.
        runs: Number of measured runs, after a few more.

    Returns:
        The operators in the order of execution, and last, as `REST`, what the run takes outside of them. The
        rows add up to the latency of the whole run, as far as medians do.

    Raises:
        UserError: A count is too small, the model cannot run in LiteRT on random input, or it has more than
            one subgraph (control flow), where times would count twice.

    Example:

    ```python
    slowest = max(operator_times("sb.tflite"), key=lambda operator: operator.latency_ms_median)
    print(f"{slowest.kind}: {slowest.latency_ms_median:.3f} ms")
    # Fully Connected (NC, F32) GEMM: 0.274 ms
    ```
    """
    for name, count in (("threads", threads), ("runs", runs)):
        if count < 1:
            raise UserError(f"{name}: expected at least 1, received {count}")
    path = Path(path)
    interpreter = load(path, threads, seed=0)
    if interpreter.num_subgraphs() != 1:
        raise UserError(f"{path}: expected a model of one subgraph, received {interpreter.num_subgraphs()}")
    inputs = {
        tensor["index"]: interpreter.get_tensor(tensor["index"]) for tensor in interpreter.get_input_details()
    }
    with ProfiledModel(path, threads, inputs) as model:
        for _ in range(WARMUP):
            model.run()
        recorded = [model.run() for _ in range(runs)]
    return summarize(recorded, *_operators(interpreter))


def summarize(runs, delegated, left_out):
    """Reduces several runs to a median an operator, and one of the rest.

    Args:
        runs: For each run its latency in ms and its events, which are of the same operators every time.
        delegated: The model's operators that XNNPACK runs, in the model's order.
        left_out: The others.
    """
    latencies_ms = np.array([latency_ms for latency_ms, _ in runs])
    operators_ms = np.array([[event.elapsed_us / 1000 for event in events] for _, events in runs])
    rest_ms = latencies_ms - operators_ms.sum(axis=1)  # run by run: another may have been slowed down
    medians_ms = np.median(np.column_stack([operators_ms, rest_ms]), axis=0)
    shares = medians_ms / medians_ms.sum()

    _, events = runs[0]
    by_index = {operator.index: operator for operator in left_out}
    in_xnnpack = iter(find_sources([event.kind for event in events if event.index is None], delegated))
    sources = [next(in_xnnpack) if event.index is None else by_index[event.index] for event in events]
    return [
        OperatorTime(position, kind, source, float(median_ms), float(share))
        for position, (kind, source, median_ms, share) in enumerate(
            zip([*(event.kind for event in events), REST], [*sources, None], medians_ms, shares, strict=True)
        )
    ]


def find_sources(kinds, operators):
    """Tells which of a model's operators XNNPACK's come from.

    XNNPACK keeps the order, but may make two operators of one, such as a sum and the clamp that is its
    activation. So the two lists are walked together.

    Args:
        kinds: XNNPACK's operators as it calls them, in the order of execution.
        operators: The model's operators, in the model's order.

    Returns:
        One for each of `kinds`; None for all of them where the lists do not fit together.

    Example:

    ```python
    convolution, addition = Operator(0, "CONV_2D", "a"), Operator(1, "ADD", "b")
    kinds = ["Convolution (NHWC, F32) IGEMM", "Add (ND)", "Clamp (NC)"]
    find_sources(kinds, [convolution, addition]) == [convolution, addition, addition]
    # True
    ```
    """
    pending, sources = deque(operators), []
    for kind in kinds:
        name = kind.partition(" (")[0]
        while pending and pending[0].name == "DEQUANTIZE" and name != "Convert":
            pending.popleft()  # of constant weights: done once, when the model is loaded
        if pending and pending[0].name in _SOURCES.get(name, ()):
            sources.append(pending.popleft())
        elif sources and name in _ENDINGS:
            sources.append(sources[-1])
        elif pending and name == "Convert":
            sources.append(pending[0])  # dynamic quantization: an operator's input becomes int8
        else:
            return [None] * len(kinds)
    return [None] * len(kinds) if pending else sources


def _operators(interpreter):
    """The model's operators that XNNPACK runs, and those that it does not."""
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    left_out = list(find_delegation(interpreter).left_out)
    outside = {operator.index for operator in left_out}
    delegated = [
        Operator(node["index"], node["op_name"], names[int(node["outputs"][0])])
        for node in interpreter._get_ops_details()  # LiteRT 2.3 has no public listing
        if node["op_name"] != "DELEGATE" and node["index"] not in outside
    ]
    return delegated, left_out
