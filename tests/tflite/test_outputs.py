"""Every output of a model is in its file, once, in the model's order, under a name of its own."""

import importlib.util

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import sb_keras
from sb_keras.detection import ssdlite_anchors
from sb_keras.graph import tensor_names
from tflite.convert import convert
from tflite.detector import is_detector
from tflite.interpreter import dequantized, open_content, predict, quantized
from tflite.metadata import read_metadata

pytestmark = pytest.mark.long

layers = keras.layers


def image():
    return keras.Input((8, 8, 3), name="image")


def conv(filters=4, **arguments):
    return layers.Conv2D(filters, 1, **arguments)


def shared_head():
    head, x = conv(name="head"), image()
    return keras.Model(x, [head(x), head(layers.MaxPooling2D()(x))])


def parts():
    x = image()
    first, second = keras.ops.split(conv()(x), [1], axis=-1)
    return keras.Model(x, [second, first])


def inner_model():
    x, y = image(), image()
    inner = keras.Model(x, [conv(2)(x), conv(3)(x)], name="inner")
    return keras.Model(y, inner(y))


def named():
    """The keys are not the layers' names, which would sort differently."""
    x = image()
    return keras.Model(x, {"zeta": conv(2, name="a")(x), "alpha": conv(3, name="z")(x)})


def structure():
    x = image()
    return keras.Model(x, {"maps": [conv(2)(x), conv(3)(x)], "classes": conv(5)(x)})


def the_same_twice():
    x = image()
    y = conv(name="conv")(x)
    return keras.Model(x, [y, y])


def number_that_is_taken():
    x = image()
    head = conv(name="head")
    return keras.Model(x, [head(x), head(layers.MaxPooling2D()(x)), conv(2, name="head_1")(x)])


def input_too():
    x = image()
    return keras.Model(x, [conv(name="conv")(x), x])


MODELS = {
    shared_head: ["head", "head_1"],
    parts: ["split", "split_1"],
    inner_model: ["inner", "inner_1"],
    named: ["alpha", "zeta"],  # Keras itself sorts a dictionary
    structure: ["classes", "maps_0", "maps_1"],
    the_same_twice: ["conv", "conv_1"],
    number_that_is_taken: ["head", "head_2", "head_1"],
    input_too: ["conv", "image"],
}
# Two multiplications and a sum, each rounded to 6e-8; eight bits are 2⁻⁹ in weights and activations.
TOLERANCE = {"float32": 1e-6, "int8": 0.03, "qat-int8": 0.03}


@pytest.fixture
def images(rng):
    return rng.normal(size=(16, 8, 8, 3)).astype("float32")


def assert_outputs(content, model, names, images, tolerance):
    """By position and by name the file's outputs are the model's."""
    runner = Interpreter(model_content=content).get_signature_runner("serving_default")
    ((name, source),) = runner.get_input_details().items()
    assert name == tensor_names(model.input)[0]
    assert sorted(runner.get_output_details()) == sorted(names)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    targets = interpreter.get_output_details()
    expected = keras.tree.flatten(model(images[:1]))
    assert len(targets) == len(expected) == len(names)
    by_name = runner(**{name: quantized(images[:1], source)})
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], quantized(images[:1], source))
    interpreter.invoke()
    for target, name, value in zip(targets, names, expected, strict=True):
        actual = interpreter.get_tensor(target["index"])
        np.testing.assert_array_equal(by_name[name], actual)
        np.testing.assert_allclose(dequantized(actual, target), value, atol=tolerance * np.abs(value).max())


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_every_output_is_there(make, images):
    keras.utils.clear_session()  # `split` is a name of Keras's own, which it counts
    model = make()
    assert tensor_names(model.output) == MODELS[make]
    assert_outputs(convert(model), model, MODELS[make], images, TOLERANCE["float32"])


@pytest.mark.parametrize("quantization", ["int8", "qat-int8"])
def test_outputs_of_integers(quantization, images):
    if quantization == "qat-int8" and not importlib.util.find_spec("tensorflow_model_optimization"):
        pytest.skip("tensorflow-model-optimization is not installed")
    x = image()
    norm = layers.BatchNormalization(name="folded_away")(conv(5, name="conv")(x))
    model = keras.Model(x, [norm, conv(2, name="a")(layers.ReLU()(norm))])
    content = convert(model, quantization, images)
    assert_outputs(content, model, ["folded_away", "a"], images, TOLERANCE[quantization])


def test_an_output_that_is_the_input_is_normalized_too(images):
    x = image()
    content = convert(keras.Model(x, [conv(name="conv")(x), x]), normalization=((0.5,) * 3, (0.25,) * 3))
    runner = Interpreter(model_content=content).get_signature_runner()
    pixels = np.full((1, 8, 8, 3), 255, "float32")
    np.testing.assert_allclose(runner(image=pixels)["image"], 2.0, rtol=1e-6)  # (1 − 0.5) / 0.25


def test_labels_belong_to_one_output(tmp_path):
    """MediaPipe takes each output with class names for a head of its own."""
    x = image()
    y = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(x, [layers.Dense(2, name="scores")(y), layers.Dense(2, name="embedding")(y)])
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(model, labels=["cat", "dog"]))
    assert read_metadata(path).labels == ("cat", "dog")
    assert path.read_bytes().count(b"labels.txt\0") == 1  # in the metadata; the zip's names end in none


def test_a_users_classes_and_boxes_are_no_ssdlite():
    x = image()
    y = layers.Flatten()(x)
    mine = keras.Model(x, {"classes": layers.Dense(3)(y), "boxes": layers.Dense(4)(y)})
    assert not is_detector(mine)
    runner = Interpreter(model_content=convert(mine)).get_signature_runner()
    assert set(runner.get_output_details()) == {"boxes", "classes"}
    anchors = len(ssdlite_anchors((160, 192, 3)))
    for height, width in (
        (160, 192),
        (192, 192),
        (8, 8),
    ):  # its own, another's, no detector's
        x = keras.Input((height, width, 3))
        y = layers.Reshape((anchors, 1))(layers.Dense(anchors)(layers.GlobalAveragePooling2D()(x)))
        model = keras.Model(x, {"classes": layers.Dense(3)(y), "boxes": layers.Dense(4)(y)})
        assert is_detector(model) == ((height, width) == (160, 192))


# Networks as users build them


def test_pixels_of_a_graph_with_numbers_and_keywords(rng):
    """`x / 127.5` holds a number beside the image; a call by keyword has no argument at a place."""
    x = image()
    model = keras.Model(x, layers.GlobalAveragePooling2D()(conv()(inputs=x / 127.5)))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    file = convert(model, normalization=(mean, std))
    pixels = rng.integers(0, 256, size=(1, 8, 8, 3)).astype("float32")
    expected = model((pixels / 255 - np.array(mean, "float32")) / np.array(std, "float32"))
    np.testing.assert_allclose(predict(open_content(file), pixels), expected, atol=1e-5)
    direct = keras.Model(x, layers.GlobalAveragePooling2D()(conv()(inputs=x)))
    expected = direct((pixels / 255 - np.array(mean, "float32")) / np.array(std, "float32"))
    file = convert(direct, normalization=(mean, std))
    np.testing.assert_allclose(predict(open_content(file), pixels), expected, atol=1e-5)


def test_models_and_convolutions_that_are_called_twice(rng):
    """One encoder for two pictures, and a convolution behind itself, with attention."""
    x = image()
    encoder = keras.Sequential([image(), conv(), layers.GlobalAveragePooling2D()], name="encoder")
    twins = keras.Model(x, layers.Subtract()([encoder(x), encoder(layers.ReLU()(x))]))
    again = conv(3, name="again")
    twice = sb_keras.attach(keras.Model(x, again(again(x))), layers=["again"])
    pictures = rng.normal(size=(1, 8, 8, 3)).astype("float32")
    for model in (twins, twice):
        answer = predict(open_content(convert(model)), pictures)
        np.testing.assert_allclose(answer, model(pictures), atol=1e-5)


def test_what_litert_lacks_is_one_line():
    x = image()
    model = keras.Model(x, keras.ops.linalg.det(conv(8)(x)), name="volume")
    with pytest.raises(ValueError, match=r"^volume cannot be converted: LiteRT has no MatrixDeterminant$"):
        convert(model)


def test_labels_of_any_output(tmp_path):
    x = image()
    outputs = {
        "embedding": layers.Dense(8)(layers.Flatten()(x)),
        "classes": layers.Dense(2)(layers.Flatten()(x)),
    }
    (tmp_path / "file.tflite").write_bytes(convert(keras.Model(x, outputs), labels=["cat", "dog"]))
    assert read_metadata(tmp_path / "file.tflite").labels == ("cat", "dog")
    with pytest.raises(ValueError, match=r"must name the model's 2 or 8 classes. Received: 3 names"):
        convert(keras.Model(x, outputs), labels=["cat", "dog", "eel"])
