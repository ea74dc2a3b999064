"""MobileNetV2 with every attention in stock Keras layers, as a user without this package would write it.

Layers are named as this package names them, so that a test can carry its weights over and compare.
"""

import keras
from keras import layers, ops

EXPERTS, TEMPERATURE, LAMBDA = 4, 30.0, 0.1


class Balance(layers.Layer):
    """λ · x, the one thing that Keras has no layer for."""

    def build(self, input_shape):
        self.lambda_ = self.add_weight(
            shape=input_shape[-1:], initializer=keras.initializers.Constant(LAMBDA), name="lambda"
        )

    def call(self, inputs):
        return self.lambda_ * inputs


def mobilenet_v2(network, kind, classes):
    """The network of `benchmarks.networks.Network` with an attention of a kind."""
    inputs = keras.Input((network.image_size, network.image_size, 3))
    filters, strides = network.stem
    x = _norm(_conv(filters, 3, strides, "stem")(inputs), "stem_bn")
    x = layers.ReLU(6.0)(x)
    for number, (channels, expanded, filters, strides) in enumerate(network.blocks(), start=1):
        name, shortcut = f"block{number}", x
        if network.cifar or expanded != channels:
            x = _unit(kind, x, expanded, name=f"{name}_expand")
            x = layers.ReLU(6.0)(x)
        x = _unit(kind, x, expanded, strides, expanded // 6, depthwise=True, name=f"{name}_depthwise")
        x = layers.ReLU(6.0)(x)
        x = _unit(kind, x, filters, name=f"{name}_project")
        if kind == "se-block":
            gate = layers.Activation("sigmoid")(_branch(x, filters, filters, f"{name}_se_excitation"))
            x = layers.Multiply()([x, layers.Reshape((1, 1, filters))(gate)])
        if strides == 1 and channels == filters:
            x = layers.Add()([x, shortcut])
        elif strides == 1 and network.cifar:
            shortcut = _norm(_conv(filters, name=f"{name}_shortcut")(shortcut), f"{name}_shortcut_bn")
            x = layers.Add()([x, shortcut])
    x = layers.ReLU(6.0)(_norm(_conv(1280, name="head")(x), "head_bn"))
    x = layers.GlobalAveragePooling2D()(x)
    if not network.cifar:
        x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", name="predictions")(x))


def _unit(kind, x, filters, strides=1, hidden_units=None, depthwise=False, name=""):
    """Convolution, attention, batch normalization."""
    hidden_units = hidden_units or filters
    if kind == "dyconv":
        return _norm(_dynamic_conv(x, filters, strides, depthwise, name), f"{name}_bn")
    conv = _depthwise_conv(strides, name) if depthwise else _conv(filters, name=name)
    y = conv(x)
    if kind in ("se", "sb"):
        z = _branch(x, hidden_units, filters, f"{name}_{kind}_excitation")
        a = layers.Activation("sigmoid" if kind == "se" else "tanh")(z)
        if kind == "se":
            y = layers.Multiply()([y, layers.Reshape((1, 1, filters))(a)])
        else:
            a = Balance(name=f"{name}_sb")(a)
            y = layers.Add()([y, layers.Reshape((1, 1, filters))(a)])
    return _norm(y, f"{name}_bn")


def _branch(x, hidden_units, units, name, use_bias=False):
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(hidden_units, use_bias=use_bias, name=f"{name}_squeeze")(x)
    x = layers.ReLU()(_norm(x, f"{name}_squeeze_bn"))
    x = layers.Dense(units, use_bias=use_bias, name=f"{name}_excite")(x)
    return _norm(x, f"{name}_excite_bn")


def _dynamic_conv(x, filters, strides, depthwise, name):
    """n convolutions and the weighted sum of what they give."""
    z = _branch(x, max(1, x.shape[-1] // 4), EXPERTS, f"{name}_routing", use_bias=True)
    weights = ops.softmax(z / TEMPERATURE)
    products = []
    for k in range(EXPERTS):
        expert = f"{name}_kernel{k}"
        conv = _depthwise_conv(strides, expert) if depthwise else _conv(filters, name=expert)
        weight = layers.Reshape((1, 1, 1))(weights[:, k : k + 1])
        products.append(layers.Multiply()([conv(x), weight]))
    return layers.Add()(products)


def _conv(filters, kernel_size=1, strides=1, name=None):
    return layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False, name=name)


def _depthwise_conv(strides, name):
    return layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False, name=name)


def _norm(x, name):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
