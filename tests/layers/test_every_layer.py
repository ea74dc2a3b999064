"""What holds for every layer: files, unknown sizes, gradients, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import images, to_numpy

from sb_keras import layers

CHANNELS = 6
LAYERS = {
    "batch_norm": lambda **k: layers.BatchNormalization(**k),
    "channel_shuffle": lambda **k: layers.ChannelShuffle(3, **k),
    "conv": lambda **k: layers.Conv2D(8, 1, **k),
    "dynamic_pointwise": lambda **k: layers.DynamicConv2D(8, 1, hidden_units=5, **k),
    "dynamic_conv": lambda **k: layers.DynamicConv2D(8, 3, strides=2, hidden_units=5, **k),
    "condconv": lambda **k: layers.DynamicConv2D(8, 3, gate="sigmoid", hidden_units=5, **k),
    "dynamic_depthwise": lambda **k: layers.DynamicDepthwiseConv2D(3, strides=2, hidden_units=5, **k),
    "excitation": lambda **k: layers.Excitation(8, 5, **k),
    "shift_balance": lambda **k: layers.ShiftBalance(5, **k),
    "squeeze_excite": lambda **k: layers.SqueezeExcite(5, **k),
    "usual_squeeze_excite": lambda **k: layers.SqueezeExcite(5, use_bias=True, normalize=False, **k),
    "dilated": lambda **k: layers.DynamicConv2D(8, 3, dilation_rate=2, hidden_units=5, **k),
    "dilated_depthwise": lambda **k: layers.DynamicDepthwiseConv2D(3, dilation_rate=2, hidden_units=5, **k),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def model_of(name, height=None, width=None, **arguments):
    """A model of the one layer; SB and SE have the input and a part of it as their trunk."""
    inputs = keras.Input((height, width, CHANNELS))
    layer = LAYERS[name](**arguments)
    if isinstance(layer, layers.ShiftBalance | layers.SqueezeExcite):
        trunk = keras.layers.MaxPooling2D(2, data_format="channels_last")(inputs)
        return keras.Model(inputs, layer([trunk, inputs]))
    return keras.Model(inputs, layer(inputs))


@every_layer
def test_keras_file_round_trip(tmp_path, rng, name):
    x = images(rng, 3, 8, 7, CHANNELS)
    model = model_of(name)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert [w.path for w in loaded.weights] == [w.path for w in model.weights]


@every_layer
def test_what_is_frozen_is_so_after_loading_and_can_learn_again(tmp_path, rng, name):
    """Keras freezes what is within a layer only where it is there already."""
    x = images(rng, 3, 8, 7, CHANNELS)
    model = model_of(name)
    learning = [w.path for w in model.trainable_weights]
    model.layers[-1].trainable = False
    model.save(tmp_path / "model.keras")
    for loaded in (keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        assert not loaded.trainable_weights
        loaded.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in loaded.weights])
        before = loaded.get_weights()
        np.testing.assert_array_equal(loaded(x, training=True), loaded(x))
        for weight, value in zip(loaded.weights, before, strict=True):  # neither moving average has moved
            np.testing.assert_array_equal(weight, value)
        loaded.layers[-1].trainable = True
        assert [w.path for w in loaded.trainable_weights] == learning


@every_layer
def test_unknown_sizes(rng, name):
    model = model_of(name)
    signature = [tf.TensorSpec((None, None, None, CHANNELS))]
    call = tf.function(lambda x: model(x), input_signature=signature)
    for shape in ((1, 8, 7), (3, 5, 6)):
        x = images(rng, *shape, CHANNELS)
        expected = model(x).numpy()
        np.testing.assert_allclose(call(x), expected, rtol=1e-5, atol=1e-6)
        assert model.compute_output_shape(x.shape) == expected.shape
    assert [a in (None, b) for a, b in zip(model.output_shape, expected.shape, strict=True)]


@every_layer
def test_predict_with_a_ragged_last_batch(rng, name):
    x = images(rng, 5, 8, 7, CHANNELS)
    model = model_of(name, 8, 7)
    np.testing.assert_allclose(model.predict(x, batch_size=2, verbose=0), model(x), rtol=1e-5, atol=1e-6)


@every_layer
def test_every_trainable_weight_has_a_gradient(rng, name):
    x = images(rng, 4, 8, 7, CHANNELS)
    model = model_of(name)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    with tf.GradientTape() as tape:
        y = model(x, training=True)
        loss = tf.reduce_sum(y * images(rng, *y.shape))
    gradients = tape.gradient(loss, model.trainable_variables)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        # A bias before a normalization has none: the normalization takes it away again.
        if not weight.path.endswith(("squeeze/bias", "excite/bias")):
            assert np.abs(gradient).max() > 1e-4, weight.path


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@every_layer
def test_half_precision_is_close_to_single(rng, name, policy):
    x = images(rng, 4, 8, 7, CHANNELS)
    single, half = model_of(name), model_of(name, dtype=policy)
    for weight in single.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    half.set_weights(single.get_weights())
    assert all(weight.dtype == "float32" for weight in half.weights)
    expected, actual = single(x).numpy(), half(x)
    assert actual.dtype == keras.DTypePolicy(policy).compute_dtype
    # Some ten roundings, each of 2⁻¹¹ or 2⁻⁸ of the largest value; they rarely point the same way.
    rounding = 2.0 ** (-11 if policy == "mixed_float16" else -8)
    np.testing.assert_allclose(to_numpy(actual), expected, atol=8 * rounding * np.abs(expected).max())


TRAINED = [name for name in LAYERS if name != "channel_shuffle"]  # it has no weights


@pytest.fixture(scope="module", params=["float32", "mixed_float16", "mixed_bfloat16"])
def losses(request):
    """The losses of an epoch, in one graph of all layers side by side: each its own would take longer."""
    rng = np.random.default_rng(0)
    inputs = keras.Input((8, 7, CHANNELS))
    model = keras.Model(inputs, {name: model_of(name, 8, 7, dtype=request.param)(inputs) for name in TRAINED})
    model.compile("sgd", dict.fromkeys(TRAINED, "mse"))
    targets = {name: images(rng, 5, *output.shape[1:]) for name, output in model.output.items()}
    return model.fit(images(rng, 5, 8, 7, CHANNELS), targets, batch_size=2, epochs=1, verbose=0).history


@pytest.mark.long
@pytest.mark.parametrize("name", TRAINED)
def test_training_in_every_precision(name, losses):
    assert np.isfinite(losses[f"{name}_loss"]).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_pooling_of_a_large_map_does_not_overflow(policy):
    """The sum is 16 million; a half holds 65,504."""
    x = np.full((1, 128, 128, 3), 1000.0, "float16")
    layer = layers.Excitation(4, 5, normalize=False, use_bias=True, dtype=policy)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(keras.ops.full(weight.shape, 0.1))
    pooled = to_numpy(layer(x))
    # 300.1 · 0.5 + 0.1, with the rounding of bfloat16.
    np.testing.assert_allclose(pooled, np.full((1, 4), 150.15), rtol=0.02)


PAIRS = ["shift_balance", "squeeze_excite", "usual_squeeze_excite"]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 4, 4, 3)], r"Received: 1 tensor\(s\) of shape \(2, 4, 4, 3\)$"),
        ([(2, 4, 4, 3)] * 3, r"Received: 3 tensor\(s\) of shape "),
        ([(2, 3), (2, 4, 4, 3)], r"expected ndim=4, found ndim=2"),
        ([(2, 4, 4, 3), (3,)], r"expected min_ndim=2, found ndim=1"),
        ([(2, 4, 4, 3), (2, 4, 4, 4, 3)], r"expected max_ndim=4, found ndim=5"),
    ],
)
def test_wrong_lists(name, shapes, message):
    tensors = [np.ones(shape, "float32") for shape in shapes]
    with pytest.raises(ValueError, match=message):
        LAYERS[name]()(tensors)


@pytest.mark.parametrize("name", PAIRS)
def test_a_single_tensor_is_not_taken_for_a_list(name):
    """A batch of two would unpack into trunk and inputs."""
    message = r"`\w+\(\)\(\[T\(x\), x\]\)`.* A sequential model .* Received: 1 tensor\(s\) of shape"
    with pytest.raises(ValueError, match=message):
        LAYERS[name]()(np.ones((2, 4, 4, 3), "float32"))
    with pytest.raises(ValueError, match=message):
        keras.Sequential([keras.Input((4, 4, 3)), LAYERS[name]()])


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in ("batch_norm", "conv")])
def test_channels_first_is_not_read_as_channels_last(name):
    """Neither of its own nor as Keras's setting; the layer's own word comes before the setting."""
    with pytest.raises(ValueError, match=r"channels last only.* data_format='channels_first'$"):
        LAYERS[name](data_format="channels_first")
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match=r"channels last only.* data_format='channels_first', Keras's"):
            LAYERS[name]()
        layer = LAYERS[name](data_format="channels_last")
        earlier = {key: value for key, value in layer.get_config().items() if key != "data_format"}
        assert type(layer).from_config(earlier).data_format == "channels_last"
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("name", PAIRS)
def test_trunk_and_inputs_may_have_any_sizes(rng, name):
    a, b = images(rng, 2, 4, 4, 3), images(rng, 2, 5, 6, 8)
    assert LAYERS[name]()([a, b]).shape == a.shape
    assert LAYERS[name]()([b, a]).shape == b.shape


@every_layer
def test_unknown_channels(name):
    layer = LAYERS[name]()
    unknown = keras.Input((8, 8, None))
    inputs = [unknown, unknown] if name in PAIRS else unknown
    if name in ("batch_norm", "conv"):
        pytest.skip("Keras's own layer")
    with pytest.raises(ValueError, match=r"number of channels. Received: shape=\(None, 8, 8, None\)"):
        layer(inputs)


@every_layer
def test_another_number_of_channels(rng, name):
    layer = LAYERS[name]()

    def call(channels):
        x = images(rng, 2, 8, 8, channels)
        return layer([x, x] if name in PAIRS else x)

    call(6)
    with pytest.raises(ValueError, match=r"expected axis -1 of input shape to have value 6"):
        call(9)


@every_layer
def test_wrong_rank(name):
    x = np.ones((2, 3, 3, 3, 6), "float32")
    if name in ("batch_norm", "conv"):
        pytest.skip("Keras's own layer")
    with pytest.raises(ValueError, match=r"expected (max_)?ndim=4, found ndim=5"):
        LAYERS[name]()([x, x] if name in PAIRS else x)
