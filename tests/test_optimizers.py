from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from sb_keras.optimizers import SGD, AdamW

STEPS = 7
VARIANTS = [
    {"momentum": 0.9, "weight_decay": 0.05, "nesterov": False},
    {"momentum": 0.9, "weight_decay": 0.05, "nesterov": True},
    {"momentum": 0.0, "weight_decay": 0.05, "nesterov": False},
    {"momentum": 0.9, "weight_decay": 0.0, "nesterov": False},
    {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
]
# A few roundings of single precision a step, on numbers up to about 3.
TOLERANCE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def problem(rng):
    """Two weights' initial values, and a gradient of each and a learning rate for every step."""
    shapes = [(3, 4), (4,)]
    initial = [rng.normal(size=shape).astype("float32") for shape in shapes]
    gradients = [[rng.normal(size=shape).astype("float32") for shape in shapes] for _ in range(STEPS)]
    return initial, gradients, [0.1, 0.1, 0.05, 0.05, 0.2, 0.01, 0.0]


def steps_of_this_package(problem, momentum, weight_decay, nesterov):
    initial, gradients, learning_rates = problem
    variables = [keras.Variable(value) for value in initial]
    optimizer = SGD(momentum=momentum, coupled_weight_decay=weight_decay, nesterov=nesterov)
    for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
        optimizer.learning_rate = learning_rate
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradient], variables)
        yield [keras.ops.convert_to_numpy(variable) for variable in variables]


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_torch(problem, variant):
    torch = pytest.importorskip("torch", reason="compares with torch.optim.SGD")
    initial, gradients, learning_rates = problem
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in initial]
    optimizer = torch.optim.SGD(parameters, lr=0.1, **variant)
    actual = steps_of_this_package(problem, **variant)
    for gradient, learning_rate, ours in zip(gradients, learning_rates, actual, strict=True):
        optimizer.param_groups[0]["lr"] = learning_rate
        for parameter, value in zip(parameters, gradient, strict=True):
            parameter.grad = torch.tensor(value)
        optimizer.step()
        for a, b in zip(ours, parameters, strict=True):
            np.testing.assert_allclose(a, b.detach().numpy(), **TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_formulas(problem, variant):
    """Those of PyTorch's documentation, in double precision."""
    initial, gradients, learning_rates = problem
    weights = [value.astype("float64") for value in initial]
    velocities = [np.zeros(w.shape) for w in weights]
    momentum = variant["momentum"]
    actual = steps_of_this_package(problem, **variant)
    for gradient, learning_rate, ours in zip(gradients, learning_rates, actual, strict=True):
        for i in range(len(weights)):
            g = gradient[i] + variant["weight_decay"] * weights[i]
            velocities[i] = momentum * velocities[i] + g
            step = g + momentum * velocities[i] if variant["nesterov"] else velocities[i]
            weights[i] = weights[i] - learning_rate * step
            np.testing.assert_allclose(ours[i], weights[i], **TOLERANCE)


def compiled(seed=0):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((5,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.compile(SGD(0.05, momentum=0.9, coupled_weight_decay=0.01), "mse")
    return model


def fit(model, data, epochs):
    model.fit(*data, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


@pytest.fixture
def data(rng):
    return rng.normal(size=(24, 5)).astype("float32"), rng.normal(size=(24, 3)).astype("float32")


def test_stopping_and_going_on_is_not_stopping(data, tmp_path):
    straight = compiled()
    fit(straight, data, epochs=4)

    stopped = compiled()
    fit(stopped, data, epochs=2)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.optimizer) is SGD
    assert loaded.optimizer.get_config() == stopped.optimizer.get_config()
    assert loaded.optimizer.coupled_weight_decay == 0.01
    fit(loaded, data, epochs=2)
    for a, b in zip(loaded.get_weights(), straight.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    forgetful = compiled()
    fit(forgetful, data, epochs=2)
    forgetful.compile(SGD(0.05, momentum=0.9, coupled_weight_decay=0.01), "mse")
    fit(forgetful, data, epochs=2)
    assert np.abs(forgetful.get_weights()[0] - straight.get_weights()[0]).max() > 1e-3  # the velocity matters


def test_half_precision_training_is_close_to_single(data):
    """Keras scales the loss for float16; decay and momentum must see unscaled gradients."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = compiled()
    finally:
        keras.config.set_dtype_policy(before)
    assert type(half.optimizer) is keras.optimizers.LossScaleOptimizer
    assert type(half.optimizer.inner_optimizer) is SGD
    # A step whose gradients overflow is skipped, and the scale halved; start below that.
    half.optimizer.initial_scale = 128.0
    single = compiled()
    start = single.get_weights()
    for model in (half, single):
        fit(model, data, epochs=2)
    for a, b, s in zip(half.get_weights(), single.get_weights(), start, strict=True):
        assert a.dtype == "float32"
        # Roundings of 2⁻¹¹ in the gradients, over six steps, against the way that the weights went.
        np.testing.assert_allclose(a, b, atol=0.02 * np.abs(b - s).max())


@pytest.mark.parametrize("weight_decay", [-1e-4, float("nan"), float("inf")])
def test_wrong_weight_decay(weight_decay):
    with pytest.raises(
        ValueError, match=f"`coupled_weight_decay` must .* coupled_weight_decay={weight_decay}"
    ):
        SGD(coupled_weight_decay=weight_decay)


def test_a_weight_decay_in_nesterovs_place():
    with pytest.raises(ValueError, match=r"`nesterov` must be True or False\. Received: nesterov=0\.0005"):
        SGD(0.1, 0.9, 5e-4)  # pyright: ignore[reportArgumentType]


def test_wrong_momentum():
    with pytest.raises(ValueError, match="momentum"):
        SGD(momentum=1.5)


@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_learning_rates_by_layer(optimizer, rng):
    """A step with a factor is the step of another learning rate; of nested layers the innermost counts."""

    def moved(learning_rate, **kwargs):
        keras.utils.set_random_seed(0)
        inner = keras.Sequential([keras.layers.Dense(3, name="first"), keras.layers.Dense(3, name="second")])
        inner.name = "trunk"
        model = keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2, name="head")])
        model.compile(optimizer(learning_rate, weight_decay=0.0, **kwargs), "mse")
        before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
        model.train_on_batch(*batch)
        return [
            keras.ops.convert_to_numpy(weight) - b for weight, b in zip(model.weights, before, strict=True)
        ]

    batch = rng.normal(size=(5, 4)).astype("float32"), rng.normal(size=(5, 2)).astype("float32")
    plain, doubled, tenfold = (moved(rate) for rate in (0.01, 0.02, 0.1))
    mixed = moved(0.01, learning_rate_multipliers={"trunk": 2.0, "second": 10.0})
    for index, expected in enumerate([*doubled[:2], *tenfold[2:4], *plain[4:]]):
        assert np.any(expected), index
        np.testing.assert_allclose(mixed[index], expected, rtol=1e-4, atol=1e-7)  # differences of float32


def test_multipliers_are_saved_and_unknown_layers_refused():
    for optimizer in (
        SGD(learning_rate_multipliers={"head": 10.0}),
        AdamW(learning_rate_multipliers={"x": 0.5}),
    ):
        copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
        assert copy.learning_rate_multipliers == optimizer.learning_rate_multipliers
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    with pytest.raises(ValueError, match=r"must name layers with trainable weights\. Received: haed"):
        SGD(learning_rate_multipliers={"haed": 10.0}).build(model.trainable_variables)
    with pytest.raises(ValueError, match="positive, finite"):
        SGD(learning_rate_multipliers={"head": 0.0})


def test_adamw_is_keras_own(problem):
    initial, gradients, learning_rates = problem
    values = []
    for make in (AdamW, keras.optimizers.AdamW):
        variables, optimizer = [keras.Variable(value) for value in initial], make(weight_decay=0.1)
        for gradient, learning_rate in zip(gradients, learning_rates, strict=True):
            optimizer.learning_rate = learning_rate
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradient], variables)
        values.append([keras.ops.convert_to_numpy(variable) for variable in variables])
    for ours, theirs in zip(*values, strict=True):
        np.testing.assert_allclose(ours, theirs, **TOLERANCE)  # TensorFlow's kernel rounds in another order


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_many_weights_of_all_shapes(rng, optimizer, in_graph):
    """On TensorFlow some thirty are updated at a time, here 25, and those without decay apart."""
    shapes = [tuple(rng.integers(1, 5, rng.integers(0, 5))) for _ in range(75)]
    weights = [keras.Variable(rng.normal(size=shape), name=f"weight{i}") for i, shape in enumerate(shapes)]
    initial = [keras.ops.convert_to_numpy(weight).astype("float64") for weight in weights]
    settings: dict[str, Any] = (
        {"coupled_weight_decay": 0.02} if optimizer is SGD else {"weight_decay": 0.5, "epsilon": 1e-3}
    )
    ours = optimizer(0.1, **settings)
    if optimizer is AdamW:
        ours.exclude_from_weight_decay(var_names=["weight1"])  # and 10 to 19
    gradients = [[rng.normal(size=shape) for shape in shapes] for _ in range(3)]
    ours.build(weights)

    def apply(values):
        ours.apply(values, weights)

    apply = tf.function(apply) if in_graph else apply
    for gradient in gradients:
        apply([tf.constant(g, "float32") for g in gradient])

    for i, (expected, weight) in enumerate(zip(initial, weights, strict=True)):
        first = second = np.zeros(shapes[i])
        for step, gradient in enumerate([g[i] for g in gradients], start=1):
            if optimizer is SGD:
                first = 0.9 * first + gradient + 0.02 * expected
                expected = expected - 0.1 * first
                continue
            if not weight.name.startswith("weight1"):
                expected = expected - 0.1 * 0.5 * expected
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
            # Keras adds ε before the correction of the bias.
            expected = expected - 0.1 * mean / (np.sqrt(square) + 1e-3 / np.sqrt(1 - 0.999**step))
        # float32 knows 1 - 0.999 to four digits.
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=1e-4)
