"""Tests of the data sets that are held in memory, digits and CIFAR-10, and of what loading checks."""

import functools
import urllib.request

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from recipes import data as data_sets
from recipes.data import memory
from recipes.data.tf_batches import Arrays
from recipes.errors import UserError
from recipes.registry import RECIPES
from recipes.settings import Data
from recipes.tasks import check_class_names

pytestmark = pytest.mark.long

# scikit-learn's digits


@pytest.fixture(scope="module")
def digits():
    return data_sets.load(RECIPES["digits-mobilenetv2-sb"].data)


def test_digits(digits):
    sizes = [len(split) for split in (digits.train, digits.validation, digits.test)]
    assert sum(sizes) == 1797
    assert sizes[2] == pytest.approx(1797 / 5, abs=10)  # rounded class by class
    assert sizes[1] == pytest.approx(1797 * 4 / 5 / 10, abs=10)
    assert digits.classes == tuple("0123456789")
    for split in (digits.train, digits.validation, digits.test):
        assert split.images.shape == (len(split), 32, 32, 3)
        assert split.images.dtype == np.uint8
        np.testing.assert_array_equal(split.images[..., 0], split.images[..., 1])
        np.testing.assert_array_equal(split.images[..., 0], split.images[..., 2])
        # The same share of each class, to within an image.
        shares = np.bincount(split.labels) / np.bincount(load_digits().target)
        np.testing.assert_allclose(shares, len(split) / 1797, atol=1 / 170)
    assert digits.train.images.max() == 255
    assert digits.train.images.min() == 0


def test_digits_are_the_pictures_of_their_labels(digits):
    """Each of scikit-learn's digits occurs once, enlarged as Pillow does it, with its label."""
    pixels, target = load_digits(return_X_y=True)
    small = [PIL.Image.fromarray(p.reshape(8, 8).astype("float32") * (255 / 16)) for p in pixels]
    known = np.array([p.resize((32, 32), PIL.Image.Resampling.BILINEAR) for p in small]).reshape(-1, 1024)
    found = []
    for split in (digits.train, digits.validation, digits.test):
        images = split.images[..., 0].reshape(-1, 1024).astype("float32")
        nearest = ((known**2).sum(axis=1) - 2 * images @ known.T).argmin(axis=1)
        # Rounded before enlarging and after it.
        np.testing.assert_allclose(images, known[nearest], atol=1.01)
        np.testing.assert_array_equal(split.labels, target[nearest])
        found += nearest.tolist()
    assert sorted(found) == list(range(1797))


def test_digits_without_a_validation_set():
    dataset = data_sets.load(Data("digits", validation_fraction=0.0))
    assert dataset.validation is dataset.test
    assert len(dataset.train) + len(dataset.test) == 1797


def test_digits_in_another_size():
    assert data_sets.load(Data("digits", image_size=48)).test.images.shape[1:] == (48, 48, 3)


# CIFAR-10


@pytest.fixture
def cifar10(cifar10_or_none):
    if cifar10_or_none is None:
        pytest.skip("TFDS_DATA_DIR has no cifar10")
    return cifar10_or_none


def test_cifar10(cifar10):
    assert cifar10.train.images.shape == (50_000, 32, 32, 3)
    assert cifar10.test.images.shape == (10_000, 32, 32, 3)
    assert cifar10.validation is cifar10.test
    assert cifar10.classes[:3] == ("airplane", "automobile", "bird")
    np.testing.assert_array_equal(np.bincount(cifar10.train.labels), [5000] * 10)


def test_channels_have_mean_0_and_deviation_1_over_the_training_images(cifar10):
    data = RECIPES["cifar10-mobilenetv2-sb"].data
    for channel in range(3):
        counts = np.bincount(cifar10.train.images[..., channel].ravel())
        values = np.arange(256) / 255
        mean = np.average(values, weights=counts)
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=counts))
        # The recipe has four digits, the last of them rounded (mean) or cut off (deviation).
        assert data.mean[channel] == pytest.approx(mean, abs=5e-5)
        assert data.std[channel] == pytest.approx(deviation, abs=1e-4)


def test_cifar10_without_data_or_network(tmp_path, monkeypatch, capsys):
    """A download is announced, and given up when nobody answers, before anything is written."""

    def no_network(request, timeout):
        assert request.full_url.startswith("https://www.cs.toronto.edu/")
        assert timeout <= 10
        raise ConnectionError("no route\nto host")

    elsewhere = functools.partial(tfds.builder, data_dir=tmp_path)
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: elsewhere(name))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    message = r"^cannot load cifar10 .* TFDS_DATA_DIR .* \(ConnectionError: no route\)$"
    with pytest.raises(UserError, match=message) as error:
        data_sets.load(Data("cifar10"))
    assert "\n" not in str(error.value)
    announced = "downloading cifar10 (up to 0.17 GB) from www.cs.toronto.edu to "
    assert capsys.readouterr().out.startswith(f"{announced}{tmp_path}")
    assert not list(tmp_path.iterdir())


def test_cifar10_refuses(tmp_path):
    with pytest.raises(UserError, match=r"no such folder: .*nowhere"):
        data_sets.load(Data("cifar10", directory=str(tmp_path / "nowhere")))
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UserError, match=r"data\.image_size of cifar10 must be 32\. Received: 64"):
        data_sets.load(Data("cifar10", image_size=64))


def test_digits_refuse_a_directory():
    with pytest.raises(
        UserError, match=r"data\.directory is of no use to digits.*image_folder.*Received: /nope"
    ):
        data_sets.load(Data("digits", directory="/nope"))


def test_class_names_must_be_those_of_the_training():
    digits = data_sets.load(Data("digits"))
    check_class_names(digits, list("0123456789"))
    with pytest.raises(UserError, match=r"trained with the classes zero, one; the data have 0, 1, 2"):
        check_class_names(digits, ["zero", "one"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 1, 2, 3, 1, 0],
            "^labels must be from 0 to 2. Received: 3 for number 3 of the train images of digits",
        ),
        ([0, 1, 2, -1, 1, 7], r"Received: -1 for number 3 .*, and 1 more that are out of range$"),
        ([0, 1, 1, 0, 1, 0], "^digits has no training images of bee$"),
        ([], "^digits has no train images$"),
    ],
)
def test_labels_and_classes_that_are_missing(labels, message, rng, monkeypatch):
    labels = np.array(labels, "int32")
    split = Arrays(rng.integers(0, 256, (len(labels), 32, 32, 3)).astype("uint8"), labels)
    dataset = data_sets.Dataset(("ant", "cat", "bee"), split, split, split)
    monkeypatch.setattr(memory, "load_digits", lambda data: dataset)
    with pytest.raises(UserError, match=message):
        data_sets.load(RECIPES["digits-mobilenetv2-sb"].data)
