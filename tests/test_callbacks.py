from typing import Any

import keras
import numpy as np
import pytest

from sb_keras.callbacks import TemperatureAnnealing
from sb_keras.graph import inner_layers
from sb_keras.layers import DynamicConv, DynamicConv2D, DynamicDepthwiseConv2D


def network():
    """Dynamic convolutions in the model and in a model within it."""
    inner_inputs = keras.Input((4, 4, 5))
    inner = keras.Model(inner_inputs, DynamicDepthwiseConv2D(3, name="inner")(inner_inputs))
    inputs = keras.Input((4, 4, 3))
    x = inner(DynamicConv2D(5, 1, name="outer")(inputs))
    x = DynamicConv2D(2, 1, gate="sigmoid", name="condconv")(x)
    return keras.Model(inputs, x)


def dynamic_layers(model) -> dict[str, Any]:
    return {layer.name: layer for layer in inner_layers(model) if isinstance(layer, DynamicConv)}


def temperatures(model):
    layers = dynamic_layers(model)
    assert layers["condconv"].temperature is None
    return [float(layers[name].temperature) for name in ("outer", "inner")]


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.temperatures = []

    def on_train_batch_begin(self, batch, logs=None):
        self.temperatures.append(temperatures(self.model))


def fit(model, callbacks, **arguments):
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 3)).astype("float32")
    y = np.zeros((4, 4, 4, 2), "float32")
    return model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks, **arguments)


def test_temperature_of_every_epoch():
    model, recorder = network(), Recorder()
    model.compile("sgd", "mse")
    fit(model, [TemperatureAnnealing(30, 1, 10), recorder], epochs=12)
    expected = [30, 27.1, 24.2, 21.3, 18.4, 15.5, 12.6, 9.7, 6.8, 3.9, 1, 1]
    np.testing.assert_allclose(recorder.temperatures, np.stack([expected, expected], axis=1), rtol=1e-6)


def test_goes_on_where_a_training_goes_on(tmp_path):
    model = network()
    model.compile("sgd", "mse")
    fit(model, [TemperatureAnnealing(30, 1, 10)], epochs=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(temperatures(loaded), [24.2, 24.2], rtol=1e-6)
    fit(loaded, [TemperatureAnnealing(30, 1, 10)], epochs=6, initial_epoch=5)
    np.testing.assert_allclose(temperatures(loaded), [15.5, 15.5], rtol=1e-6)


def test_changes_the_compiled_step():
    """The loss of the second epoch, with all weights as in the first, is that of the new temperature."""
    model = network()
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    losses = fit(model, [TemperatureAnnealing(10, 0.1, 1)], epochs=2).history["loss"]
    assert abs(losses[1] - losses[0]) > 0.01 * losses[0]

    unchanged = fit(model, [TemperatureAnnealing(0.1, 0.1, 1)], epochs=2).history["loss"]
    np.testing.assert_allclose(unchanged, losses[1], rtol=1e-5)  # the order of a parallel sum


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 0}, r"`start` must be a positive"),
        ({"end": -1}, r"`end` must be a positive"),
        ({"end": float("nan")}, r"`end` must be a positive"),
        ({"start": "hot"}, r"`start` must be a positive"),
        ({"epochs": 0}, r"`epochs` must be at least 1. Received: epochs=0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TemperatureAnnealing(**arguments)
