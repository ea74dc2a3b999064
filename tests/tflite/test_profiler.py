"""Tests of tflite.profiler: which operators it sees, and what it makes of times; none asserts a time."""

from collections import Counter
from pathlib import Path

import ai_edge_litert
import numpy as np
import pytest
import tensorflow as tf
from small_models import IMAGE, conv, to_tflite

from recipes.errors import UserError
from tflite import compiled_model
from tflite.compiled_model import Event, ProfiledModel
from tflite.delegation import Operator
from tflite.profiler import REST, find_sources, operator_times, summarize

# The converter says so whenever a model becomes int8, although the representative images give the statistics.
pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected")

POINTWISE = np.random.default_rng(1).normal(size=(1, 1, 4, 6)).astype("float32")
DEPTHWISE = np.random.default_rng(2).normal(size=(3, 3, 6, 1)).astype("float32")
DENSE = np.random.default_rng(3).normal(size=(6, 5)).astype("float32")


def network(x):
    """Every operator of a static, an SB and an SE network, and a cumulative sum, which XNNPACK leaves."""
    x = tf.nn.conv2d(conv(x), POINTWISE, 1, "VALID")
    context = tf.reduce_mean(x, (1, 2), keepdims=True)
    x = tf.nn.relu6(tf.nn.depthwise_conv2d(x, DEPTHWISE, (1, 1, 1, 1), "SAME") + tf.tanh(context))
    x = tf.cumsum(x * tf.sigmoid(context), axis=1)
    return tf.nn.softmax(tf.reduce_mean(x, (1, 2)) @ DENSE)


OPERATORS = Counter(
    CONV_2D=2,
    DEPTHWISE_CONV_2D=1,
    MEAN=2,
    TANH=1,
    LOGISTIC=1,
    ADD=1,
    MUL=1,
    CUMSUM=1,
    FULLY_CONNECTED=1,
    SOFTMAX=1,
)
KINDS = Counter(
    {
        "Convolution": 2,  # 3×3 and depthwise
        "Fully Connected": 2,  # the matrix product, and the 1×1 convolution, which is one
        "Mean": 2,
        "Static Reshape": 1,  # takes two axes away from the second average
        "TanH": 1,
        "Sigmoid": 1,
        "Add": 1,
        "Clamp": 1,  # the sum's ReLU6
        "Multiply": 1,
        "Softmax": 1,
        "CUMSUM": 1,
        REST: 1,
    }
)
DEFAULT = {"optimizations": [tf.lite.Optimize.DEFAULT]}
SETTINGS = {
    "float32": {},
    "float16": DEFAULT | {"supported_types": [tf.float16]},
    "int8": DEFAULT
    | {
        "representative_dataset": lambda: ([np.full((1, 8, 8, 4), value, "float32")] for value in (-1, 1)),
        "supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS],
        "inference_input_type": tf.int8,
    },
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, Path]:
    """The network in several precisions; the cumulative sum is float32 in all of them."""
    folder = tmp_path_factory.mktemp("networks")
    paths = {name: folder / f"{name}.tflite" for name in SETTINGS}
    for name, settings in SETTINGS.items():
        paths[name].write_bytes(to_tflite(network, IMAGE, **settings))
    return paths


def first_words(operator):
    """An operator's kind without tensor types and kernel, which depend on precision and processor."""
    return operator.kind.partition(" (")[0]


def named(names):
    return [Operator(index, name, f"output_{index}") for index, name in enumerate(names.split())]


# Which operators a model has.


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["float32", "float16"])
def test_every_operator_is_seen(networks, name, threads):
    operators = operator_times(networks[name], threads, runs=3)

    assert Counter(map(first_words, operators)) == KINDS
    sources = {operator.source for operator in operators} - {None}  # the two with endings once
    assert Counter(source.name for source in sources) == OPERATORS
    clamp = next(operator for operator in operators if operator.kind.startswith("Clamp"))
    assert clamp.source.name == "ADD"
    left_out = next(
        operator for operator in operators if operator.source and operator.source.name == "CUMSUM"
    )
    assert left_out.kind == "CUMSUM"


def test_every_operator_of_an_int8_file_is_seen(networks):
    operators = operator_times(networks["int8"], runs=3)

    sources = {operator.source for operator in operators} - {None}
    assert Counter(source.name for source in sources) == OPERATORS + Counter(QUANTIZE=1, DEQUANTIZE=2)
    for operator in operators:
        if first_words(operator) in ("Convolution", "Fully Connected"):
            assert "QC8" in operator.kind, "int8 with a scale for each channel"


def test_rows_are_in_order_and_add_up(networks):
    operators = operator_times(networks["float32"], runs=3)

    assert [operator.position for operator in operators] == list(range(len(operators)))
    assert operators[-1].kind == REST
    assert all(operator.latency_ms_median >= 0 for operator in operators)
    sum_ms = sum(operator.latency_ms_median for operator in operators)
    for operator in operators:
        assert operator.share == pytest.approx(operator.latency_ms_median / sum_ms)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all_left_out", ["CUMSUM", "CUMSUM"]),
        ("batch", ["CONV_2D"]),
        ("gather", ["CONV_2D", "GATHER"]),
        ("integers", ["ADD"]),
        ("two_partitions", ["CONV_2D", "CUMSUM", "CONV_2D", "ADD"]),
        ("kernel_input", [None, "CONV_2D", None]),  # XNNPACK's Transpose is none of those that can be told
    ],
)
def test_any_model_that_runs_is_profiled(models, name, expected):
    operators = operator_times(models / f"{name}.tflite", runs=1)

    assert [operator.source and operator.source.name for operator in operators[:-1]] == expected


def test_inputs_are_fed(tmp_path):
    # A loop's length is data, so the operators of a run tell what came in.
    def repeat(x, count):
        return tf.while_loop(lambda i, y: i < count, lambda i, y: (i + 1, tf.cumsum(y, axis=1)), (0, x))[1]

    path = tmp_path / "repeat.tflite"
    path.write_bytes(to_tflite(repeat, IMAGE, tf.TensorSpec((), tf.int32)))
    image = np.zeros(IMAGE.shape, "float32")
    for count in (2, 5):
        with ProfiledModel(path, 1, {0: image, 1: np.array(count, "int32")}) as model:
            _, events = model.run()
        assert sum(event.kind == "CUMSUM" for event in events) == count


# What is made of the times.


def test_summarize_by_hand():
    runs = [
        (1.0, [Event("Add (ND)", None, 400), Event("CUMSUM", 3, 100)]),  # the rest is 0.5 ms
        (2.0, [Event("Add (ND)", None, 1200), Event("CUMSUM", 3, 200)]),  # 0.6 ms
        (9.0, [Event("Add (ND)", None, 300), Event("CUMSUM", 3, 8500)]),  # 0.2 ms
    ]
    addition, cumsum = Operator(0, "ADD", "a"), Operator(3, "CUMSUM", "b")

    rows = summarize(runs, delegated=[addition], left_out=[cumsum])

    assert [(row.position, row.kind, row.source) for row in rows] == [
        (0, "Add (ND)", addition),
        (1, "CUMSUM", cumsum),
        (2, REST, None),
    ]
    assert [row.latency_ms_median for row in rows] == pytest.approx([0.4, 0.2, 0.5])
    assert [row.share for row in rows] == pytest.approx([4 / 11, 2 / 11, 5 / 11])


@pytest.mark.parametrize(
    ("kinds", "names", "expected"),
    [
        ("Convolution,Fully Connected", "DEPTHWISE_CONV_2D CONV_2D", [0, 1]),
        ("Add,Clamp,Add", "ADD ADD", [0, 0, 1]),
        (
            "Mean,Static Reshape,Static Reshape",
            "MEAN RESHAPE",
            [0, 1, 1],
        ),  # they take no time: either will do
        ("Convert,Fully Connected", "QUANTIZE FULLY_CONNECTED", [0, 1]),
        ("Convert,Fully Connected,Softmax", "FULLY_CONNECTED SOFTMAX", [0, 0, 1]),  # dynamic quantization
        ("Convolution,Add", "DEQUANTIZE DEQUANTIZE CONV_2D ADD", [2, 3]),  # float16 weights
        ("Convolution,Convert", "CONV_2D DEQUANTIZE", [0, 1]),
        ("Convolution", "CONV_2D ADD", [None]),
        ("Convolution,Add", "ADD CONV_2D", [None, None]),
        ("Clamp,Add", "ADD", [None, None]),
        ("Something New,Add", "ADD", [None, None]),
    ],
)
def test_sources(kinds, names, expected):
    operators = named(names)

    sources = find_sources([f"{kind} (NC, F32)" for kind in kinds.split(",")], operators)

    assert sources == [None if index is None else operators[index] for index in expected]


# Wrong inputs.


def test_counts_and_files_are_checked(models, tmp_path):
    for wrong in ({"threads": 0}, {"runs": 0}):
        with pytest.raises(UserError, match=r": expected at least 1, received 0$"):
            operator_times(models / "plain.tflite", **wrong)
    with pytest.raises(UserError, match="expected a model that LiteRT loads"):
        operator_times(tmp_path / "missing.tflite")


def test_control_flow_is_refused(tmp_path):
    path = tmp_path / "loop.tflite"
    path.write_bytes(
        to_tflite(
            lambda x: tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, conv(y)), (0, x))[1], IMAGE
        )
    )

    with pytest.raises(UserError, match="expected a model of one subgraph, received 3"):
        operator_times(path)


def test_a_runtime_that_fails_is_named(models):
    with pytest.raises(UserError, match=r"received error \d+ of LiteRtCreateModelFromFile"):
        ProfiledModel(models / "notes.tflite", 1, {})
    with pytest.raises(UserError, match="expected an input of 1024 bytes, received 4"):
        ProfiledModel(models / "plain.tflite", 1, {0: np.zeros(1, "float32")})


def test_events_of_another_layout_are_refused(models, monkeypatch):
    monkeypatch.setattr(compiled_model, "_EVENT_TYPES", {1})

    with pytest.raises(UserError, match=r"expected events as ai-edge-litert 2\.3 has them"):
        operator_times(models / "plain.tflite", runs=1)


def test_a_missing_library_is_named(models, monkeypatch, tmp_path):
    compiled_model._library.cache_clear()
    monkeypatch.setattr(ai_edge_litert, "__path__", [str(tmp_path)])

    with pytest.raises(UserError, match="received a LiteRT without it"):
        operator_times(models / "plain.tflite", runs=1)
