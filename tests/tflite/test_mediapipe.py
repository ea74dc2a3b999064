"""MediaPipe Tasks' own ImageClassifier on our files, as on phones, against Keras.

The pictures have the network's size: MediaPipe's way of resizing is not ours (tflite/README.md).
"""

import contextlib
import dataclasses
import os
import pathlib
import re

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from sb_keras import Attention
from tflite.convert import convert
from tflite.metadata import Metadata, add_metadata

mediapipe = pytest.importorskip("mediapipe", reason="mediapipe is not installed")
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema  # noqa: E402
from mediapipe.tasks.python import BaseOptions  # noqa: E402
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions  # noqa: E402

README = pathlib.Path(__file__).parents[2] / "tflite" / "README.md"
LABELS = ("ant", "bee", "cat", "dog", "écureuil")
METADATA = Metadata(
    name="two-blocks", author="Zoë", license="Apache-2.0", labels=LABELS, mean=(0.5,) * 3, std=(0.25,) * 3
)
PIXELS = dataclasses.replace(METADATA, mean=(0.0,) * 3, std=(1 / 255,) * 3)
PIXEL_NAMES = tuple(f"pixel {index}" for index in range(192))
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@pytest.fixture(scope="module")
def pictures():
    """Pixels of real pictures, uint8 of shape (20, 32, 32, 3)."""
    folder = os.environ.get("TFDS_DATA_DIR", "/nowhere")
    if pathlib.Path(folder, "cifar10").is_dir():
        import tensorflow_datasets as tfds

        batch = tfds.load("cifar10", split="test[:20]", data_dir=folder, batch_size=-1)
        return batch["image"].numpy()
    from sklearn.datasets import load_digits

    digits = load_digits().images[:20, ..., None]
    return np.round(digits * (255 / 16)).astype("uint8").repeat(4, 1).repeat(4, 2).repeat(3, 3)


def normalize(pictures, mean, std):
    return ((pictures / 255 - mean) / std).astype("float32")


@pytest.fixture
def model(two_blocks, pictures, randomize):
    """An SB network with a softmax whose answers differ from picture to picture."""
    logits = two_blocks(Attention("sb"))
    images = normalize(pictures, METADATA.mean, METADATA.std)
    randomize(logits, images)
    assert len(set(np.argmax(logits(images), -1).tolist())) > 1
    return keras.Model(logits.input, keras.layers.Softmax()(logits.output))


@pytest.fixture(scope="module")
def identity():
    """A network that gives the pixels it gets, as 192 "probabilities"."""
    inputs = keras.Input((8, 8, 3))
    return convert(keras.Model(inputs, keras.layers.Flatten()(inputs)))


def classify(content, pictures):
    """MediaPipe's probabilities in the order of the outputs, and the names of the best classes."""
    options = ImageClassifierOptions(base_options=BaseOptions(model_asset_buffer=content))
    probabilities, best = [], []
    with contextlib.closing(ImageClassifier.create_from_options(options)) as classifier:
        for picture in pictures:
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture)
            )
            (head,) = classifier.classify(image).classifications
            best.append(head.categories[0].category_name)
            scores = {category.index: category.score for category in head.categories}
            probabilities.append([scores[index] for index in range(len(scores))])
    return np.array(probabilities), best


@pytest.mark.parametrize("by_network", [False, True])
def test_same_answers_as_keras(model, pictures, by_network):
    """Whether MediaPipe normalizes, by one number for all channels, or the network does, by channel."""
    mean, std = (CIFAR10_MEAN, CIFAR10_STD) if by_network else (METADATA.mean, METADATA.std)
    expected = np.array(model(normalize(pictures, mean, std)))
    if by_network:
        content = convert(model, labels=LABELS, normalization=(mean, std))
    else:
        content = add_metadata(convert(model), METADATA)
    probabilities, best = classify(content, pictures)
    # As in test_convert: XNNPACK adds in another order, ten layers deep.
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert best == [LABELS[index] for index in expected.argmax(-1)]


def test_integers(model, pictures):
    """A uint8 input gets the pixels as they are, and a uint8 output gives probabilities."""
    calibration = normalize(pictures, CIFAR10_MEAN, CIFAR10_STD)
    content = convert(model, "int8", calibration, normalization=(CIFAR10_MEAN, CIFAR10_STD))
    runner = Interpreter(model_content=content).get_signature_runner("serving_default")
    ((source, _),) = runner.get_input_details().items()
    ((target, details),) = runner.get_output_details().items()
    scale, zero_point = details["quantization"]
    expected = [scale * (runner(**{source: picture[None]})[target][0] - zero_point) for picture in pictures]
    assert details["dtype"] == np.uint8
    probabilities, best = classify(add_metadata(content, PIXELS), pictures)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)  # a product in float32
    assert [probabilities[i][LABELS.index(name)] for i, name in enumerate(best)] == list(
        probabilities.max(-1)
    )


def test_normalization_by_channel_is_refused(identity):
    """The reason why the network normalizes; it need not any more when this fails."""
    by_channel = dataclasses.replace(METADATA, mean=CIFAR10_MEAN, std=CIFAR10_STD)
    with pytest.raises(NotImplementedError, match="Per-channel image normalization is not available"):
        classify(add_metadata(identity, by_channel), [])


def test_larger_pictures_are_sampled_and_not_averaged(identity, pictures):
    """What the README says about resizing."""
    content = add_metadata(identity, dataclasses.replace(PIXELS, labels=None))
    same_size = pictures[:3, :8, :8]
    np.testing.assert_array_equal(classify(content, same_size)[0], same_size.reshape(3, -1))
    larger = pictures[:3, :24, :16]
    np.testing.assert_array_equal(classify(content, larger)[0], larger[:, ::3, ::2].reshape(3, -1))


def test_mediapipes_own_schema_reads_the_metadata(identity):
    content = add_metadata(identity, dataclasses.replace(METADATA, labels=PIXEL_NAMES, recipe="{}"))
    start = content.index(b"M001") - 4
    read = metadata_schema.ModelMetadataT.InitFromPackedBuf(content[start:])
    assert (read.name, read.author.decode(), read.license) == (b"two-blocks", "Zoë", b"Apache-2.0")
    assert [file.name for file in read.associatedFiles] == [b"recipe.json"]
    (graph,) = read.subgraphMetadata
    (image,), (probability,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    assert isinstance(image.content.contentProperties, metadata_schema.ImagePropertiesT)
    assert image.content.contentProperties.colorSpace == metadata_schema.ColorSpaceType.RGB
    (unit,) = image.processUnits
    assert isinstance(unit.options, metadata_schema.NormalizationOptionsT)
    np.testing.assert_array_equal(unit.options.mean, [127.5] * 3)
    np.testing.assert_array_equal(unit.options.std, [63.75] * 3)
    (labels,) = probability.associatedFiles
    assert labels.name == b"labels.txt"
    assert labels.type == metadata_schema.AssociatedFileType.TENSOR_AXIS_LABELS


EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", [example for example in EXAMPLES if "sb.tflite" in example])
def test_examples_of_the_readme_run(example, identity, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = add_metadata(identity, dataclasses.replace(PIXELS, labels=PIXEL_NAMES))
    pathlib.Path("sb.tflite").write_bytes(content)
    Image.fromarray(pictures[0]).save("photo.jpg")
    exec(example, {})
    assert "pixel " in capsys.readouterr().out
