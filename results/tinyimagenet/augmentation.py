"""The recipes' augmentation as functions of JAX, for pictures that are on the GPU already."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

AREA, ASPECT_RATIO, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10


def resized(images, rows, columns):
    """Parts of images (n, height, width, 3), by weights of rows (n, size, height) and columns (…, width)."""
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    return product("nia,nabc,njb->nijc", rows, images.astype(jnp.float32), columns)


def interpolation(starts, lengths, source, size):
    """Weights (n, size, source) of the linear interpolation of `size` pixels from parts of no more pixels."""
    centers = (jnp.arange(size) + 0.5)[None] * (lengths / size)[:, None] - 0.5
    pixels = jnp.arange(source)[None] - starts[:, None]
    weights = jnp.maximum(0, 1 - jnp.abs(centers[:, :, None] - pixels[:, None]))
    weights *= ((pixels >= 0) & (pixels < lengths[:, None]))[:, None]
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def random_resized_crop(key, images, size):
    """As `recipes.data.augmentation.random_resized_crop`, of square images of at most `size` pixels."""
    count, source = len(images), images.shape[1]
    uniform = functools.partial(jax.random.uniform, shape=(count, ATTEMPTS))
    shares, ratios, tops, lefts = (uniform(each) for each in jax.random.split(key, 4))
    pixels = source**2 * (AREA[0] + shares * (AREA[1] - AREA[0]))
    low, high = np.log(ASPECT_RATIO)
    ratios = jnp.exp(low + ratios * (high - low))
    heights, widths = jnp.round(jnp.sqrt(pixels / ratios)), jnp.round(jnp.sqrt(pixels * ratios))
    fits = (heights > 0) & (heights <= source) & (widths > 0) & (widths <= source)
    first = jnp.argmax(fits, axis=1)[:, None]
    is_drawn = jnp.any(fits, axis=1)

    def drawn(lengths, places):
        length, place = (jnp.take_along_axis(x, first, axis=1)[:, 0] for x in (lengths, places))
        start = jnp.minimum(jnp.floor(place * (source - length + 1)), source - length)
        return jnp.where(is_drawn, start, 0.0), jnp.where(is_drawn, length, float(source))  # a square fits

    rows = interpolation(*drawn(heights, tops), source, size)
    columns = interpolation(*drawn(widths, lefts), source, size)
    flip = jax.random.uniform(jax.random.fold_in(key, 4), (count, 1, 1)) < 0.5
    return resized(images, rows, jnp.where(flip, columns[:, ::-1], columns))


def pad_crop_flip(key, images, pad):
    """As `recipes.data.augmentation.pad_crop_flip`."""
    count, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0))).astype(jnp.float32)
    crop_key, flip_key = jax.random.split(key)
    top, left = jax.random.randint(crop_key, (2, count, 1), 0, 2 * pad + 1)
    images = jnp.take_along_axis(padded, (top + jnp.arange(height))[..., None, None], axis=1)
    images = jnp.take_along_axis(images, (left + jnp.arange(width))[:, None, :, None], axis=2)
    return jnp.where(jax.random.uniform(flip_key, (count, 1, 1, 1)) < 0.5, images[:, :, ::-1], images)


def middles(images, data):
    """Test pictures as `evaluation_batches` has them: enlarged, rounded, their middles."""
    whole, size, start = data.whole_size, data.image_size, (data.whole_size - data.image_size) // 2
    weights = interpolation(jnp.zeros(1), jnp.full(1, float(images.shape[1])), images.shape[1], whole)
    enlarge = jax.jit(
        lambda x: jnp.round(resized(x, *(jnp.broadcast_to(weights, (len(x), *weights.shape[1:])),) * 2))
    )
    batches = [enlarge(images[i : i + 500]) for i in range(0, len(images), 500)]
    return jnp.concatenate(batches)[:, start : start + size, start : start + size].astype(jnp.uint8)
