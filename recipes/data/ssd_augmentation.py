"""SSD's augmentation of pictures and their boxes (Liu et al., section 2.2); the same seed, the same picture.

The geometric part is one window on the picture: it may be larger than it (SSD's expansion), a part of it
(the crop) and mirrored, and is resized only once.
"""

import math

import tensorflow as tf

LARGEST_EXPANSION = 4.0
LEAST_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # of the crop with some object; the last takes any crop
SMALLEST_SIDE = 0.3
LARGEST_ASPECT_RATIO = 2.0
CROP_ATTEMPTS = 50
BRIGHTNESS = 32.0
FACTORS = (0.5, 1.5)
HUE = 18 / 360
_CHANNEL_ORDERS = ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def ssd_augmentation(image, boxes_yxyx, labels, seed, size, fill, flip=True):
    """Photometric distortion, expansion, a crop that keeps an object, and mirroring.

    Args:
        image: Pixels from 0 to 255, (height, width, 3).
        boxes_yxyx: Shape (objects, 4), relative to the picture.
        labels: Shape (objects,); −1 where there is no object.
        seed: Two integers.
        size: Height and width of the result.
        fill: Three pixel values, for what an expanded picture has around it.
        flip: Whether to mirror half of the pictures.

    Returns:
        The picture, float32 (size, size, 3) with pixels from 0 to 255, its boxes, cut off at its border, and
        its labels, −1 also for objects whose center it does not show.
    """
    color_seed, expand_seed, crop_seed, flip_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 4))
    image = distort_colors(tf.cast(image, tf.float32), color_seed)
    shape = tf.cast(tf.shape(image), tf.float32)
    canvas = random_expansion(expand_seed)
    crop = random_crop(into(boxes_yxyx, canvas), labels >= 0, shape[0] / shape[1], crop_seed)
    window = out_of(crop, canvas)
    labels = tf.where(_centers_inside(boxes_yxyx, window), labels, -1)
    boxes_yxyx = tf.clip_by_value(into(boxes_yxyx, window), 0.0, 1.0)
    image = look_through(image, window, size, fill)
    if flip:
        coin = tf.random.stateless_uniform((), flip_seed) < 0.5
        image = tf.where(coin, tf.reverse(image, axis=[1]), image)
        ymin, xmin, ymax, xmax = tf.unstack(boxes_yxyx, axis=-1)
        boxes_yxyx = tf.where(coin, tf.stack([ymin, 1 - xmax, ymax, 1 - xmin], axis=-1), boxes_yxyx)
    return image, tf.where((labels >= 0)[:, None], boxes_yxyx, 0.0), labels


def distort_colors(image, seed):
    """Brightness, contrast, saturation, hue and the order of the channels, each for half of the pictures.

    As in SSD's own program: contrast comes before the other three or after them.
    """
    coins, values = tf.unstack(tf.random.stateless_uniform((2, 6), seed))
    on = coins < 0.5
    low, high = FACTORS
    factors = tf.where(on, low + values * (high - low), 1.0)
    contrast_first = values[5] < 0.5

    image += tf.where(on[0], (2 * values[0] - 1) * BRIGHTNESS, 0.0)
    image *= tf.where(contrast_first, factors[1], 1.0)
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(tf.clip_by_value(image / 255, 0, 1)), axis=-1)
    hue = tf.math.floormod(hue + tf.where(on[3], (2 * values[3] - 1) * HUE, 0.0), 1.0)
    saturation = tf.clip_by_value(saturation * factors[2], 0, 1)
    image = 255 * tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], axis=-1))
    image *= tf.where(contrast_first, 1.0, factors[1])
    orders = tf.constant(_CHANNEL_ORDERS)
    order = orders[tf.cast(values[4] * len(_CHANNEL_ORDERS), tf.int32)]
    image = tf.gather(image, tf.where(on[4], order, tf.range(3)), axis=-1)
    return tf.clip_by_value(image, 0, 255)


def random_expansion(seed):
    """A window that is for half of the pictures larger than the picture, up to four times."""
    coin, ratio, y, x = tf.unstack(tf.random.stateless_uniform((4,), seed))
    ratio = tf.where(coin < 0.5, 1 + ratio * (LARGEST_EXPANSION - 1), 1.0)
    top, left = -y * (ratio - 1), -x * (ratio - 1)
    return tf.stack([top, left, top + ratio, left + ratio])


def random_crop(boxes_yxyx, valid, aspect_ratio, seed):
    """The whole picture, or a part that overlaps an object enough and has an object's center.

    For one in seven all of the picture, for the others a part whose intersection over union with some object
    is at least one of `LEAST_IOUS`, drawn: the first of 50 that fits, or the whole picture.

    Args:
        boxes_yxyx: Shape (objects, 4), relative to the picture.
        valid: Whether there is such an object, (objects,).
        aspect_ratio: Height / width of the picture.
        seed: Two integers.

    Returns:
        The window, (4,), relative to the picture.
    """
    side_seed, corner_seed, mode_seed = tf.unstack(tf.random.split(seed, 3))
    modes = len(LEAST_IOUS) + 1
    mode = tf.random.stateless_uniform((), mode_seed, 0, modes, tf.int32)
    least_iou = tf.constant((*LEAST_IOUS, 0.0))[mode]

    sides = tf.random.stateless_uniform((CROP_ATTEMPTS, 2), side_seed, SMALLEST_SIDE, 1.0)
    corners = tf.random.stateless_uniform((CROP_ATTEMPTS, 2), corner_seed) * (1 - sides)
    windows = tf.concat([corners, corners + sides], axis=-1)
    stretch = tf.abs(tf.math.log(aspect_ratio * sides[:, 0] / sides[:, 1]))
    overlap = tf.where(valid, _iou(windows[:, None], boxes_yxyx[None]), -1.0)
    shown = _centers_inside(boxes_yxyx[None], windows[:, None]) & valid
    fits = (
        (mode < len(LEAST_IOUS))
        & (stretch <= math.log(LARGEST_ASPECT_RATIO))
        & (tf.reduce_max(overlap, axis=-1) >= least_iou)
        & tf.reduce_any(shown, axis=-1)
    )
    return tf.where(tf.reduce_any(fits), windows[tf.argmax(fits)], tf.constant([0.0, 0.0, 1.0, 1.0]))


def look_through(image, window, size, fill):
    """What a window shows of a picture, resized, and `fill` where it shows nothing of it."""
    height, width, _ = tf.unstack(tf.cast(tf.shape(image), tf.float32))
    # One more pixel at the border, for what lies between a border and the centers of its pixels. Then from
    # borders of pixels, as windows have them, to centers, as the sampling has them.
    padded = tf.pad(image, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    extent = tf.stack([height, width])
    first, last = (
        ((window[:2] + share * (window[2:] - window[:2])) * extent + 0.5) / (extent + 1)
        for share in (0.5 / size, 1 - 0.5 / size)
    )
    shown = tf.image.crop_and_resize(padded[None], tf.concat([first, last], 0)[None], [0], (size, size))[0]
    centers = (tf.range(size, dtype=tf.float32) + 0.5) / size
    y, x = (window[k] + centers * (window[k + 2] - window[k]) for k in (0, 1))
    inside = ((y >= 0) & (y <= 1))[:, None] & ((x >= 0) & (x <= 1))[None]
    return tf.where(inside[..., None], shown, tf.constant(fill, tf.float32))


def into(boxes_yxyx, window):
    """Boxes relative to the picture, relative to a window on it."""
    corner, sides = tf.tile(window[:2], [2]), tf.tile(window[2:] - window[:2], [2])
    return (boxes_yxyx - corner) / sides


def out_of(box_yxyx, window):
    """A box relative to a window on the picture, relative to the picture."""
    corner, sides = tf.tile(window[:2], [2]), tf.tile(window[2:] - window[:2], [2])
    return box_yxyx * sides + corner


def _centers_inside(boxes_yxyx, window):
    centers = (boxes_yxyx[..., :2] + boxes_yxyx[..., 2:]) / 2
    return tf.reduce_all((centers > window[..., :2]) & (centers < window[..., 2:]), axis=-1)


def _iou(first_yxyx, second_yxyx):
    """Intersection over union, with broadcasting: Keras's takes lists of boxes, all with all, in pixels."""
    sides = tf.minimum(first_yxyx[..., 2:], second_yxyx[..., 2:]) - tf.maximum(
        first_yxyx[..., :2], second_yxyx[..., :2]
    )
    shared = tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1)
    areas = [tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (first_yxyx, second_yxyx)]
    return shared / tf.maximum(areas[0] + areas[1] - shared, 1e-12)
