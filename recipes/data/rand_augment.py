"""RandAugment (Cubuk et al., 2020): two of fourteen changes, drawn anew for every image, of one strength.

The changes and how strong they are at which magnitude are those of torchvision's `RandAugment`; pixels are
those of Pillow's `ImageOps` and `ImageEnhance`.
"""

import math

import numpy as np
import tensorflow as tf

MOST = 30  # the largest magnitude
_SMOOTH = [[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]  # Pillow's filter of that name, times 13


def rand_augment(images, draws, magnitude, fill, operations=2):
    """Changes every image by some operations, each drawn from all.

    Args:
        images: Tensor (batch, height, width, 3) of pixels in [0, 255].
        draws: The batch's `Draws`.
        magnitude: How strong they are, from 0 to 30.
        fill: What is where nothing of the image is after it was moved: three numbers in [0, 255].
        operations: How many for each image, one after the other.

    Returns:
        A float32 tensor of the same shape, of whole numbers in [0, 255].
    """
    images = tf.round(tf.cast(images, tf.float32))
    kinds, signs = tf.unstack(draws.uniform((2, operations, None)))
    kinds = tf.cast(kinds * len(OPERATIONS), tf.int32)
    strengths = tf.where(signs < 0.5, -1.0, 1.0) * (magnitude / MOST)

    def change(element):
        image, kinds, strengths = element
        for number in range(operations):
            changed = [lambda f=f, s=strengths[number], i=image: f(i, s, fill) for f in OPERATIONS.values()]
            image = tf.clip_by_value(tf.round(tf.switch_case(kinds[number], changed)), 0.0, 255.0)
        return image

    elements = (images, tf.transpose(kinds), tf.transpose(strengths))
    return tf.map_fn(change, elements, fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32))


def _moved(image, matrix, fill):
    """The image whose pixel (x, y) is that of `image` at a x + b y + c, d x + e y + f."""
    a, b, c, d, e, f = (tf.cast(value, tf.float32) for value in matrix)
    # TensorFlow counts from the middles of pixels, these numbers from the corners of the image.
    c, f = c + (a + b - 1) / 2, f + (d + e - 1) / 2
    fill = tf.constant(fill, tf.float32)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=(image - fill)[tf.newaxis],
        transforms=tf.stack([a, b, c, d, e, f, 0.0, 0.0])[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return moved[0] + fill


def _shear_x(image, strength, fill):
    return _moved(image, (1, 0.3 * strength, 0, 0, 1, 0), fill)


def _shear_y(image, strength, fill):
    return _moved(image, (1, 0, 0, 0.3 * strength, 1, 0), fill)


def _translate_x(image, strength, fill):
    shift = tf.round(150 / 331 * strength * tf.cast(tf.shape(image)[1], tf.float32))
    return _moved(image, (1, 0, shift, 0, 1, 0), fill)


def _translate_y(image, strength, fill):
    shift = tf.round(150 / 331 * strength * tf.cast(tf.shape(image)[0], tf.float32))
    return _moved(image, (1, 0, 0, 0, 1, shift), fill)


def _rotate(image, strength, fill):
    angle = strength * math.radians(30)
    cos, sin = tf.cos(angle), tf.sin(angle)
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    x, y = width / 2, height / 2
    return _moved(image, (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y), fill)


def _blend(image, other, strength):
    """From `other`, at −1, past the image, at 0, to as far on the other side."""
    return tf.clip_by_value(other + (1 + 0.9 * strength) * (image - other), 0.0, 255.0)


def _brightness(image, strength, fill):
    return _blend(image, tf.zeros_like(image), strength)


def _color(image, strength, fill):
    return _blend(image, _gray(image), strength)


def _contrast(image, strength, fill):
    return _blend(image, tf.round(tf.reduce_mean(_gray(image))), strength)


def _sharpness(image, strength, fill):
    kernel = np.tile(np.array(_SMOOTH, "float32")[..., np.newaxis, np.newaxis] / 13, (1, 1, 3, 1))
    inner = tf.nn.depthwise_conv2d(image[tf.newaxis], kernel, (1, 1, 1, 1), "VALID")[0]
    edge = tf.pad(tf.ones_like(inner), [[1, 1], [1, 1], [0, 0]]) == 0  # which Pillow leaves as it is
    smooth = tf.where(edge, image, tf.pad(tf.round(inner), [[1, 1], [1, 1], [0, 0]]))
    return _blend(image, smooth, strength)


def _posterize(image, strength, fill):
    step = 2.0 ** tf.round(4 * tf.abs(strength))
    return tf.floor(image / step) * step


def _solarize(image, strength, fill):
    return tf.where(image >= 255 * (1 - tf.abs(strength)), 255 - image, image)


def _auto_contrast(image, strength, fill):
    low, high = (reduce(image, axis=(0, 1)) for reduce in (tf.reduce_min, tf.reduce_max))
    return tf.where(high > low, tf.floor(tf.math.divide_no_nan((image - low) * 255, high - low)), image)


def _equalize(image, strength, fill):
    values = tf.cast(image, tf.int32)

    def equalized(channel):
        counts = tf.math.bincount(channel, minlength=256, maxlength=256)
        # As Pillow: the count of the brightest value that there is does not matter.
        last = counts[tf.reduce_max(channel)]
        step = (tf.size(channel) - last) // 255
        table = (step // 2 + tf.cumsum(counts, exclusive=True)) // tf.maximum(step, 1)
        return tf.where(step > 0, tf.gather(tf.minimum(table, 255), channel), channel)

    channels = [equalized(channel) for channel in tf.unstack(values, axis=-1)]
    return tf.cast(tf.stack(channels, axis=-1), tf.float32)


def _gray(image):
    """ITU-R 601's luma, as Pillow computes it."""
    weights = tf.constant([19595.0, 38470.0, 7471.0]) / 65536
    return tf.floor(tf.reduce_sum(image * weights, axis=-1, keepdims=True) + 0.5)


OPERATIONS = {
    "identity": lambda image, strength, fill: image,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
}
