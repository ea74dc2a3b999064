"""The networks that this package is compared with are the same networks."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import sb_keras
from benchmarks import networks
from benchmarks.networks import KINDS, NETWORKS, Network, sb_keras_model, stock_keras_model
from sb_keras.models import mobilenet_v2

pytestmark = pytest.mark.long


@pytest.fixture
def small(monkeypatch):
    """A network of three blocks: with and without stride, expansion and projection of the shortcut."""
    stages = tuple(dataclasses.replace(stage, repeats=1) for stage in mobilenet_v2.CIFAR_STAGES[:3])
    monkeypatch.setattr(mobilenet_v2, "CIFAR_STAGES", stages)
    monkeypatch.setattr(networks, "CIFAR_STAGES", stages)
    return Network(0.35, 32, 16)


def carry_over(ours, stock, rng):
    """Gives both networks the same random weights."""
    values = {weight.path.replace("/", "_"): weight for weight in ours.weights}
    for path, weight in list(values.items()):
        if path.endswith("kernel") and f"{path.removesuffix('_kernel')}_temperature" in values:
            for k in range(weight.shape[0]):  # one dynamic kernel is several layers there
                values[path.removesuffix("kernel") + f"kernel{k}_kernel"] = weight[k]
    for weight in stock.weights:
        value = weight.numpy()
        path = weight.path.replace("/", "_")
        ours_shape = np.shape(values[path])
        if weight.name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.name in ("beta", "bias", "moving_mean"):
            value = 0.2 * rng.normal(size=weight.shape)
        weight.assign(value)
        if isinstance(values[path], keras.Variable):
            values[path].assign(np.reshape(weight.numpy(), ours_shape))
        else:  # a part of a dynamic kernel
            whole = next(w for w in ours.weights if path.startswith(w.path.replace("/", "_")))
            kernels = whole.numpy()
            kernels[int(path.split("kernel")[-2][0])] = np.reshape(weight.numpy(), ours_shape)
            whole.assign(kernels)


@pytest.mark.parametrize("kind", KINDS)
def test_stock_keras_computes_the_same(small, kind, rng):
    ours, stock = sb_keras_model(small, kind), stock_keras_model(small, kind)
    carry_over(ours, stock, rng)
    x = rng.normal(size=(16, 32, 32, 3)).astype("float32")
    for training in (False, True):
        # Sums of some hundred products in float32, through a dozen layers.
        np.testing.assert_allclose(
            ours(x, training=training), stock(x, training=training), rtol=2e-4, atol=1e-6
        )


@pytest.mark.parametrize(
    "kind", ["sb", *(pytest.param(k, marks=pytest.mark.slow) for k in ("static", "se", "dyconv"))]
)
def test_twenty_steps_stay_as_close_to_stock_keras_as_rounding_lets_them(small, kind, rng):
    """What was made fast (passes, rows, products, the optimizer) changes nothing but the rounding.

    An attention branch normalizes what hardly varies over a batch and so multiplies rounding errors, and
    twenty steps do the rest: the yardstick is stock Keras with inputs that differ by the rounding of a
    few dozen layers.
    """
    ours, stock = sb_keras_model(small, kind), stock_keras_model(small, kind)
    carry_over(ours, stock, rng)
    x = rng.normal(size=(16, 32, 32, 3)).astype("float32")
    y = rng.integers(0, 10, 16)

    def compiled(model, optimizer):
        model.compile(optimizer, "sparse_categorical_crossentropy")
        optimizer.build(model.trainable_variables)
        return model

    def losses(model, x):
        data = tf.data.Dataset.from_tensors((x, y)).repeat()
        history = model.fit(data, epochs=20, steps_per_epoch=1, shuffle=False, verbose=0).history
        return np.array(history["loss"])

    actual = losses(compiled(ours, sb_keras.optimizers.SGD(0.002, momentum=0.9)), x)
    compiled(stock, keras.optimizers.SGD(0.002, momentum=0.9))
    state = [*stock.weights, *stock.optimizer.variables]
    initial = [value.numpy() for value in state]
    expected = losses(stock, x)
    assert expected[-1] < 0.9 * expected[0], "it does not train"
    noises = []
    for _ in range(3):
        for variable, value in zip(state, initial, strict=True):
            variable.assign(value)
        nudged = x * (1 + 1e-6 * rng.normal(size=x.shape)).astype("float32")
        noises.append(np.abs(losses(stock, nudged) - expected))
    # Three draws of a noise say how large another may be to a factor; 1e-6 is the loss rounding itself.
    noise = np.maximum.accumulate(np.max(noises, axis=0))
    assert (np.abs(actual - expected) <= 1e-6 + 20 * noise).all()


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_has_as_many_parameters(network, kind):
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch import MobileNetV2

    with torch.device("meta"), keras.StatelessScope(initialize_variables=False):  # shapes, no values
        model, ours = MobileNetV2(network, kind, networks.CLASSES), networks.sb_keras_network(network, kind)
    keras.utils.clear_session()  # the weights never will be drawn
    expected = sb_keras.profile(ours).total.parameters
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
