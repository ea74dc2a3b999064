import io
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from few_blocks import few_blocks
from file_answers import SHALLOW, assert_same_answers, run_tflite

from sb_keras import Attention, CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2
from sb_keras.layers import ChannelShuffle, DynamicConv2D, DynamicDepthwiseConv2D
from tflite.convert import convert
from tflite.delegation import find_delegation
from tflite.metadata import read_metadata

pytestmark = pytest.mark.long

KINDS = {
    "static": Attention("static"),
    "se-block": Attention("se-block"),
    "se": Attention("se"),
    "se after norm": Attention("se", placement="norm"),
    "sb": Attention("sb"),
    "sb after norm": Attention("sb", placement="norm"),
    "dyconv": Attention("dyconv"),
    "condconv": Attention("condconv"),
}
DYNAMIC = DynamicConv2D | DynamicDepthwiseConv2D
# The bound of whole networks. In fifty layers without training the rounding grows: changing
# the images by one part in a million changes the outputs by up to fifty.
DEEP = 1e-3


def operators(content):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return {each["op_name"] for each in interpreter._get_ops_details()}


def sharpen_routing(model, images):
    """Makes the images choose their kernels clearly, and differently."""
    layers = [layer for layer in model.layers if isinstance(layer, DYNAMIC)]
    for layer in layers:
        norm = layer.routing_network.excite_bn
        norm.gamma.assign(15 * norm.gamma)
    inputs = keras.Model(model.input, [layer.input for layer in layers])(images)
    choices = [layer.routing(x).numpy() for layer, x in zip(layers, inputs, strict=True)]
    assert max(coefficients.std(axis=0).max() for coefficients in choices) > 0.4  # of at most 0.5
    assert sum(len(set(coefficients.argmax(axis=1))) > 1 for coefficients in choices) > len(choices) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_same_answers_as_keras(two_blocks, kind, randomize, ten_images):
    model = two_blocks(KINDS[kind])
    randomize(model, ten_images)
    dynamic = kind in ("dyconv", "condconv")
    if dynamic:
        sharpen_routing(model, ten_images)
    content = convert(model)
    assert_same_answers(content, model, ten_images)
    assert not {name for name in operators(content) if name.startswith(("Flex", "CUSTOM"))}
    if not dynamic:
        assert find_delegation(Interpreter(model_content=content)).left_out == ()


@pytest.mark.parametrize(
    "builder",
    [MobileNetV2, *(pytest.param(each, marks=pytest.mark.slow) for each in (MnasNet, ShuffleNetV2))],
)
def test_every_backbone(builder, randomize, ten_images):
    with few_blocks():
        model = builder((32, 32, 3), 0.1, "sb", classes=5, classifier_activation=None)
    randomize(model, ten_images)
    content = convert(model)
    assert_same_answers(content, model, ten_images, DEEP)
    assert find_delegation(Interpreter(model_content=content)).left_out == ()


@pytest.fixture(scope="module")
def small():
    """Two outputs, of which folding would rename one."""
    inputs = keras.Input((8, 8, 3), name="picture")
    x = keras.layers.BatchNormalization(name="features")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    return keras.Model(inputs, [keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(x)), x])


def test_signature(small):
    interpreter = Interpreter(model_content=convert(small))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["picture"], "outputs": ["features", "scores"]}
    }
    (source,) = interpreter.get_input_details()
    assert (source["shape"].tolist(), source["dtype"]) == ([1, 8, 8, 3], np.float32)
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    outputs = interpreter.get_signature_runner()(picture=x)
    for name, expected in zip(("scores", "features"), small(x), strict=True):
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)


def test_sequential_model_of_half_precision():
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")]
    model = keras.Sequential([*layers, keras.layers.BatchNormalization(dtype="mixed_bfloat16")])
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x)).astype("float32")
    # bfloat16 has eight bits.
    np.testing.assert_allclose(run_tflite(convert(model), x), expected, atol=0.02 * np.abs(expected).max())


def test_labels_are_in_the_zip_at_the_end(small):
    content = convert(small, labels=["cat", "dog", "écureuil"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "cat\ndog\nécureuil\n"
    assert convert(small, labels=["cat", "dog", "écureuil"]) == content  # nothing in it depends on the time
    assert run_tflite(content, np.zeros((1, 8, 8, 3), "float32")).shape == (1, 6, 6, 4)


def test_normalization_is_in_the_metadata(small, tmp_path):
    """As of the command line: such a file takes pixels. MediaPipe refuses one that does not say."""
    for labels in (None, ["cat", "dog", "écureuil"]):
        content = convert(small, labels=labels, normalization=((0.4, 0.5, 0.6), (0.2, 0.2, 0.2)))
        (tmp_path / "file.tflite").write_bytes(content)
        metadata = read_metadata(tmp_path / "file.tflite")
        assert metadata.labels == (None if labels is None else tuple(labels))
        assert metadata.mean == (0, 0, 0)
        assert metadata.std == pytest.approx((1 / 255,) * 3, rel=1e-6)  # float32
    (tmp_path / "file.tflite").write_bytes(convert(small, labels=labels))
    assert read_metadata(tmp_path / "file.tflite").mean is None


def test_converting_leaves_the_model_as_it_was(small):
    before = small.get_weights()
    convert(small)
    for a, b in zip(small.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def run_six(content, images):
    """The output for six images at once."""
    interpreter = Interpreter(model_content=content)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])


@pytest.mark.parametrize("quantize", ["float32", "qat-int8"])
def test_shuffled_channels_of_six_images_at_once(quantize, ten_images):
    """The channels' order comes from NumPy; a Flatten behind it, and a model within the model."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 3, strides=16, padding="same", name="conv")(inputs)
    x = keras.Sequential([keras.Input((2, 2, 6)), ChannelShuffle(3)])(x)
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    content = convert(model, quantize, ten_images)
    x = ten_images[:6]
    if quantize == "float32":
        convolved = np.array(keras.ops.conv(x, model.get_layer("conv").kernel, 16, "same"))
        expected = convolved.reshape(6, 2, 2, 3, 2).swapaxes(-1, -2).reshape(6, -1)
        np.testing.assert_allclose(
            run_six(content, x), expected, rtol=0, atol=SHALLOW * np.abs(expected).max()
        )
    else:
        integers = np.clip(np.round(20 * x), -128, 127).astype("int8")
        np.testing.assert_array_equal(run_six(content, integers), run_tflite(content, integers))


def test_dynamic_convolutions_say_that_they_take_one_image(two_blocks, ten_images, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(two_blocks(Attention("dyconv")), labels="abcde"))
    assert read_metadata(path).description == "takes one image at a time"
    with pytest.raises(RuntimeError, match="failed to prepare"):
        run_six(path.read_bytes(), ten_images[:6])


def two_inputs():
    inputs = [keras.Input((8, 8, 3)) for _ in range(2)]
    return keras.Model(inputs, keras.layers.Add()(inputs))


class Subclassed(keras.Model):
    pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantize": "int4"}, r"`quantize` must be one of .*float32.* Received: quantize='int4'"),
        ({"labels": ["cat"]}, r"`labels` must name the model's 3 or 4 classes. Received: 1 names"),
        (
            {"normalization": ([0.5], [0.5])},
            r"each of the model's 3 channels. Received: \(\[0.5\], \[0.5\]\)",
        ),
    ],
)
def test_wrong_arguments(small, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(small, **arguments)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.Activation("gelu", name="odd"), "'odd' cannot be rounded in training"),
        (keras.layers.Activation("hard_swish", name="odd"), "Cannot rebuild layer 'odd'"),
    ],
)
def test_layers_that_cannot_be_fine_tuned(layer, message):
    """The kind of error that the docstring promises."""
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=message):
        convert(keras.Model(inputs, layer(inputs)), "qat-int8", np.zeros((1, 8, 8, 3), "float32"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CifarMobileNetV2((None, 32, 3), 0.1), r"one input of known size. .*\(None, None, 32, 3\)"),
        (two_inputs, r"one input of known size"),
        (Subclassed, r"Expected a functional Keras model.* of type Subclassed"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), r"that is built. .* of type Sequential"),
    ],
)
def test_models_that_cannot_be_converted(make, message):
    with pytest.raises(ValueError, match=message):
        convert(make())
