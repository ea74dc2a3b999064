"""Tests of SSD's augmentation: geometry against NumPy, colors one by one, draws against their bounds."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from recipes.data import ssd_augmentation as augmentation

FILL = (10.0, 20.0, 30.0)


def look_through(image, window, size=8):
    return augmentation.look_through(
        tf.constant(image, tf.float32), tf.constant(window, tf.float32), size, FILL
    ).numpy()


def gradient(height, width):
    """A picture whose values are its pixels' positions: linear interpolation is exact."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([y / height, x / width, np.zeros_like(x)], axis=-1)


def test_the_whole_picture_is_resized_as_tensorflow_does(rng):
    image = rng.uniform(0, 255, size=(7, 11, 3)).astype("float32")
    expected = tf.image.resize(image, (8, 8)).numpy()
    np.testing.assert_allclose(look_through(image, (0, 0, 1, 1)), expected, atol=1e-3)  # values up to 255


@pytest.mark.parametrize("window", [(0.25, 0.125, 0.75, 0.5), (-0.5, -1.0, 1.5, 2.0), (-3, 0, 1, 4)])
def test_a_window_shows_what_lies_there(window):
    ymin, xmin, ymax, xmax = window
    centers = (np.arange(8) + 0.5) / 8
    y, x = np.meshgrid(ymin + centers * (ymax - ymin), xmin + centers * (xmax - xmin), indexing="ij")
    inside = (y >= 0) & (y <= 1) & (x >= 0) & (x <= 1)
    # At the border the last pixel is continued, half a pixel of 40.
    expected = np.stack([np.clip(y, 1 / 80, 79 / 80), np.clip(x, 1 / 80, 79 / 80), 0 * x], axis=-1)
    expected[~inside] = FILL
    np.testing.assert_allclose(look_through(gradient(40, 40), window), expected, atol=1e-5)


def test_into_and_out_of_a_window():
    window = tf.constant([0.25, 0.5, 0.75, 1.5])
    inside = augmentation.into(tf.constant([[0.25, 0.5, 0.5, 1.0]]), window)
    np.testing.assert_allclose(inside, [[0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(augmentation.out_of(inside[0], window), [0.25, 0.5, 0.5, 1.0])


def test_boxes_stay_on_their_objects():
    """A white rectangle on black, whose box must be where it is white after every augmentation."""
    image = np.zeros((200, 300, 3), "float32")
    image[50:150, 60:210] = 255
    box = tf.constant([[50 / 200, 60 / 300, 150 / 200, 210 / 300], [0, 0, 0, 0]])
    seen = 0
    for seed in range(60):
        picture, boxes, labels = augmentation.ssd_augmentation(
            image, box, tf.constant([3, -1]), (0, seed), 300, (0.0, 0.0, 0.0)
        )
        assert labels.numpy().tolist() == [3, -1]  # the crop keeps the center of the only object
        white = picture.numpy().max(axis=-1) > 90  # the distortion of colors leaves at least (255 − 32) / 2
        ymin, xmin, ymax, xmax = boxes[0].numpy() * 300
        rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
        found = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
        np.testing.assert_allclose(found, (ymin, xmin, ymax, xmax), atol=2.0)  # a blurred border's pixels
        seen += float(boxes[0, 0]) > 0
        np.testing.assert_array_equal(boxes[1], 0)
    assert seen


def test_the_same_seed_gives_the_same_picture(rng):
    image = rng.uniform(0, 255, size=(20, 30, 3)).astype("float32")
    box, labels = tf.constant([[0.1, 0.2, 0.9, 0.8]]), tf.constant([0])
    first, again, other = (
        augmentation.ssd_augmentation(image, box, labels, (1, step), 16, FILL)[0].numpy()
        for step in (2, 2, 3)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_half_are_mirrored(rng, monkeypatch):
    monkeypatch.setattr(augmentation, "distort_colors", lambda image, seed: image)
    monkeypatch.setattr(augmentation, "random_expansion", lambda seed: tf.constant([0.0, 0.0, 1.0, 1.0]))
    monkeypatch.setattr(augmentation, "random_crop", lambda *args: tf.constant([0.0, 0.0, 1.0, 1.0]))
    image = rng.uniform(0, 255, size=(16, 16, 3)).astype("float32")
    box, labels = tf.constant([[0.1, 0.2, 0.9, 0.5]]), tf.constant([0])
    mirrored = 0
    for seed in range(100):
        picture, boxes, _ = augmentation.ssd_augmentation(image, box, labels, (0, seed), 16, FILL)
        is_mirrored = np.abs(picture.numpy() - image[:, ::-1]).max() < 1e-3
        assert is_mirrored or np.abs(picture.numpy() - image).max() < 1e-3
        expected = (0.1, 0.5, 0.9, 0.8) if is_mirrored else (0.1, 0.2, 0.9, 0.5)
        np.testing.assert_allclose(boxes[0], expected, atol=1e-6)
        mirrored += is_mirrored
    assert 30 < mirrored < 70  # four standard deviations of 100 coins
    unflipped = augmentation.ssd_augmentation(image, box, labels, (0, 0), 16, FILL, flip=False)
    np.testing.assert_allclose(unflipped[0], image, atol=1e-3)


def test_expansions():
    windows = np.array([augmentation.random_expansion((5, seed)) for seed in range(300)])
    sides = windows[:, 2:] - windows[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-5)  # as high as wide: nothing is stretched
    assert 110 < np.sum(sides[:, 0] > 1) < 190  # half, within four standard deviations
    assert sides.max() <= 4
    assert sides.max() > 3.7
    assert np.all(windows[:, :2] <= 1e-6)
    assert np.all(windows[:, 2:] >= 1 - 1e-6)


def test_crops():
    boxes, valid = tf.constant([[0.1, 0.1, 0.5, 0.6], [0, 0, 0, 0]]), tf.constant([True, False])
    whole, overlaps = 0, []
    for seed in range(300):
        top, left, bottom, right = window = augmentation.random_crop(boxes, valid, 0.75, (6, seed)).numpy()
        assert np.all(window >= 0)
        assert np.all(window <= 1)
        if np.array_equal(window, [0, 0, 1, 1]):
            whole += 1
            continue
        height, width = bottom - top, right - left
        assert min(height, width) >= 0.3 - 1e-6
        assert 0.5 - 1e-5 <= 0.75 * height / width <= 2 + 1e-5
        assert top < 0.3 < bottom
        assert left < 0.35 < right
        shared = (min(bottom, 0.5) - max(top, 0.1)) * (min(right, 0.6) - max(left, 0.1))
        overlaps.append(shared / (height * width + 0.2 - shared))
    # One in seven by draw, and where no part fits: hardly any has an IoU of 0.9 (one in seven again).
    assert 40 < whole < 150
    assert max(overlaps) > 0.7
    assert min(overlaps) < 0.3


def test_without_objects_the_whole_picture_is_taken():
    boxes, valid = tf.zeros((2, 4)), tf.constant([False, False])
    for seed in range(20):
        np.testing.assert_array_equal(augmentation.random_crop(boxes, valid, 1.0, (6, seed)), [0, 0, 1, 1])
    assert augmentation.random_crop(tf.zeros((0, 4)), tf.zeros(0, tf.bool), 1.0, (6, 1)).shape == (4,)


def draws(monkeypatch, coins, values):
    drawn = tf.constant([coins, values], tf.float32)
    monkeypatch.setattr(augmentation.tf.random, "stateless_uniform", lambda shape, seed: drawn)


@pytest.mark.parametrize(
    ("coin", "value", "expected"),
    [
        (0, 0.75, lambda r, g, b: (r + 16, g + 16, b + 16)),  # (2 · 0.75 − 1) · 32
        (1, 0.5, lambda r, g, b: (r, g, b)),  # a factor of 1
        (1, 0.1, lambda r, g, b: (0.6 * r, 0.6 * g, 0.6 * b)),
        (2, 0.0, lambda r, g, b: in_hsv((r, g, b), lambda h, s, v: (h, s / 2, v))),
        (3, 1.0, lambda r, g, b: in_hsv((r, g, b), lambda h, s, v: ((h + 18 / 360) % 1, s, v))),
        (4, 0.5, lambda r, g, b: (g, b, r)),  # the third of five orders
    ],
)
@pytest.mark.parametrize("contrast_first", [True, False])
def test_each_distortion(coin, value, expected, contrast_first, monkeypatch):
    coins, values = np.ones(6), np.full(6, 0.5)
    coins[coin], values[coin], values[5] = 0, value, 0.2 if contrast_first else 0.8
    draws(monkeypatch, coins, values)
    color = (100.0, 150.0, 60.0)
    actual = augmentation.distort_colors(tf.constant([[color]]), None)[0, 0]
    np.testing.assert_allclose(actual, expected(*color), atol=1e-3)  # float32, values up to 255


def in_hsv(color, change):
    h, s, v = colorsys.rgb_to_hsv(*(x / 255 for x in color))
    return tuple(255 * x for x in colorsys.hsv_to_rgb(*change(h, s, v)))


def test_colors_stay_in_range(rng):
    image = tf.constant(rng.uniform(0, 255, size=(16, 16, 3)), tf.float32)
    for seed in range(40):
        distorted = augmentation.distort_colors(image, (7, seed)).numpy()
        assert np.isfinite(distorted).all()
        assert distorted.min() >= 0
        assert distorted.max() <= 255
