"""Tests that a network with the weights of a file computes what the file's own network computes."""

import os
import pathlib

import keras
import numpy as np
import pytest
from few_blocks import few_blocks

import sb_keras
from sb_keras.graph import inner_layers
from sb_keras.layers import DynamicConv, ShiftBalance

pytestmark = pytest.mark.long

# Fifty layers in float32; the outputs are probabilities.
ROUNDING = 1e-5
# The maps before them are not averaged yet, and random weights multiply the rounding of the layers before.
FEATURES = 5e-5


@pytest.fixture
def x(rng):
    return rng.uniform(-1, 1, size=(3, 64, 64, 3)).astype("float32")


def randomize(model, seed=1):
    """Random weights, with statistics of what arrives, so that the outputs depend on the inputs."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name == "gamma":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name == "beta":
            weight.assign(rng.normal(0, 0.3, weight.shape))
    norms = [layer for layer in inner_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = 0.0  # the statistics of the next batch
    images = rng.uniform(-1, 1, size=(2, 8, 64, 64, 3)).astype("float32")
    model(images[0], training=True)
    for norm in norms:
        norm.momentum = momentum
    kernel = model.layers[-1].kernel
    kernel.assign(rng.normal(size=kernel.shape) / 10)
    outputs = model(images[1]).numpy()
    assert outputs.std(axis=0).max() > 0.1 * outputs.max(), "the outputs hardly depend on the inputs"
    return model


@pytest.fixture(scope="module")
def reference():
    """A MobileNetV2 of keras.applications with random weights, and its answers to `x`."""
    keras.utils.set_random_seed(0)  # whichever tests were before
    return randomize(keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, classes=1000))


@pytest.fixture(scope="module", params=["model.weights.h5", "model.keras", "legacy.h5", "no_top.weights.h5"])
def file(reference, request, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / request.param
    if request.param == "legacy.h5":
        write_legacy(reference, path)
    elif request.param.startswith("no_top"):
        keras.Model(reference.input, reference.get_layer("out_relu").output).save_weights(path)
    elif request.param == "model.keras":
        reference.save(path)
    else:
        reference.save_weights(path)
    return path


def write_legacy(model, path):
    """The layout of Keras 2, with other names: a group a layer, and the names in order as attributes."""
    import h5py

    with h5py.File(path, "w") as file:
        names = []
        for number, layer in enumerate(model.layers):
            group = file.create_group(f"layer_{number}")
            names.append(group.name[1:])
            weights = {f"w{i}:0": value for i, value in enumerate(layer.get_weights())}
            group.attrs["weight_names"] = list(weights)
            for name, value in weights.items():
                group[name] = value
        file.attrs["layer_names"] = names


def features(model):
    """The network up to the head."""
    return keras.Model(model.input, model.get_layer("head_relu").output)


def test_keras_applications(reference, file, x):
    """In spite of another ε, and with layers of the same names; 50 pixels: padding of odd maps too."""
    whole = sb_keras.MobileNetV2((64, 64, 3), 0.35, weights=file)
    ours = features(whole)
    theirs = keras.Model(reference.input, reference.get_layer("out_relu").output)
    scale = np.abs(theirs(x)).max()
    np.testing.assert_allclose(ours(x), theirs(x), atol=FEATURES * scale)
    if "no_top" not in file.name:
        np.testing.assert_allclose(whole(x), reference(x), atol=ROUNDING)
    unknown = features(sb_keras.MobileNetV2((None, None, 3), 0.35, weights=file))
    other = keras.applications.MobileNetV2((50, 47, 3), alpha=0.35, weights=None, include_top=False)
    other.set_weights(reference.get_weights()[:-2])
    np.testing.assert_allclose(unknown(x[:, :50, :47]), other(x[:, :50, :47]), atol=FEATURES * scale)


def test_attention_begins_as_the_static_network(reference, tmp_path, x):
    file = tmp_path / "model.weights.h5"
    reference.save_weights(file)
    static = sb_keras.MobileNetV2((64, 64, 3), 0.35, weights=file)
    # DyConv's mixing of kernels rounds every weight once more.
    for kind, tolerance in (("sb", 0), ("dyconv", 3 * ROUNDING)):
        model = sb_keras.MobileNetV2((64, 64, 3), 0.35, kind, weights=file)
        np.testing.assert_allclose(model(x), static(x), rtol=0, atol=tolerance)
        assert any(isinstance(layer, (ShiftBalance, DynamicConv)) for layer in model.layers)
    asked_for = sb_keras.Attention("sb", lambda_init=0.5)
    model = sb_keras.MobileNetV2((64, 64, 3), 0.35, asked_for, weights=file)
    assert np.all(model.get_layer("block2_expand_sb").lambda_.numpy() == 0.5)


def test_another_classifier_begins_anew(reference, file, x):
    model = sb_keras.MobileNetV2((64, 64, 3), 0.35, classes=7, weights=file)
    assert model.output_shape == (None, 7)
    np.testing.assert_array_equal(
        model.get_layer("stem").kernel.numpy(), reference.get_layer("Conv1").kernel.numpy()
    )
    assert not model.get_layer("predictions").bias.numpy().any()


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_every_published_width_has_the_same_shapes(width):
    with keras.StatelessScope(initialize_variables=False):  # weights have shapes and are not drawn
        ours = sb_keras.MobileNetV2((32, 32, 3), width)
        theirs = keras.applications.MobileNetV2((32, 32, 3), alpha=width, weights=None, classes=1000)
    keras.utils.clear_session()  # and never will be
    assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]


@pytest.mark.slow
def test_models_and_runs_of_this_package(x, tmp_path):
    static = randomize(sb_keras.MobileNetV2((64, 64, 3), 0.1, classes=5))
    static.save(tmp_path / "best.keras")
    for path in (str(tmp_path), tmp_path / "best.keras"):
        model = sb_keras.MobileNetV2((64, 64, 3), 0.1, "sb", classes=5, weights=path)
        np.testing.assert_array_equal(model(x), static(x))
    attended = randomize(
        sb_keras.MobileNetV2((64, 64, 3), 0.1, sb_keras.Attention("sb", lambda_init=0.7), classes=5)
    )
    attended.save(tmp_path / "sb.keras")
    model = sb_keras.MobileNetV2((64, 64, 3), 0.1, "sb", classes=5, weights=tmp_path / "sb.keras")
    np.testing.assert_array_equal(model(x), attended(x))
    with pytest.raises(
        ValueError, match=r"has layers that are not there, block10_depthwise_sb, .* and \d+ more"
    ):
        sb_keras.MobileNetV2((64, 64, 3), 0.1, classes=5, weights=tmp_path / "sb.keras")
    attended.save_weights(tmp_path / "own.weights.h5")
    model = sb_keras.MobileNetV2((64, 64, 3), 0.1, "sb", classes=5, weights=tmp_path / "own.weights.h5")
    np.testing.assert_array_equal(model(x), attended(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "torch"}, "has padding='same'. Received: padding='valid'"),
        (
            {"attention": sb_keras.Attention("sb", gate="sigmoid")},
            "has gate='tanh'. Received: gate='sigmoid'",
        ),
        ({"attention": sb_keras.Attention("sb", placement="norm")}, "has behind='block.*_bn'"),
    ],
)
def test_weights_that_would_compute_something_else(options, message, tmp_path):
    """Names and shapes are the same."""
    options = {"attention": "sb", **options}
    file = tmp_path / "best.keras"
    with few_blocks():
        sb_keras.MobileNetV2((32, 32, 3), 0.1, classes=5, **options).save(file)
        with pytest.raises(ValueError, match=f"best.keras does not fit mobilenet_v2_sb: layer .* {message}"):
            sb_keras.MobileNetV2((32, 32, 3), 0.1, "sb", classes=5, weights=file)
        sb_keras.MobileNetV2((32, 32, 3), 0.1, classes=5, weights=file, **options)


def test_wrong_files(reference, tmp_path):
    reference.save_weights(tmp_path / "model.weights.h5")
    write_legacy(reference, tmp_path / "legacy.h5")

    def refused(match, path, builder=sb_keras.MobileNetV2, width=0.35):
        with pytest.raises(ValueError, match=match):
            builder((32, 32, 3), width, weights=path)

    refused(r"layer 'stem_bn'|layer 'stem'|layer 'block", tmp_path / "model.weights.h5", width=0.75)
    refused(r"layer 'block", tmp_path / "legacy.h5", width=0.5)
    refused(r"layer 'block2_expand' has", tmp_path / "model.weights.h5", builder=sb_keras.MnasNet)
    refused("no such layer", tmp_path / "model.weights.h5", builder=sb_keras.CifarMobileNetV2)
    refused(r"width_multiplier 0\.35\) does not", tmp_path / "legacy.h5", builder=sb_keras.ShuffleNetV2)
    refused("does not exist", tmp_path / "nothing.h5")
    refused("run directory with a best.keras", tmp_path)
    refused("must be None", 5)
    content = (tmp_path / "model.weights.h5").read_bytes()
    (tmp_path / "cut.weights.h5").write_bytes(content[: len(content) // 2])
    refused("is damaged, or not a weight file", tmp_path / "cut.weights.h5")
    (tmp_path / "cut.keras").write_bytes(b"PK")
    refused("is damaged, or not a .keras file", tmp_path / "cut.keras")
    (tmp_path / "notes.txt").touch()
    refused("must be a file of", tmp_path / "notes.txt")
    refused("must be one of", "imagenet", width=0.6)
    refused("which has MobileNetV2. For others give", "imagenet", builder=sb_keras.ShuffleNetV2)


def test_a_download_that_fails(monkeypatch, tmp_path):
    """With the file's name, the nearest of its resolutions, and without the classifier where that is new."""
    asked = []

    def get_file(name, origin, **kwargs):
        asked.append(name)
        raise Exception(f"URL fetch failure on {origin}: None -- timed out")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    for shape, classes in (((224, 224, 3), 1000), ((150, 150, 3), 5), ((None, None, 3), 5)):
        with pytest.raises(ValueError, match=r"cannot download https://.* timed out.* give its path"):
            sb_keras.MobileNetV2(shape, 0.5, classes=classes, weights="imagenet")
    prefix = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5"
    assert asked == [f"{prefix}_224.h5", f"{prefix}_160_no_top.h5", f"{prefix}_224_no_top.h5"]


SHARED = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nowhere")).parent / "weights"
REAL = SHARED / "mobilenet_v2_1.0_224.weights.h5"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"the weights of ImageNet are not in {SHARED}")
def test_real_weights_on_real_pictures():
    """The same answers as keras.applications' network: static, with SB, folded, and as a file."""
    import tensorflow_datasets as tfds

    from tflite.convert import convert
    from tflite.interpreter import open_content, predict

    pictures, labels = [], []
    for split in ("train", "validation"):
        for example in tfds.load("imagenet2012", split=split):
            image = example["image"].numpy()
            scale = 256 / min(image.shape[:2])
            size = [round(scale * n) for n in image.shape[:2]]
            image = keras.ops.convert_to_numpy(keras.ops.image.resize(image, size, antialias=True))
            top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
            pictures.append(image[top : top + 224, left : left + 224] / 127.5 - 1)
            labels.append(int(example["label"]))
    pictures, labels = np.array(pictures, "float32"), np.array(labels)

    def accuracy(outputs):
        return np.mean(np.argmax(outputs, axis=-1) == labels)

    reference = keras.applications.MobileNetV2(weights=REAL).predict(pictures, verbose=0)
    static = sb_keras.MobileNetV2(weights=REAL)
    outputs = static.predict(pictures, verbose=0)
    np.testing.assert_allclose(outputs, reference, atol=ROUNDING)
    assert accuracy(outputs) == pytest.approx(0.893, abs=0.0005)  # 268 of 300
    attended = sb_keras.MobileNetV2(attention="sb", weights=REAL)
    np.testing.assert_array_equal(attended.predict(pictures, verbose=0), outputs)
    np.testing.assert_array_equal(sb_keras.attach(static).predict(pictures, verbose=0), outputs)
    folded = sb_keras.fold(attended)
    np.testing.assert_allclose(folded.predict(pictures, verbose=0), outputs, atol=1e-4)
    float32 = predict(open_content(convert(attended)), pictures)
    np.testing.assert_allclose(float32, outputs, atol=1e-4)
    int8 = predict(open_content(convert(attended, "int8", pictures[::3])), pictures)
    print("top-1: float32", accuracy(float32), "int8", accuracy(int8))
    assert accuracy(int8) > 0.85
