"""Tests of variables that TensorFlow calls alike: to Keras they are as before."""

import keras
import numpy as np

import sb_keras
from recipes.keras_file import load_model, variables_of_one_name


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 3))
    trunk = keras.layers.Conv2D(4, 3, padding="same")(inputs)
    x = sb_keras.layers.ShiftBalance(2)([trunk, inputs])
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Dense(4)(x)))
    model.compile(sb_keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def names(model):
    return {variable.value.name for variable in [*model.variables, *model.optimizer.variables]}


def test_keras_knows_them_apart(tmp_path):
    keras.utils.clear_session()  # layers are numbered from 0
    expected = network()
    keras.utils.clear_session()
    with variables_of_one_name():
        model = network()
    assert names(model) == {"variable:0"}
    assert len(names(expected)) > 5
    for mine, theirs in zip(model.variables, expected.variables, strict=True):
        assert mine.path == theirs.path
        np.testing.assert_array_equal(mine, theirs)
    assert [each.path for each in model.optimizer.variables] == [
        each.path for each in expected.optimizer.variables
    ]
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    # Threads sum in an order of their own.
    np.testing.assert_allclose(*(each.train_on_batch(x, x[..., :1]) for each in (model, expected)), rtol=1e-5)

    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert names(loaded) == {"variable:0"}
    np.testing.assert_allclose(loaded(x), expected(x), rtol=1e-4, atol=1e-6)
    assert names(network()) != {"variable:0"}  # behind the block they are called as ever
