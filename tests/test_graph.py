import keras
import numpy as np
import pytest

from sb_keras import graph


def network():
    """A model with a model in it, whose convolution is called twice."""
    inner_inputs = keras.Input((4, 4, 3))
    conv = keras.layers.Conv2D(3, 1, name="conv")
    inner = keras.Model(inner_inputs, conv(conv(inner_inputs)), name="inner")
    inputs = keras.Input((4, 4, 3), name="image")
    return keras.Model(inputs, keras.layers.Add(name="add")([inner(inputs), inputs]))


def test_calls_in_the_order_of_computation():
    model = network()
    assert [node.operation.name for node in graph.nodes(model)] == ["image", "inner", "add"]
    assert [node.operation.name for node in graph.nodes(model.get_layer("inner"))][1:] == ["conv", "conv"]


def test_what_made_a_tensor():
    model = network()
    assert graph.operation_of(model.output) is model.get_layer("add")
    assert graph.operation_of(model.input).name == "image"
    second, _ = reversed(graph.nodes(model.get_layer("inner"))[1:])
    assert graph.node_of(model.get_layer("inner").output) is second
    (between,) = second.input_tensors
    assert graph.node_of(between).input_tensors[0] is model.get_layer("inner").input


def test_what_made_a_tensor_of_tf_keras():
    tf_keras = pytest.importorskip("tf_keras")
    inputs = tf_keras.Input((3,), name="vector")
    assert graph.operation_of(tf_keras.layers.Dense(2, name="dense")(inputs)).name == "dense"


def test_layers_within_a_model():
    model = network()
    names = sorted(layer.name for layer in graph.inner_layers(model))
    inner_input = model.get_layer("inner").layers[0].name
    assert names == sorted(["add", "conv", "image", "inner", inner_input])
    wrapped = keras.Sequential([keras.Input((2, 3)), keras.layers.TimeDistributed(keras.layers.Dense(4))])
    assert "Dense" in [type(layer).__name__ for layer in graph.inner_layers(wrapped)]


class Counting(keras.layers.Layer):
    calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs


@pytest.mark.parametrize(("skip", "calls"), [(False, 2), (True, 1)])
def test_fit_without_symbolic_build(skip, calls):
    """Under a strategy Keras calls a model once more, to build it; skipped, the step alone calls it."""
    tf = pytest.importorskip("tensorflow")
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1), Counting(name="counting")])
        model.compile("sgd", "mse", run_eagerly=True)
    if skip:
        graph.skip_symbolic_build(model)
    model.get_layer("counting").calls = 0
    model.fit(np.ones((2, 3)), np.ones((2, 1)), verbose=0)
    assert model.get_layer("counting").calls == calls
