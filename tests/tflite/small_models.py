"""Small .tflite models of which it is known what XNNPACK takes, and some that cannot be measured."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

IMAGE: Any = tf.TensorSpec((1, 8, 8, 4), tf.float32)
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 4)).astype("float32")


def conv(inputs, kernel=KERNEL):
    return tf.nn.relu6(tf.nn.conv2d(inputs, kernel, 1, "SAME"))


def to_tflite(function, *specs, **settings) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(function).get_concrete_function(*specs)]
    )
    for name, value in settings.items():
        owner = converter.target_spec if name.startswith("supported_") else converter
        setattr(owner, name, value)
    return converter.convert()


def write_models(folder: Path) -> None:
    """Writes the models; the names of those that cannot be measured say what is wrong with them."""
    half = {"optimizations": [tf.lite.Optimize.DEFAULT], "supported_types": [tf.float16]}
    flex = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]}
    contents = {
        "plain": to_tflite(lambda x: conv(conv(x)), IMAGE),
        "gather": to_tflite(lambda x: tf.gather(conv(x), [2, 0], axis=3), IMAGE),
        "two_partitions": to_tflite(lambda x: conv(x) + conv(tf.cumsum(conv(x), axis=1)), IMAGE),
        "kernel_input": to_tflite(
            lambda x, kernel: conv(conv(x, kernel)), IMAGE, tf.TensorSpec(KERNEL.shape, tf.float32)
        ),
        "outputs": to_tflite(lambda x: (*tf.split(conv(x), 2, axis=3), tf.cumsum(x, axis=1)), IMAGE),
        "half": to_tflite(lambda x: conv(tf.cumsum(conv(x), axis=2)), IMAGE, **half),
        "all_left_out": to_tflite(lambda x: tf.cumsum(tf.cumsum(x, axis=1), axis=2), IMAGE),
        "integers": to_tflite(lambda x: x + 1, tf.TensorSpec((2, 3), tf.int32)),
        "batch": to_tflite(lambda x: conv(x), tf.TensorSpec((None, 8, 8, 4), tf.float32)),
        "any_size": to_tflite(lambda x: conv(x), tf.TensorSpec((1, None, None, 4), tf.float32)),
        "complex": to_tflite(tf.math.real, tf.TensorSpec((2,), tf.complex64)),
        "index": to_tflite(lambda i: tf.gather(KERNEL, i), tf.TensorSpec((1,), tf.int32)),
        "flex": to_tflite(lambda x: tf.linalg.inv(tf.matmul(x, x, transpose_b=True)), IMAGE, **flex),
    }
    contents["custom"] = contents["flex"].replace(b"FlexMatrixInverse", b"MineMatrixInverse")
    contents["cut"] = contents["plain"][:-100]
    for name, content in contents.items():
        (folder / f"{name}.tflite").write_bytes(content)
    (folder / "notes.tflite").write_text("not a model at all")


def allocated(path: Path, **settings) -> Interpreter:
    interpreter = Interpreter(str(path), **settings)
    interpreter.allocate_tensors()
    return interpreter
