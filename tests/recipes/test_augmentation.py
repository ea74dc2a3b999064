"""ImageNet's augmentation; that of CIFAR-10 is tested with its pipeline."""

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import pytest
import tensorflow as tf

from recipes.data.augmentation import (
    color_jitter,
    mixup,
    random_erasing,
    random_resized_crop,
    random_window,
    shrunk,
)
from recipes.data.draws import Draws

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
SIZES = [(375, 500), (500, 375), (64, 64), (33, 47)]


@pytest.fixture(scope="module")
def windows_of():
    @tf.function
    def draw(height, width, count):
        seeds = tf.stack([tf.fill([count], 7), tf.range(count)], axis=1)
        return tf.map_fn(lambda seed: random_window(height, width, seed, AREA, RATIO), seeds)

    return lambda height, width, count=300: draw(*map(tf.constant, (height, width, count))).numpy()


def a_jpeg(height, width):
    """A picture whose red and green tell the row and the column."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 255 // height, columns * 255 // width, rows * 0 + 128], axis=-1)
    return tf.io.encode_jpeg(pixels.astype("uint8"), quality=100, chroma_downsampling=False)


@pytest.mark.parametrize("size", SIZES)
def test_windows_lie_in_the_picture_and_have_the_asked_size(windows_of, size):
    height, width = size
    top, left, h, w = windows_of(height, width).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (h > 0).all()
    assert (w > 0).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()
    # Rounding moves each side by half a pixel.
    assert ((h + 0.5) * (w + 0.5) >= AREA[0] * height * width).all()
    assert ((w + 0.5) / (h - 0.5) >= RATIO[0]).all()
    assert ((w - 0.5) / (h + 0.5) <= RATIO[1]).all()


def test_windows_are_spread_out(windows_of):
    top, left, h, w = windows_of(400, 400, 600).T
    share = h * w / 400**2
    assert share.min() < 0.12
    assert share.max() > 0.85
    # The logarithm of the aspect ratio is symmetric: of 600, half on either side within four deviations.
    assert abs(np.mean(w > h) - 0.5) < 4 * 0.5 / np.sqrt(600)
    small = share < 0.3
    assert top[small].min() < 30
    assert (top + h)[small].max() > 370
    assert left[small].min() < 30
    assert (left + w)[small].max() > 370


@pytest.mark.parametrize(("size", "expected"), [((10, 400), (0, 193, 10, 13)), ((400, 10), (193, 0, 13, 10))])
def test_a_picture_too_narrow_for_any_draw_gives_its_centre(windows_of, size, expected):
    """A strip of 40:1 holds no part of 8 % of its area with an aspect ratio below 4:3."""
    top, left, h, w = windows_of(*size, 20).T
    assert {(h, w) for h, w in zip(h, w, strict=True)} == {expected[2:]}
    assert np.abs(top - expected[0]).max() <= 1
    assert np.abs(left - expected[1]).max() <= 1


def test_only_the_window_is_decoded_and_resized():
    """As cropping the whole decoded picture."""
    jpeg = a_jpeg(120, 160)
    seed = (3, 5)
    crop_seed, _ = tf.unstack(tf.random.split(tf.constant(seed, tf.int64), 2))
    top, left, h, w = random_window(120, 160, crop_seed, AREA, RATIO).numpy()
    whole = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")[top : top + h, left : left + w]
    expected = tf.image.resize(whole, (32, 32), antialias=True)
    image = random_resized_crop(jpeg, seed, 32, flip=False)
    np.testing.assert_allclose(image, expected, atol=1e-3)


def test_a_seed_decides_everything_and_half_are_mirrored():
    jpeg = a_jpeg(120, 160)
    augment = tf.function(lambda seed: random_resized_crop(jpeg, seed, 16))
    images = [augment(tf.constant((1, i))).numpy() for i in range(100)]
    np.testing.assert_array_equal(images[3], augment(tf.constant((1, 3))))
    assert len({image.tobytes() for image in images}) == 100
    mirrored = np.mean([image[8, 0, 1] > image[8, -1, 1] for image in images])  # green grows to the right
    assert abs(mirrored - 0.5) < 4 * 0.5 / np.sqrt(100)


def test_color_jitter_is_that_of_pillow(rng):
    """Of one image at a time, with the factors that were drawn; Pillow rounds after each of the three."""
    images = rng.integers(256, size=(4, 20, 30, 3)).astype("uint8")
    seed = tf.constant([3, 5], tf.int64)
    ours = color_jitter(images, Draws(seed, 4), 0.4).numpy()
    factors = tf.random.stateless_uniform((3, 4, 1, 1, 1), seed, 0.6, 1.4).numpy().reshape(3, 4)
    assert np.ptp(factors) > 0.3
    for image, actual, of_image in zip(images, ours, factors.T, strict=True):
        picture = PIL.Image.fromarray(image)
        enhancers = PIL.ImageEnhance.Brightness, PIL.ImageEnhance.Contrast, PIL.ImageEnhance.Color
        for enhancer, factor in zip(enhancers, of_image, strict=True):
            picture = enhancer(picture).enhance(factor)
        # Three roundings, the mean's and that of the gray, each of up to a level and multiplied by up to 1.4.
        np.testing.assert_allclose(actual, np.asarray(picture, "float32"), atol=4)


def test_random_erasing(rng):
    """Of the asked share of the images a rectangle of the asked size has the color; the rest is as it was."""
    images = rng.integers(1, 256, size=(400, 40, 60, 3)).astype("float32")
    erased = random_erasing(images, Draws((7, 1), 400), 0.25, (0.0, 0.0, 0.0)).numpy()
    changed = np.any(erased != images, axis=-1)
    count = changed.any(axis=(1, 2)).sum()
    assert abs(count - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)  # four standard deviations
    areas = []
    for image, mask in zip(erased, changed, strict=True):
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            assert not image[mask].any()
            areas.append(mask.mean())
    assert min(areas) > 0.005
    assert max(areas) < 0.36  # 1/50 to 1/3, of whole pixels and cut off at the borders
    again = random_erasing(images, Draws((7, 1), 400), 0.25, (0.0, 0.0, 0.0)).numpy()
    np.testing.assert_array_equal(again, erased)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup(alpha):
    """Every image is a mixture of itself and the one before, in shares of Beta(α, α), which labels follow."""
    count = 4000
    images = np.arange(count, dtype="float32")[:, None, None, None] * np.ones((1, 2, 3, 3), "float32")
    mixed, labels = (x.numpy() for x in mixup(images, np.arange(count), Draws((7, 1), count), alpha))
    shares = mixed[1:, 0, 0, 0] - np.arange(count - 1)  # of the image itself
    expected = images[1:] * shares[:, None, None, None] + images[:-1] * (1 - shares[:, None, None, None])
    np.testing.assert_allclose(mixed[1:], expected, atol=1e-2)  # float32 of numbers up to 4,000
    assert shares.min() > 0.499  # no image is nearly its neighbour, and so in the batch twice
    assert shares.max() < 1.001
    spread = np.mean((shares - 0.5) ** 2)
    assert spread == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)  # the variance of Beta(α, α)
    own = labels[1:] == np.arange(1, count)
    assert np.all(own | (labels[1:] == np.arange(count - 1)))
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1)):
        inside = (shares >= low) & (shares < high)
        error = own[inside].mean() - shares[inside].mean()
        assert abs(error) < 4 * 0.5 / np.sqrt(inside.sum())
    again, _ = mixup(images, np.arange(count), Draws((7, 1), count), alpha)
    np.testing.assert_array_equal(again, mixed)


def test_shrunk(rng):
    """Stripes of a pixel become gray, where sampling alone keeps black or white; a small image stays."""
    stripes = np.tile(np.array([0, 255], "uint8")[:, None], (200, 300, 3)).reshape(200, 600, 3)
    small = shrunk(stripes, 100).numpy()
    assert small.shape == (34, 100, 3)
    np.testing.assert_allclose(small[:, 1:-1], 127.5, atol=1)
    image = rng.integers(0, 256, (40, 60, 3)).astype("uint8")
    np.testing.assert_array_equal(shrunk(image, 60), image)
