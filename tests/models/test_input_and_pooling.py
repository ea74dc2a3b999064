"""Tests of the builders' `input_tensor` and `pooling`, beside keras.applications' MobileNetV2."""

import keras
import numpy as np
import pytest

from sb_keras import CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("networks_of_few_blocks")]

BUILDERS = [MobileNetV2, CifarMobileNetV2, MnasNet, ShuffleNetV2]
SIZES = {MobileNetV2: 224, CifarMobileNetV2: 32, MnasNet: 224, ShuffleNetV2: 224}

every_builder = pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: b.__name__)


def theirs(**arguments):
    return keras.applications.MobileNetV2(alpha=0.35, weights=None, **arguments)


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, 64, 64, 3)).astype("float32")


@every_builder
def test_pooling(builder, x):
    """The mean or the maximum of the feature map that there is without pooling."""
    arguments = {"input_shape": (64, 64, 3), "width_multiplier": 0.1, "include_top": False}
    built = {pooling: builder(**arguments, pooling=pooling) for pooling in (None, "avg", "max")}
    for model in built.values():
        model.set_weights(built[None].get_weights())
    features = built[None](x).numpy()
    assert features.ndim == 4
    # The rounding of a sum of up to 4,096 values.
    np.testing.assert_allclose(built["avg"](x), features.mean((1, 2)), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(built["max"](x), features.max((1, 2)))


@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_pooling_has_the_shapes_of_keras_applications(pooling):
    for shape in ((96, 128, 3), (None, None, 3)):
        arguments = {"input_shape": shape, "include_top": False, "pooling": pooling}
        with keras.StatelessScope(initialize_variables=False):  # weights have shapes and are not drawn
            ours, expected = MobileNetV2(width_multiplier=0.35, **arguments), theirs(**arguments)
        keras.utils.clear_session()  # and never will be
        assert ours.output_shape == expected.output_shape


@every_builder
def test_an_input_of_ones_own(builder, x):
    image = keras.Input((64, 64, 3), name="mine")
    model = builder(input_tensor=image, width_multiplier=0.1, classes=5)
    assert model.input is image
    own = builder((64, 64, 3), width_multiplier=0.1, classes=5)
    own.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(x), own(x))
    assert builder(width_multiplier=0.1).input_shape == (None, SIZES[builder], SIZES[builder], 3)


@pytest.mark.parametrize("attention", ["static", "sb"])
def test_what_is_in_front_of_the_input_is_part_of_the_model(attention, x, tmp_path):
    """As in keras.applications; a layer with weights there keeps them, whatever `weights` brings."""

    def in_front():
        image = keras.Input((64, 64, 3))
        return image, keras.layers.Dense(3, name="in_front", kernel_initializer="identity")(2.0 * image)

    image, doubled = in_front()
    expected = theirs(input_tensor=doubled, classes=5)
    assert expected.inputs[0] is image
    assert "in_front" in [layer.name for layer in expected.layers]

    trained = MobileNetV2((64, 64, 3), 0.1, classes=5)
    for weight in trained.weights:
        if weight.name == "gamma":
            weight.assign(weight + 0.1)
    trained.save(tmp_path / "trained.keras")
    image, doubled = in_front()
    model = MobileNetV2(
        input_tensor=doubled,
        width_multiplier=0.1,
        attention=attention,
        classes=5,
        weights=tmp_path / "trained.keras",
    )
    assert model.input is image
    np.testing.assert_array_equal(model.get_layer("in_front").kernel, np.eye(3))
    # The order of a product with a matrix of ones and zeros, and λ = 0, change the rounding alone.
    np.testing.assert_allclose(model(x), trained(2 * x), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "mean", "include_top": False}, "`pooling` must be one of .*'mean'"),
        ({"pooling": "avg"}, "`pooling` needs include_top=False.*pooling='avg'"),
        ({"input_tensor": np.zeros((1, 64, 64, 3))}, "`input_tensor` must be a symbolic tensor"),
        (
            {"input_tensor": keras.Input((64, 64, 3)), "input_shape": (32, 64, 3)},
            r"`input_shape` must be that of `input_tensor`, \(64, 64, 3\), or None.*\(32, 64, 3\)",
        ),
        ({"input_tensor": keras.Input((16, 16, 3))}, r"at least 32 pixels, or None.*\(16, 16, 3\)"),
    ],
)
@every_builder
def test_refused(builder, arguments, message):
    with pytest.raises(ValueError, match=message):
        builder(**{"width_multiplier": 0.1, **arguments})
