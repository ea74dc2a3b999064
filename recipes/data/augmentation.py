"""Augmentation of training images; the same seed gives the same image."""

import tensorflow as tf

from recipes.data.pictures import decode, decode_window, window_of

CROP_ATTEMPTS = 10


def pad_crop_flip(images, draws, pad, flip):
    """Zero padding, random crop back to the old size, and random mirroring, for each image on its own.

    Args:
        images: Tensor (batch, height, width, channels).
        draws: The batch's `Draws`.
        pad: Pixels added on every side.
        flip: Whether to mirror half of the images.

    Returns:
        A tensor of the same shape.
    """
    _, height, width, _ = tf.unstack(tf.shape(images))
    crop_draws, flip_draws = draws.split()
    if pad:
        padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        corner = crop_draws.uniform((None, 2), 0, 2 * pad + 1, tf.int32)
        images = tf.gather(padded, corner[:, :1] + tf.range(height), axis=1, batch_dims=1)
        images = tf.gather(images, corner[:, 1:] + tf.range(width), axis=2, batch_dims=1)
    if flip:
        coin = flip_draws.uniform((None, 1, 1, 1)) < 0.5
        images = tf.where(coin, tf.reverse(images, axis=[2]), images)
    return images


def random_resized_crop(picture, seed, size, area=(0.08, 1.0), aspect_ratio=(3 / 4, 4 / 3), flip=True):
    """ImageNet's augmentation (paper, section 5.1): a random part of the picture, resized, and mirroring.

    The part is drawn before the picture is decoded, and of most JPEGs only the part is decoded. As in
    torchvision's `RandomResizedCrop`, the area is uniform and the aspect ratio log-uniform; where none of ten
    draws fits into the picture, it is the largest central part of an allowed aspect ratio.

    Args:
        picture: The bytes of a picture file, a scalar string tensor, or its pixels (height, width, 3).
        seed: Two integers.
        size: Height and width of the result in pixels.
        area: Bounds of the part's share of the picture's area.
        aspect_ratio: Bounds of the part's width / height.
        flip: Whether to mirror half of the images.

    Returns:
        A float32 tensor (size, size, 3) of pixels in [0, 255].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(tf.cast(tf.stack(seed), tf.int64), 2))

    def window(height, width):
        return random_window(height, width, crop_seed, area, aspect_ratio)

    picture = tf.convert_to_tensor(picture)
    # Antialiased, as PIL and with it torchvision resize.
    part = decode_window(picture, window) if picture.dtype == tf.string else window_of(picture, window)
    image = tf.image.resize(part, (size, size), antialias=True)
    if flip:
        coin = tf.random.stateless_uniform((), flip_seed) < 0.5
        image = tf.cond(coin, lambda: tf.reverse(image, axis=[1]), lambda: image)
    return tf.ensure_shape(image, (size, size, 3))


def resized(picture, size):
    """A whole picture, stretched to a square by triangular interpolation with antialiasing.

    Args:
        picture: As `random_resized_crop`.
        size: Height and width of the result in pixels.

    Returns:
        As `random_resized_crop`.
    """
    image = tf.image.resize(decode(picture), (size, size), antialias=True)
    return tf.ensure_shape(image, (size, size, 3))


def shrunk(image, most):
    """An image whose longer side has at most so many pixels, made smaller with antialiasing.

    What comes behind may then sample it without: a photograph of 4000 pixels would become noise.

    Args:
        image: Tensor (height, width, 3) of pixels.
        most: The number of pixels.

    Returns:
        A float32 tensor (height, width, 3).
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.minimum(1.0, most / tf.reduce_max(size))

    def smaller():
        return tf.image.resize(image, tf.cast(tf.math.ceil(scale * size), tf.int32), antialias=True)

    return tf.cond(scale < 1, smaller, lambda: tf.cast(image, tf.float32))


def color_jitter(images, draws, strength):
    """Brightness, contrast and saturation of each image, times a factor from 1 − strength to 1 + strength.

    As torchvision's `ColorJitter`, always in this order.

    Args:
        images: Tensor (batch, height, width, 3) of pixels in [0, 255].
        draws: The batch's `Draws`.
        strength: A number in [0, 1).

    Returns:
        A float32 tensor of the same shape, of pixels in [0, 255].
    """
    images = tf.cast(images, tf.float32)
    factors = draws.uniform((3, None, 1, 1, 1), 1 - strength, 1 + strength)
    brightness, contrast, saturation = tf.unstack(factors)
    images = tf.clip_by_value(images * brightness, 0, 255)
    mean = tf.reduce_mean(tf.image.rgb_to_grayscale(images), axis=(1, 2), keepdims=True)
    images = tf.clip_by_value(mean + contrast * (images - mean), 0, 255)
    gray = tf.image.rgb_to_grayscale(images)
    return tf.clip_by_value(gray + saturation * (images - gray), 0, 255)


def random_erasing(images, draws, share, value, area=(0.02, 1 / 3), aspect_ratio=(0.3, 3.3)):
    """Makes a rectangle of some of the images a plain color (Zhong et al., 2020).

    Args:
        images: Tensor (batch, height, width, 3).
        draws: The batch's `Draws`.
        share: Of the images that lose a rectangle, a number in [0, 1).
        value: The color: three numbers.
        area: Bounds of the rectangle's share of the image.
        aspect_ratio: Bounds of its width / height.

    Returns:
        A float32 tensor of the same shape.
    """
    images = tf.cast(images, tf.float32)
    _, height, width, _ = tf.unstack(tf.shape(images))
    rows, columns = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    coins, areas, ratios, tops, lefts = tf.unstack(draws.uniform((5, None)))
    pixels = rows * columns * (area[0] + areas * (area[1] - area[0]))
    low, high = tf.math.log(aspect_ratio[0]), tf.math.log(aspect_ratio[1])
    ratios = tf.exp(low + ratios * (high - low))
    heights = tf.minimum(tf.sqrt(pixels / ratios), rows)
    widths = tf.minimum(tf.sqrt(pixels * ratios), columns)
    tops, lefts = tops * (rows - heights), lefts * (columns - widths)

    def inside(size, starts, lengths):
        centers = tf.range(size)[tf.newaxis] + 0.5
        return (centers > starts[:, tf.newaxis]) & (centers < (starts + lengths)[:, tf.newaxis])

    erased = inside(rows, tops, heights)[:, :, tf.newaxis] & inside(columns, lefts, widths)[:, tf.newaxis]
    erased &= (coins < share)[:, tf.newaxis, tf.newaxis]
    return tf.where(erased[..., tf.newaxis], tf.constant(value, tf.float32), images)


def mixup(images, labels, draws, alpha):
    """Mixes every image with the one before it in the batch (Zhang et al., 2018).

    x = s · x_i + (1 − s) · x_j,  s the larger of two shares from Beta(α, α)

    The label is that of i with probability s, that of j otherwise, so that the loss's expectation is mixup's,
    s · ℓ(y_i) + (1 − s) · ℓ(y_j), and labels stay whole numbers.

    Args:
        images: Tensor (batch, height, width, 3).
        labels: Tensor (batch,).
        draws: The batch's `Draws`, of all pictures.
        alpha: α > 0. The smaller, the more often one of the two is nearly all.

    Returns:
        A float32 tensor of images and one of labels, of the same shapes.
    """
    share_draws, label_draws = draws.split()
    one, other = tf.unstack(share_draws.gamma((2, None), alpha))
    share = tf.cast(tf.math.divide_no_nan(tf.maximum(one, other), one + other), tf.float32)
    images, weight = tf.cast(images, tf.float32), share[:, tf.newaxis, tf.newaxis, tf.newaxis]
    is_first = label_draws.uniform((None,)) < share
    return (
        weight * images + (1 - weight) * tf.roll(images, 1, axis=0),
        tf.where(is_first, labels, tf.roll(labels, 1, axis=0)),
    )


def random_window(height, width, seed, area, aspect_ratio):
    """Draws the part for `random_resized_crop`: top, left, height, width, in pixels."""
    shares, ratios, tops, lefts = tf.unstack(tf.random.stateless_uniform((4, CROP_ATTEMPTS), seed))
    pixels = tf.cast(height * width, tf.float32) * (area[0] + shares * (area[1] - area[0]))
    low, high = tf.math.log(aspect_ratio[0]), tf.math.log(aspect_ratio[1])
    ratios = tf.exp(low + ratios * (high - low))
    heights = tf.cast(tf.round(tf.sqrt(pixels / ratios)), tf.int32)
    widths = tf.cast(tf.round(tf.sqrt(pixels * ratios)), tf.int32)
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = tf.argmax(fits)  # of equal ones the first; 0 where none fits

    def drawn():
        h, w = heights[first], widths[first]
        rows, columns = tf.cast(height - h + 1, tf.float32), tf.cast(width - w + 1, tf.float32)
        # A uniform number times n, rounded down; in float32 it may come out as n itself.
        top = tf.minimum(tf.cast(tops[first] * rows, tf.int32), height - h)
        left = tf.minimum(tf.cast(lefts[first] * columns, tf.int32), width - w)
        return tf.stack([top, left, h, w])

    def central():
        h = tf.minimum(height, tf.cast(tf.round(tf.cast(width, tf.float32) / aspect_ratio[0]), tf.int32))
        w = tf.minimum(width, tf.cast(tf.round(tf.cast(height, tf.float32) * aspect_ratio[1]), tf.int32))
        return tf.stack([(height - h) // 2, (width - w) // 2, h, w])

    return tf.cond(tf.reduce_any(fits), drawn, central)
