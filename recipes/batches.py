"""Batches of pictures in memory or in files of their own, by tf.data."""

import tensorflow as tf

from recipes.augmentation import pad_crop_flip, random_resized_crop, resized_center
from recipes.data import steps_of
from recipes.pictures import decode


def training_batches(split, recipe, first_epoch=0):
    """As `recipes.data.training_batches`: a `tf.data.Dataset`."""
    images, labels = _as_tensors(split)
    pad = recipe.data.pad if recipe.data.augmentation == "pad_crop" else 0

    def batch(step, indices):
        some = tf.gather(images, indices)
        if recipe.data.augmentation == "random_resized_crop":
            pixels = _random_parts(some, (recipe.seed, step), recipe.data)
        else:
            pixels = _pixels(some, recipe.data)
            pixels = pad_crop_flip(pixels, (recipe.seed, step), pad, recipe.data.flip)
        return normalize(pixels, recipe.data), tf.gather(labels, indices)

    indices = batches_of_indices(len(split), recipe, first_epoch)
    return indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def batches_of_indices(count, recipe, first_epoch=0):
    """Which of `count` images are in which step: a `tf.data.Dataset` of the step's number and the indices."""
    steps = steps_of(count, recipe)

    def epoch_of_indices(epoch):
        order = tf.random.experimental.stateless_shuffle(  # pyright: ignore[reportAttributeAccessIssue]
            tf.range(count), seed=(recipe.seed, epoch)
        )
        batches = tf.data.Dataset.from_tensor_slices(order).batch(recipe.batch_size).take(steps)
        return batches.enumerate(start=epoch * steps)

    return tf.data.Dataset.range(first_epoch, recipe.epochs).flat_map(epoch_of_indices)


def evaluation_batches(split, data, batch_size):
    """As `recipes.data.evaluation_batches`: a `tf.data.Dataset`."""
    images, labels = _as_tensors(split)

    def batch(indices):
        pixels = _pixels(tf.gather(images, indices), data)
        return normalize(pixels, data), tf.gather(labels, indices)

    indices = tf.data.Dataset.range(len(split)).batch(batch_size)
    return indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def normalize(pixels, data):
    """(pixels / 255 − mean) / std, channel by channel."""
    mean, std = (255.0 * tf.constant(values, tf.float32) for values in (data.mean, data.std))
    return (tf.cast(pixels, tf.float32) - mean) / std


def _as_tensors(split):
    with tf.device("cpu"):
        return tf.constant(split.images), tf.constant(split.labels)


def _pixels(images, data):
    """Decodes a batch of paths; a batch of pixels is returned as it is."""
    if images.dtype != tf.string:
        return images
    size = data.image_size

    def read(path):
        picture = tf.io.read_file(path)
        if data.augmentation == "random_resized_crop":
            image = resized_center(picture, size)
        else:
            image = tf.image.resize(decode(picture), (size, size), antialias=True)
        return tf.cast(tf.round(image), tf.uint8)

    return tf.map_fn(read, images, fn_output_signature=tf.TensorSpec((size, size, 3), tf.uint8))


def _random_parts(paths, seed, data):
    """Decodes and augments a batch of paths."""
    seeds = tf.random.experimental.stateless_split(  # pyright: ignore[reportAttributeAccessIssue]
        tf.cast(tf.stack(seed), tf.int64), tf.shape(paths)[0]
    )

    def read(element):
        path, own_seed = element
        picture = tf.io.read_file(path)
        return random_resized_crop(picture, tf.unstack(own_seed), data.image_size, flip=data.flip)

    specification = tf.TensorSpec((data.image_size, data.image_size, 3), tf.float32)
    return tf.map_fn(read, (paths, seeds), fn_output_signature=specification)
