import io
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from few_blocks import few_blocks

from recipes.command import exit_code
from recipes.data import to_pixels
from recipes.recipe import Recipe
from recipes.run_directory import RunDirectory
from sb_keras import Attention, CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2
from sb_keras.layers import ChannelShuffle, DynamicConv2D, DynamicDepthwiseConv2D
from tflite.convert import convert, main
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
# XNNPACK adds in another order than TensorFlow, with a rounding of 6e-8 in each of some ten layers.
SHALLOW = 1e-4
# The bound of whole networks. In fifty layers without training the rounding grows: changing
# the images by one part in a million changes the outputs by up to fifty.
DEEP = 1e-3


def run_tflite(content, images):
    """The only output for images that are run one by one."""
    runner = Interpreter(model_content=content, num_threads=2).get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    outputs = [runner(**{name: image[None]}) for image in images]
    return np.concatenate([next(iter(output.values())) for output in outputs])


def assert_same_answers(content, model, images, tolerance=SHALLOW, inputs=None):
    """`inputs`: what the model takes where that is something else than what the file takes."""
    expected = model.predict(images if inputs is None else inputs, verbose=0)
    actual = run_tflite(content, images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


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
        ({"labels": ["cat"]}, r"`labels` must name the model's 3 classes. Received: 1 names"),
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


# The command line


def command(*arguments):
    return exit_code(lambda: main([str(argument) for argument in arguments]))


def test_command(run, digits, tmp_path, capsys):
    out = tmp_path / "model.tflite"
    assert command(run.path, "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}: {out.stat().st_size / 1e6:.2f} MB, float32\n"
    content = out.read_bytes()
    images, data = digits[0][:3], run.recipe.data
    expected = run.load_model().predict(images, verbose=0)
    actual = run_tflite(content, to_pixels(images, data.mean, data.std))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SHALLOW * np.abs(expected).max())
    metadata = read_metadata(out)
    assert metadata.labels == tuple("0123456789")
    assert metadata.mean == (0, 0, 0)  # it takes pixels
    np.testing.assert_allclose(np.array(metadata.std), 1 / 255, rtol=1e-6)  # seven digits
    assert Recipe.from_json(metadata.recipe) == run.recipe
    assert list(tmp_path.iterdir()) == [out]

    assert command(run.path, "--out", out) == 2
    assert capsys.readouterr().err == f"error: {out} exists; --overwrite replaces it\n"
    out.write_bytes(b"old")
    assert command(run.path, "--out", out, "--overwrite") == 0
    assert out.read_bytes() == content


def assert_refused(capsys, message, *arguments):
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_wrong_paths(run, tmp_path, capsys):
    out = tmp_path / "model.tflite"
    assert_refused(capsys, "is not a run directory", tmp_path / "none", "--out", out)
    assert_refused(capsys, "no such folder", run.path, "--out", tmp_path / "none" / "model.tflite")
    assert_refused(capsys, "is a folder", run.path, "--out", tmp_path, "--overwrite")
    assert_refused(capsys, "best.keras", run.path, "--out", out, "--model", "best")
    unfinished = RunDirectory(tmp_path / "unfinished")
    unfinished.claim(run.recipe)
    assert_refused(capsys, "its training is unfinished", unfinished.path, "--out", out)
    assert not out.exists()


def test_failing_write_leaves_the_old_file(run, tmp_path, capsys):
    out = tmp_path / "model.tflite"
    out.write_bytes(b"old")
    (tmp_path / "tmp-model.tflite").mkdir()
    assert_refused(capsys, f"cannot write {out}", run.path, "--out", out, "--overwrite")
    assert out.read_bytes() == b"old"


def test_author_and_license(run, tmp_path):
    out = tmp_path / "model.tflite"
    assert command(run.path, "--out", out, "--author", "Ada", "--license", "Apache-2.0") == 0
    metadata = read_metadata(out)
    assert (metadata.author, metadata.license) == ("Ada", "Apache-2.0")
    assert metadata.name == run.recipe.name


@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic", "int8"])
def test_evaluate(run, digits, tmp_path, capsys, quantization):
    """The digits' network is linear, by least squares: quantization hardly costs it anything."""
    out = tmp_path / "model.tflite"
    assert command(run.path, "--out", out, "--quantize", quantization, "--evaluate") == 0
    lines = capsys.readouterr().out.splitlines()
    images, labels = digits
    keras_accuracy = 100 * np.mean(run.load_model().predict(images, verbose=0).argmax(-1) == labels)
    printed = {line.split()[0]: float(line.split()[1]) for line in lines[2:5]}
    assert printed["Keras"] == pytest.approx(keras_accuracy, abs=0.005)  # two decimals are printed
    assert printed["folded"] == printed["Keras"]
    assert abs(printed["TFLite"] - printed["Keras"]) <= (0 if quantization == "float32" else 1)
    assert lines[-1].endswith(f"MB, {quantization}")


def test_gate(run, tmp_path, capsys, monkeypatch):
    """A file that is worse than allowed is not written, the worst layers are named, and the code is 1."""
    data = run.recipe.data
    bad = convert(ruined(run.load_model()), normalization=(data.mean, data.std))
    monkeypatch.setattr("tflite.export.quantize_file", lambda *_: bad)
    out = tmp_path / "model.tflite"
    out.write_bytes(b"old")
    assert command(run.path, "--out", out, "--quantize", "dynamic", "--evaluate", "--overwrite") == 1
    printed = capsys.readouterr()
    assert "layers that depart most" in printed.out
    table = printed.out.split("depart most")[1].splitlines()
    layer, error = table[3].split()  # the worst one, behind title, head and rule
    assert layer == "digit"
    assert float(error.rstrip("%")) > 50
    assert printed.err.splitlines()[-1] == f"{out} was not written"
    assert out.read_bytes() == b"old"
    assert command(run.path, "--out", out, "--evaluate", "--max-drop", -1) == 2
    assert "--max-drop must be finite and at least 0.0" in capsys.readouterr().err


def ruined(model):
    dense = model.get_layer("digit")
    dense.set_weights([-weight for weight in dense.get_weights()])
    return model


def three_classes():
    inputs = keras.Input((8, 8, 3), name="picture")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="scores")(x), name="animals")


def test_command_of_a_keras_file(tmp_path, capsys):
    """The values come from Keras, on pixels that NumPy normalizes."""
    source, out, labels = tmp_path / "model.keras", tmp_path / "model.tflite", tmp_path / "labels.txt"
    model = three_classes()
    model.save(source)
    labels.write_text("cat\ndog\nécureuil\n", encoding="utf-8")
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3)).astype("float32")

    given = ("--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6", "--labels", labels, "--author", "Ada")
    assert command(source, "--out", out, *given) == 0
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size / 1e6:.2f} MB, float32\n"
    assert_same_answers(out.read_bytes(), model, pixels, inputs=(pixels / 255 - mean) / std)
    metadata = read_metadata(out)
    assert (metadata.name, metadata.author) == ("animals", "Ada")
    assert metadata.labels == ("cat", "dog", "écureuil")
    assert metadata.mean == (0, 0, 0)  # it takes pixels

    assert command(source, "--out", out, "--overwrite") == 0
    assert f"It takes what {source} takes" in capsys.readouterr().out
    assert_same_answers(out.read_bytes(), model, pixels)
    assert read_metadata(out).mean is None


def test_command_refuses_files(run, tmp_path, capsys):
    source, out = tmp_path / "model.keras", tmp_path / "model.tflite"
    three_classes().save(source)
    note, words = tmp_path / "note.keras", tmp_path / "words.txt"
    note.write_text("no model")
    words.write_text("cat\ndog\n")

    def refused(message, *arguments):
        assert_refused(capsys, message, *arguments, "--out", out)

    refused(f"{note} is damaged, or not a .keras file", note)
    refused("`labels` must name the model's 3 classes. Received: 2 names", source, "--labels", words)
    refused(f"cannot read {tmp_path / 'none'} as text", source, "--labels", tmp_path / "none")
    refused(f"cannot read {source} as text", source, "--labels", source)
    refused("--mean and --std go together", source, "--mean", "0,0,0")
    refused("--mean must be three numbers", source, "--mean", "0.5", "--std", "1,1,1")
    refused(
        "--std must be finite and more than 0. Received: 0.0", source, "--mean", "0,0,0", "--std", "1,0,1"
    )
    refused("--quantize int8 needs training images", source, "--quantize", "int8")
    refused("--evaluate goes with a run directory", source, "--evaluate")
    refused("--model goes with a run directory", source, "--model", "best")
    refused("--labels goes with a .keras file", run.path, "--labels", words)
    assert not out.exists()
