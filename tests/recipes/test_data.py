"""Tests of batches, augmentation and normalization against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from recipes.data.augmentation import pad_crop_flip
from recipes.data.draws import Draws
from recipes.data.tf_batches import Arrays
from recipes.errors import UserError
from recipes.recipe import Recipe
from recipes.registry import RECIPES
from recipes.settings import Data

SIZE, PAD = 8, 2


@pytest.fixture
def images(rng):
    """Images without a zero, all different."""
    return rng.integers(1, 256, size=(400, SIZE, SIZE, 3)).astype("uint8")


@pytest.fixture
def split(rng):
    """Seven black images that carry their number as brightness and as label."""
    images = np.broadcast_to(np.arange(7).reshape(-1, 1, 1, 1), (7, 32, 32, 3)).astype("uint8")
    return Arrays(images, np.arange(7, dtype="int32"))


def variants(image):
    """Every crop of the zero-padded image and its mirror image, by (row, column, mirrored)."""
    padded = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)))
    for row in range(2 * PAD + 1):
        for column in range(2 * PAD + 1):
            crop = padded[row : row + SIZE, column : column + SIZE]
            yield (row, column, False), crop
            yield (row, column, True), crop[:, ::-1]


def draws(images, augmented):
    """Which of its `variants` each image has become."""
    return [
        next(key for key, variant in variants(image) if np.array_equal(variant, output))
        for image, output in zip(images, augmented, strict=True)
    ]


def augment(images, seed=(0, 0), pad=PAD, flip=True):
    return pad_crop_flip(tf.constant(images), Draws(seed, len(images)), pad, flip).numpy()


# Augmentation


def test_augmentation_is_a_crop_of_the_zero_padded_image_perhaps_mirrored(images):
    augmented = augment(images)
    assert augmented.dtype == np.uint8
    found = draws(images, augmented)
    # Of 400 draws each of the 50 variants is missing with probability 0.98^400 = 0.0003; the seed is fixed.
    assert set(found) == {key for key, _ in variants(images[0])}
    # Four standard deviations of 400 coins are 40.
    assert 160 < sum(mirrored for _, _, mirrored in found) < 240


def test_border_is_black_before_normalization(images):
    (row, column, mirrored), image = draws(images, augment(images))[0], augment(images)[0]
    expected = np.zeros((SIZE, SIZE), bool)
    expected[
        max(0, PAD - row) : SIZE - max(0, row - PAD), max(0, PAD - column) : SIZE - max(0, column - PAD)
    ] = 1
    np.testing.assert_array_equal(image.all(axis=-1), expected[:, ::-1] if mirrored else expected)


def test_augmentation_is_a_function_of_its_seed(images):
    np.testing.assert_array_equal(augment(images, (3, 5)), augment(images, (3, 5)))
    for other in ((3, 6), (4, 5)):
        assert np.any(augment(images, (3, 5)) != augment(images, other))


def test_each_image_of_a_batch_has_its_own_crop(images):
    same = np.repeat(images[:1], 20, axis=0)
    assert len(set(draws(same, augment(same)))) > 10


def test_crop_and_mirroring_are_independent(images):
    """A seed used for both would tie the mirroring to the crop."""
    found = draws(images, augment(images))
    for row in range(2 * PAD + 1):
        mirrored = [m for r, _, m in found if r == row]
        assert 0.25 < np.mean(mirrored) < 0.75  # 80 coins: four and a half standard deviations


def test_without_padding_or_mirroring(images):
    np.testing.assert_array_equal(augment(images, pad=0, flip=False), images)
    assert not any(mirrored for _, _, mirrored in draws(images, augment(images, flip=False)))
    assert {key[:2] for key in draws(images, augment(images, pad=0))} == {(PAD, PAD)}


# Normalization and batches


def test_normalization(split, rng):
    images = rng.integers(0, 256, size=(5, 32, 32, 3)).astype("uint8")
    data = RECIPES["cifar10-mobilenetv2-sb"].data
    split = Arrays(images, np.arange(5, dtype="int32"))
    (normalized, labels), *rest = split.evaluation_batches(data, 5).as_numpy_iterator()
    expected = (images / 255 - np.array(data.mean)) / np.array(data.std)
    assert not rest
    assert normalized.dtype == np.float32
    np.testing.assert_array_equal(labels, split.labels)
    np.testing.assert_allclose(normalized, expected, atol=2e-6)  # float32 rounding of numbers up to 3


def recipe_of(**changes):
    data = Data(pad=0, flip=False, mean=(0, 0, 0), std=(1, 1, 1))
    return Recipe(**{"name": "test", "data": data, "batch_size": 3, "epochs": 4, **changes})


def batches(split, recipe, *begin):
    return list(split.training_batches(recipe, *begin).as_numpy_iterator())


def test_every_image_once_an_epoch_in_another_order_each(split):
    orders = [labels for _, labels in batches(split, recipe_of())]
    assert [len(labels) for labels in orders] == [3, 3, 1] * 4
    epochs = [tuple(np.concatenate(orders[i : i + 3])) for i in range(0, 12, 3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(epochs)) == 4


def test_images_stay_with_their_labels(split):
    for images, labels in batches(split, recipe_of()):
        np.testing.assert_allclose(images[:, 0, 0, 0] * 255, labels, atol=1e-5)  # float32


def test_seeds_differ(split):
    first, second = (np.concatenate([y for _, y in batches(split, recipe_of(seed=s))]) for s in (0, 1))
    assert np.any(first != second)


@pytest.mark.parametrize("steps_per_epoch", [None, 2])
@pytest.mark.parametrize(("first_epoch", "first_step"), [(1, 0), (3, 0), (4, 0), (0, 1), (2, 1)])
def test_going_on_gives_the_same_batches(split, rng, steps_per_epoch, first_epoch, first_step):
    split = Arrays(rng.integers(1, 256, size=(7, 32, 32, 3)).astype("uint8"), split.labels)
    recipe = recipe_of(data=Data(pad=2, flip=True), steps_per_epoch=steps_per_epoch)
    expected = batches(split, recipe)[first_epoch * (steps_per_epoch or 3) + first_step :]
    received = batches(split, recipe, first_epoch, first_step)
    for (images, labels), (expected_images, expected_labels) in zip(received, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_augmentation_differs_from_step_to_step(images):
    split = Arrays(np.repeat(images[:1], 4, axis=0), np.zeros(4, "int32"))
    recipe = recipe_of(data=Data(pad=2, flip=True), batch_size=4)
    steps = [x.tobytes() for x, _ in batches(split, recipe)]
    assert len(set(steps)) == len(steps) == 4


def test_steps_per_epoch(split):
    assert recipe_of().steps(len(split)) == 3
    assert recipe_of(batch_size=7).steps(len(split)) == 1
    with pytest.raises(UserError, match=r"batch_size must be at most 7, .*\. Received: 8"):
        recipe_of(batch_size=8).steps(len(split))
    assert recipe_of(steps_per_epoch=2).steps(len(split)) == 2
    assert len(batches(split, recipe_of(steps_per_epoch=2))) == 8
    with pytest.raises(UserError, match=r"at most 3: 7 training images in batches of 3\. Received: 4"):
        recipe_of(steps_per_epoch=4).steps(len(split))
    with pytest.raises(UserError, match=r"must divide the 3 steps of an epoch\. Received: 2"):
        recipe_of(steps_per_execution=2).steps(len(split))


def test_evaluation_keeps_the_order_and_the_rest(split):
    labels = [y.tolist() for _, y in split.evaluation_batches(recipe_of().data, 3).as_numpy_iterator()]
    assert labels == [[0, 1, 2], [3, 4, 5], [6]]
