"""The networks that are measured, and one training step of each in several implementations."""

import dataclasses
import importlib.util
import sys

from sb_keras.models.mobilenet_v2 import CIFAR_STAGES, STAGES
from sb_keras.models.stages import make_divisible

KINDS = ("static", "se-block", "se", "sb", "dyconv")
CLASSES = 10
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
OPTIMIZERS = ("sgd", "adamw")


@dataclasses.dataclass(frozen=True)
class Network:
    """A MobileNetV2: of CIFAR's kind for images of 32 pixels, else of ImageNet's."""

    width: float
    image_size: int
    batch_size: int

    @property
    def name(self):
        return f"x{self.width:g} at {self.image_size} px"

    @property
    def cifar(self):
        return self.image_size == 32

    @property
    def stem(self):
        """Channels and stride of the first convolution."""
        return (16, 1) if self.cifar else (make_divisible(32 * self.width), 2)

    def blocks(self):
        """Input channels, expanded channels, output channels and stride of every inverted residual."""
        channels = self.stem[0]
        for stage in CIFAR_STAGES if self.cifar else STAGES:
            filters = make_divisible(stage.filters * self.width)
            for repeat in range(stage.repeats):
                yield channels, channels * stage.expand_ratio, filters, 1 if repeat else stage.strides
                channels = filters


NETWORKS = (Network(0.35, 32, 128), Network(1.0, 32, 64), Network(0.5, 224, 32))


def images_and_labels(network):
    """A batch of random numbers; what a step costs does not depend on them."""
    import numpy as np

    generator = np.random.default_rng(0)
    shape = (network.batch_size, network.image_size, network.image_size, 3)
    images = generator.normal(size=shape).astype("float32")
    return images, generator.integers(0, CLASSES, network.batch_size)


def sb_keras_model(network, kind, optimizer="sgd", precision="float32"):
    """This package's network and optimizer, compiled."""
    import keras

    import sb_keras

    keras.config.set_dtype_policy(precision)
    model = sb_keras_network(network, kind)
    if optimizer == "sgd":
        optimizer = sb_keras.optimizers.SGD(LEARNING_RATE, MOMENTUM, coupled_weight_decay=WEIGHT_DECAY)
    else:
        optimizer = sb_keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def sb_keras_network(network, kind):
    """This package's network."""
    import sb_keras

    builder = sb_keras.CifarMobileNetV2 if network.cifar else sb_keras.MobileNetV2
    size = network.image_size
    return builder((size, size, 3), network.width, attention=kind, classes=CLASSES)


def stock_keras_model(network, kind, optimizer="sgd"):
    """The same network in stock Keras layers, with Keras's optimizer."""
    import keras

    from benchmarks.stock_keras import mobilenet_v2

    model = mobilenet_v2(network, kind, CLASSES)
    if optimizer == "sgd":
        optimizer = keras.optimizers.SGD(LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    else:
        optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def step_products(network, kind):
    """Multiply-adds of a step: the forward pass, and twice as many for the two gradients."""
    import sb_keras

    return 3 * network.batch_size * sb_keras.profile(sb_keras_model(network, kind)).total.madds


def sb_keras_step(network, kind, optimizer="sgd", precision="float32"):
    """One step of this package's network."""
    return _keras_step(sb_keras_model(network, kind, optimizer, precision), network)


def sb_keras_on_jax_step(network, kind, optimizer="sgd"):
    """One step of this package's network on JAX, compiled, in a process with `ENVIRONMENTS`."""
    model, batch = sb_keras_model(network, kind, optimizer), images_and_labels(network)

    def step():
        return float(model.train_on_batch(*batch, return_dict=True)["loss"])

    return step


def stock_keras_step(network, kind, optimizer="sgd"):
    """One step of the network in stock Keras layers."""
    return _keras_step(stock_keras_model(network, kind, optimizer), network)


def _keras_step(model, network):
    import tensorflow as tf

    from recipes.tasks import TASKS

    TASKS["classification"].create_state(model, CLASSES)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(images_and_labels(network)).repeat())

    def step():
        return float(model.train_function(batches)["loss"])

    return step


def pytorch_step(network, kind, optimizer="sgd"):
    """One step of the same network in PyTorch, channels last."""
    import torch

    from benchmarks.pytorch import MobileNetV2

    torch.manual_seed(0)
    model = MobileNetV2(network, kind, CLASSES)
    if optimizer == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(), LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    images, labels = (torch.from_numpy(array) for array in images_and_labels(network))
    images = images.permute(0, 3, 1, 2)  # which are channels last in memory

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


IMPLEMENTATIONS = {
    "sb_keras": sb_keras_step,
    "sb_keras on JAX": sb_keras_on_jax_step,
    "stock Keras": stock_keras_step,
    "PyTorch": pytorch_step,
}
# What a process's environment must have before it imports anything.
ENVIRONMENTS = {"sb_keras on JAX": {"KERAS_BACKEND": "jax"}}
_NEEDS = {"sb_keras on JAX": "jax", "PyTorch": "torch"}


def installed():
    """The implementations of which the package is there; says which are left out."""
    missing = [name for name, package in _NEEDS.items() if importlib.util.find_spec(package) is None]
    for name in missing:
        print(f"{name} is left out: {_NEEDS[name]} is not installed", file=sys.stderr)
    return {name: step for name, step in IMPLEMENTATIONS.items() if name not in missing}
