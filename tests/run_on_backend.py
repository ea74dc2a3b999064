"""Runs every model in a folder on the backend of KERAS_BACKEND, for test_backends.py.

    KERAS_BACKEND=jax python tests/run_on_backend.py FOLDER

For every NAME.keras with NAME.npz (inputs x, perhaps targets y) it writes NAME.BACKEND.npz: the output for x,
then, given y, the loss of one training step and the weights after it. The backend is fixed when Keras is
imported, so that this is a program of its own.
"""

import pathlib
import sys

import keras
import numpy as np

import sb_keras  # registers the layers


def zeros(self, shape, dtype=None):
    return np.zeros(shape, dtype or "float32")


def run(path):
    model = keras.saving.load_model(path, safe_mode=True)
    data = np.load(path.with_suffix(".npz"))
    # TensorFlow takes longer to compile a step than to run one.
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=keras.backend.backend() == "tensorflow")
    results = {"output": model.predict_on_batch(data["x"])}
    if "y" in data:
        results["loss"] = model.train_on_batch(data["x"], data["y"])
        results |= {f"weight{i}": weight for i, weight in enumerate(model.get_weights())}
    np.savez(path.with_suffix(f".{keras.backend.backend()}.npz"), **results)


if __name__ == "__main__":
    assert sb_keras.__version__
    # What a file overwrites: JAX would compile a generator of random numbers for every shape.
    for kind in (keras.initializers.VarianceScaling, keras.initializers.RandomNormal):
        kind.__call__ = zeros
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
        run(path)
