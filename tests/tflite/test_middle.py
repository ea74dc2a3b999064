"""Tests that a file sees of a picture what the network was tested on: the middle, or the whole."""

import os

import keras
import numpy as np
import pytest
from PIL import Image

from recipes.data import load
from recipes.recipe import Recipe
from recipes.settings import Data
from tflite.classify import classify
from tflite.export import build, pixel_input, sampled_pixels
from tflite.interpreter import dequantized, open_content, predict
from tflite.metadata import Metadata


@pytest.fixture(scope="module")
def framed(tmp_path_factory):
    """Pictures of one color with a white frame, which the middle that a network sees lacks."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("framed")
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(10):
            picture = Image.new("RGB", (74, 74), "white")
            picture.paste((*rng.integers(0, 256, 3).tolist(),), (4, 4, 70, 70))
            picture.save(root / name / f"{number}.png")
    return Data("image_folder", directory=str(root), augmentation="random_resized_crop")


@pytest.fixture
def small():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=2)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features))


def test_a_file_sees_what_it_was_tested_on(framed, small, tmp_path):
    """With `random_resized_crop` tests are made on the middle of a picture; `classify` gives the whole."""
    dataset, file = load(framed), tmp_path / "model.tflite"
    metadata = Metadata(name="test", labels=dataset.classes, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    file.write_bytes(build(small, metadata=metadata, **pixel_input(framed)))
    paths = [os.fsdecode(path) for path in dataset.test.paths]
    received = [dict(classify(path, file))["cat"] for path in paths]
    expected = small.predict(dataset.test.evaluation_batches(framed, 4), verbose=0)[:, 0]
    np.testing.assert_allclose(received, expected, atol=1e-4)  # pixels are the same whole numbers
    stretched = [np.asarray(Image.open(path).resize((32, 32)), "float32") for path in paths]
    assert np.abs(small.predict(np.stack(stretched) / 127.5 - 1, verbose=0)[:, 0] - expected).max() > 0.005


@pytest.mark.parametrize("quantize", ["float32", "float16", "dynamic", "int8"])
def test_a_file_takes_the_middle_of_a_picture(framed, small, quantize):
    dataset, recipe = load(framed), Recipe("test", data=framed)
    pixels = sampled_pixels(dataset, recipe) if quantize == "int8" else None
    takes = pixel_input(framed)
    takes_middle = open_content(build(small, quantize, pixels, normalization=takes["normalization"]))
    takes_whole = open_content(build(small, quantize, pixels, **takes))
    shapes = [each.get_input_details()[0]["shape"].tolist() for each in (takes_middle, takes_whole)]
    assert shapes == [[1, 32, 32, 3], [1, 37, 37, 3]]
    takes_whole.resize_tensor_input(takes_whole.get_input_details()[0]["index"], [3, 37, 37, 3])
    takes_whole.allocate_tensors()
    ((whole, _),) = dataset.test.pixel_batches(framed, 100)
    detail = takes_whole.get_input_details()[0]
    takes_whole.set_tensor(detail["index"], whole.numpy()[:3].astype(detail["dtype"]))
    takes_whole.invoke()
    together = takes_whole.get_tensor(takes_whole.get_output_details()[0]["index"])
    takes_whole = open_content(build(small, quantize, pixels, **takes))
    singly = [predict(takes_whole, picture[None]) for picture in whole.numpy()[:3]]
    if quantize == "int8":
        together = dequantized(together, takes_whole.get_output_details()[0])
    np.testing.assert_allclose(together, np.concatenate(singly), atol=1e-6)  # in another order of sums
    np.testing.assert_array_equal(
        predict(takes_whole, whole.numpy()), predict(takes_middle, whole.numpy()[:, 2:34, 2:34])
    )
