"""Tests of what the web page says about a model, in headless Chromium, against LiteRT in Python."""

import base64
import warnings
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from page import WEB, drop
from small_models import IMAGE, allocated, conv, to_tflite

from tflite.convert import convert
from tflite.delegation import find_delegation
from tflite.metadata import Metadata, add_metadata

pytestmark = pytest.mark.long

NOISE = np.random.default_rng(0).normal(size=(20, 1, 8, 8, 4)).astype("float32")
DOUBLED = np.array([1, 16, 16, 4])
FRAME = [(0, 0), (1, 1), (1, 1), (0, 0)]
# Each between two convolutions, so that it is neither the first operator nor the last.
OPERATIONS: dict[str, Any] = {
    "unary": lambda x: tf.exp(tf.abs(tf.sin(x))) + tf.math.log(tf.square(x) + 1),
    "activations": lambda x: tf.nn.elu(tf.nn.leaky_relu(x)) + tf.sigmoid(x) * tf.tanh(x) + tf.nn.gelu(x),
    "binary": lambda x: tf.maximum(x, 1 - x) / (x * x + 1) - tf.math.squared_difference(x, 0.5),
    "pooling": lambda x: tf.nn.avg_pool2d(tf.nn.max_pool2d(x, 2, 2, "SAME"), 1, 2, "VALID"),
    "reductions": lambda x: x * tf.reduce_mean(x, [1, 2], True) - tf.reduce_max(x, 3, True),
    "sums": lambda x: x + tf.reduce_sum(x, 1, True) + tf.reduce_prod(x, 3, True),
    "padding": lambda x: tf.pad(x, FRAME) + tf.pad(x, FRAME, "REFLECT"),
    "resizing": lambda x: tf.image.resize(x, (16, 16)) + tf.image.resize(x, (16, 16), "nearest"),
    "slices": lambda x: x[:, 1:5, 2:6] + x[:, ::2, ::2],
    "shapes": lambda x: tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (1, 4, 16, 4)),
    "blocks": lambda x: tf.nn.depth_to_space(tf.nn.space_to_depth(x, 2), 2),
    "parts": lambda x: tf.concat(tf.split(x, 2, 3) * 2, 3) + tf.concat([x[:, :, :, :1]] * 8, 3),
    "matrices": lambda x: x @ tf.transpose(x, (0, 1, 3, 2)) @ x,
    "softmax": lambda x: tf.nn.softmax(x) + tf.nn.log_softmax(x),
    "transposed": lambda x: tf.nn.conv2d_transpose(x, np.ones((2, 2, 4, 4), "float32"), DOUBLED, 2),
}


@pytest.fixture(scope="module")
def page(open_page):
    return open_page(WEB)


def said(page, content):
    """What the page reads of a file: all operators, and those outside XNNPACK."""
    return page.evaluate(
        """async (text) => {
            const { readTflite } = await import("/tflite_file.js");
            const file = await readTflite(Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)));
            return [file.operators, file.outsideXnnpack];
        }""",
        base64.b64encode(content).decode(),
    )


def assert_same(page, path):
    interpreter = allocated(path)
    expected = [operator.name for operator in find_delegation(interpreter).left_out]
    operators = [node["op_name"] for node in interpreter._get_ops_details() if node["op_name"] != "DELEGATE"]
    assert said(page, path.read_bytes()) == [operators, expected]


@pytest.mark.parametrize(
    "name",
    ["plain", "gather", "two_partitions", "kernel_input", "outputs", "half", "all_left_out", "integers"],
)
def test_page_knows_what_xnnpack_leaves_of_small_models(page, models, name):
    assert_same(page, models / f"{name}.tflite")


def test_page_knows_what_xnnpack_leaves_of_its_own_model(page):
    (path,) = (WEB / "models").glob("*.tflite")
    assert_same(page, path)


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic", "int8"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_page_knows_what_xnnpack_leaves_of_operations(page, tmp_path, name, kind):
    settings: dict = {} if kind == "float32" else {"optimizations": [tf.lite.Optimize.DEFAULT]}
    if kind == "float16":
        settings["supported_types"] = [tf.float16]
    if kind == "int8":
        settings["representative_dataset"] = lambda: ([image] for image in NOISE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter asks for statistics that it then takes itself
        content = to_tflite(lambda x: conv(OPERATIONS[name](conv(x))), IMAGE, **settings)
    path = tmp_path / "model.tflite"
    path.write_bytes(content)

    assert_same(page, path)


def classifier(folder, name, layer, labels=None):
    """Writes a classifier of colors with a layer; its path."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    scores = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(layer(x)))
    content = convert(keras.Model(inputs, scores), "float32")
    if labels:
        content = add_metadata(content, Metadata(name=name, labels=labels, mean=(0.0,) * 3, std=(1.0,) * 3))
    (folder / f"{name}.tflite").write_bytes(content)
    return folder / f"{name}.tflite"


class Cumsum(keras.layers.Layer):
    def call(self, x):
        return tf.cumsum(tf.nn.relu(tf.cumsum(x, axis=1)), axis=2) + tf.reverse(x, [1])


def test_page_describes_a_dropped_model(page, tmp_path):
    path = classifier(tmp_path, "cumsum", Cumsum(), ("red", "green", "blue"))
    names, left_out = said(page, path.read_bytes())
    drop(page, path)

    assert page.inner_text("#model-name") == "cumsum.tflite"
    assert page.inner_text("#model-details") == (
        f"{path.stat().st_size / 1e6:.2f} MB · float32 · 8 × 8 px · 3 classes · 3 labels"
    )
    assert sorted(left_out) == ["CUMSUM", "CUMSUM", "REVERSE_V2"]
    assert page.inner_text("#model-operators") == (
        f"{len(names)} operators, outside XNNPACK: 2 × CUMSUM, REVERSE_V2"
    )


def test_page_describes_a_model_that_xnnpack_has_all_of(page, tmp_path):
    path = classifier(tmp_path, "plain", keras.layers.ReLU())
    names, left_out = said(page, path.read_bytes())
    drop(page, path)

    assert left_out == []
    assert page.inner_text("#model-details").endswith("· 3 classes · no labels")
    assert page.inner_text("#model-operators") == f"{len(names)} operators, all in XNNPACK"


def test_page_does_not_claim_what_its_rules_alone_say(page):
    """LiteRT.js tells whether XNNPACK has all operators: a rule that is wrong some day must not hide that."""
    describe = """(model) => import("/describe.js").then((module) => module.describeOperators(model))"""
    file = {"operators": ["ADD", "MUL"], "outsideXnnpack": []}

    assert page.evaluate(describe, {"file": file, "isAllInXnnpack": False}) == (
        "2 operators, not all of them in XNNPACK"
    )
    file["outsideXnnpack"] = ["MUL"]
    assert page.evaluate(describe, {"file": file, "isAllInXnnpack": True}) == "2 operators, all in XNNPACK"
