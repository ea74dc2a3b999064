"""RandAugment's changes are those of Pillow."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from recipes.data.draws import Draws
from recipes.data.rand_augment import OPERATIONS, rand_augment

ROWS, COLUMNS = np.mgrid[0:30, 0:40]
FILL = (10, 20, 30)


@pytest.fixture
def pixels(rng):
    """Smooth, so that a rounded coordinate makes a small difference only; with noise for the colors."""
    smooth = 120 + 60 * np.stack([np.sin(COLUMNS / 9), np.cos(ROWS / 7), np.sin((ROWS + COLUMNS) / 8)], -1)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype("uint8")


def affine(*matrix):
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=FILL)


def enhanced(kind, factor):
    return lambda image: kind(image).enhance(factor)


@pytest.mark.parametrize("strength", [0.3, -0.7])
def test_operations_are_pillows(strength, pixels):
    """At the strengths of torchvision's table; its magnitude 9 of 30 is 0.3."""
    angle = 30 * strength
    expected = {
        "identity": lambda image: image,
        "shear_x": affine(1, 0.3 * strength, 0, 0, 1, 0),
        "shear_y": affine(1, 0, 0, 0.3 * strength, 1, 0),
        "translate_x": affine(1, 0, round(150 / 331 * 40 * strength), 0, 1, 0),
        "translate_y": affine(1, 0, 0, 0, 1, round(150 / 331 * 30 * strength)),
        "rotate": lambda image: image.rotate(-angle, fillcolor=FILL),
        "brightness": enhanced(ImageEnhance.Brightness, 1 + 0.9 * strength),
        "color": enhanced(ImageEnhance.Color, 1 + 0.9 * strength),
        "contrast": enhanced(ImageEnhance.Contrast, 1 + 0.9 * strength),
        "sharpness": enhanced(ImageEnhance.Sharpness, 1 + 0.9 * strength),
        "posterize": lambda image: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
        "solarize": lambda image: ImageOps.solarize(image, math.ceil(255 * (1 - abs(strength)))),
        "auto_contrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
    }
    assert set(expected) == set(OPERATIONS)
    for name, operation in OPERATIONS.items():
        ours = operation(tf.constant(pixels, tf.float32), tf.constant(strength), FILL).numpy()
        theirs = np.asarray(expected[name](Image.fromarray(pixels)), "float32")
        differs = np.abs(ours - theirs) > 1.01  # Pillow rounds what is between two whole numbers down
        # Pixels that a line of the raster passes, where Pillow's fixed-point numbers round otherwise.
        assert differs.mean() <= (0.01 if name in ("rotate", "shear_x", "shear_y") else 0), name


def test_an_image_of_one_color(pixels):
    """It has neither contrast nor a histogram."""
    plain = tf.fill((8, 8, 3), 77.0)
    for name in ("auto_contrast", "equalize", "contrast", "color", "sharpness"):
        np.testing.assert_array_equal(OPERATIONS[name](plain, tf.constant(0.5), FILL), plain)


def test_images_of_a_batch(pixels):
    """Each has its own operations; the same seed gives the same; at magnitude 0 nothing moves."""
    images = np.stack([pixels] * 40)
    first, again, other = (rand_augment(images, Draws((seed, 1), 40), 9, FILL).numpy() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert len({image.tobytes() for image in first}) > 20
    assert first.min() >= 0
    assert first.max() <= 255
    np.testing.assert_array_equal(first, np.round(first))
    still = [name for name in OPERATIONS if name not in ("auto_contrast", "equalize", "solarize")]
    for name in still:
        np.testing.assert_allclose(OPERATIONS[name](pixels.astype("float32"), tf.constant(0.0), FILL), pixels)
