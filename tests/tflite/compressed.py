"""A network to compress, and pictures for it; the fixtures are in conftest.py."""

import keras

from recipes.compression import Compression
from sb_keras.layers import BatchNormalization, ShiftBalance, SqueezeExcite

# So small a rate that the weights keep all digits that are compared.
FROZEN = Compression(epochs=1, learning_rate=1e-12, sparsity=0.6, clusters=4)


def attention_network(kind):
    """Every operator of a folded MobileNetV2 with attention, once."""
    x = inputs = keras.Input((16, 16, 3), name="image")
    stem = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")
    x = keras.layers.ReLU(6.0)(BatchNormalization()(stem(x)))
    trunk = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    if kind == "sb":
        trunk = ShiftBalance(lambda_init=0.5, name="attention")([trunk, x])
    elif kind == "se":
        trunk = SqueezeExcite(name="attention")([trunk, x])
    y = keras.layers.ReLU(6.0)(BatchNormalization()(trunk))
    y = keras.layers.Add()([x, BatchNormalization()(keras.layers.Conv2D(8, 1, name="project")(y))])
    y = keras.layers.GlobalAveragePooling2D()(y)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="classes")(y))


def noise(rng):
    """64 pictures of different colors and contrasts."""
    color = rng.normal(size=(64, 1, 1, 3))
    return (color + rng.uniform(0.1, 2.0, (64, 1, 1, 1)) * rng.normal(size=(64, 16, 16, 3))).astype("float32")


def kernels(model):
    """The kernels of a folded model by layer."""
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.weights}


def is_depthwise(name):
    return name == "depthwise" or name.endswith("_lambda")
