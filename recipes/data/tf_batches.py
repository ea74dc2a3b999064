"""Batches by tf.data, for Keras on TensorFlow."""

import abc
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from recipes.data.augmentation import (
    color_jitter,
    mixup,
    pad_crop_flip,
    random_erasing,
    random_resized_crop,
)
from recipes.data.rand_augment import rand_augment
from recipes.data.split import Split, middle


class TensorFlowSplit(Split):
    """A split whose batches are made by tf.data; a subclass says what they are before normalization."""

    @abc.abstractmethod
    def whole_batches(self, data, batch_size) -> Any:
        """The pictures in order, not augmented, as pixels from 0 to 255, with their targets, in batches."""

    def evaluation_batches(self, data, batch_size):
        def normalized(pixels, targets):
            return normalize(middle(pixels, data.image_size), data), targets

        return mapped(self.whole_batches(data, batch_size), normalized).prefetch(2)

    def pixel_batches(self, data, batch_size):
        batches = self.whole_batches(data, batch_size)
        return mapped(batches, lambda pixels, targets: (rounded(pixels), targets)).prefetch(2)


class IndexedSplit(TensorFlowSplit):
    """A split whose pictures are found by their numbers."""

    @abc.abstractmethod
    def tensors(self) -> Any:
        """What there is of every picture: arrays with a row for each."""

    @abc.abstractmethod
    def whole(self, rows, data) -> Any:
        """Pixels from 0 to 255 and targets of some rows of the `tensors`."""

    @abc.abstractmethod
    def augmented(self, rows, seed, data) -> Any:
        """The same, augmented; the same seed (two integers), the same pixels."""

    def training_batches(self, recipe, first_epoch=0, first_step=0, pixels=False):
        rows, data = _rows(self), recipe.data

        def batch(step, indices):
            images, targets = self.augmented(rows(indices), (recipe.seed, step), data)
            return finished(images, targets, (recipe.seed, step), data, pixels)

        return mapped(shuffled_indices(len(self), recipe, first_epoch).skip(first_step), batch).prefetch(2)

    def whole_batches(self, data, batch_size):
        rows = _rows(self)
        indices = tf.data.Dataset.range(len(self)).batch(batch_size)
        return mapped(indices, lambda indices: self.whole(rows(indices), data))


class LabelledSplit(IndexedSplit):
    """Pictures with one label each: the `tensors` are pictures and labels."""

    @abc.abstractmethod
    def read(self, picture) -> Any:
        """What `random_resized_crop` takes, of a row of the first of the `tensors`."""

    def augmented(self, rows, seed, data):
        if data.augmentation != "random_resized_crop":
            pixels, labels = self.whole(rows, data)
            return pad_crop_flip(pixels, seed, padding(data), data.flip), labels
        pictures, labels = rows

        def part(element):
            picture, own_seed = element
            own_seed = tf.unstack(own_seed)
            return random_resized_crop(self.read(picture), own_seed, data.image_size, flip=data.flip)

        specification = tf.TensorSpec((data.image_size, data.image_size, 3), tf.float32)
        seeds = split_seeds(seed, tf.shape(pictures)[0])
        return tf.map_fn(part, (pictures, seeds), fn_output_signature=specification), labels


@dataclasses.dataclass(frozen=True)
class Arrays(LabelledSplit):
    """Pictures in memory: uint8 (n, height, width, 3), and their labels."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def select(self, indices):
        return Arrays(self.images[indices], self.labels[indices])

    def tensors(self):
        return self.images, self.labels

    def whole(self, rows, data):
        images, labels = rows
        size = (data.whole_size, data.whole_size)
        if images.shape[1:3] != size:
            images = tf.cast(tf.round(tf.image.resize(images, size, antialias=True)), tf.uint8)
        return images, labels

    def read(self, picture):
        return picture


def shuffled_indices(count, recipe, first_epoch=0):
    """Which of `count` pictures are in which step: a `tf.data.Dataset` of step numbers and indices."""
    steps = recipe.steps(count)

    def epoch_of_indices(epoch):
        order = shuffled(tf.range(count), (recipe.seed, epoch))
        batches = tf.data.Dataset.from_tensor_slices(order).batch(recipe.batch_size).take(steps)
        return batches.enumerate(start=epoch * steps)

    return tf.data.Dataset.range(first_epoch, recipe.epochs).flat_map(epoch_of_indices)


def normalize(pixels, data):
    """(pixels / 255 − mean) / std, channel by channel."""
    mean, std = (255.0 * tf.constant(values, tf.float32) for values in (data.mean, data.std))
    return (tf.cast(pixels, tf.float32) - mean) / std


def rounded(pixels):
    """Whole numbers from 0 to 255, in float32."""
    return tf.round(tf.cast(pixels, tf.float32))


def finished(images, targets, seed, data, pixels):
    """Augmented training images recolored, erased and mixed as the recipe asks, normalized or as `pixels`."""
    fold_in = tf.random.experimental.stateless_fold_in  # pyright: ignore[reportAttributeAccessIssue]
    seed = tf.cast(tf.stack(seed), tf.int64)
    if data.rand_augment:
        images = rand_augment(
            images, fold_in(seed, 4), data.rand_augment, [255 * value for value in data.mean]
        )
    if data.color_jitter:
        images = color_jitter(images, fold_in(seed, 1), data.color_jitter)
    if data.random_erasing:
        mean = [255 * value for value in data.mean]
        images = random_erasing(images, fold_in(seed, 2), data.random_erasing, mean)
    if data.mixup:
        images, targets = mixup(images, targets, fold_in(seed, 3), data.mixup)
    return (rounded(images) if pixels else normalize(images, data)), targets


def padding(data):
    """Pixels that are added on every side before a random crop."""
    return data.pad if data.augmentation == "pad_crop" else 0


def shuffled(values, seed):
    """The values in another order, the same for the same seed."""
    return tf.random.experimental.stateless_shuffle(  # pyright: ignore[reportAttributeAccessIssue]
        values, seed=seed
    )


def split_seeds(seed, count):
    """As many seeds as pictures in a batch, of the seed of the batch (two integers)."""
    return tf.random.experimental.stateless_split(  # pyright: ignore[reportAttributeAccessIssue]
        tf.cast(tf.stack(seed), tf.int64), count
    )


def _rows(split):
    """A function that takes rows of the split's tensors, which are kept in memory once."""
    with tf.device("cpu"):
        tensors = [tf.constant(array) for array in split.tensors()]
    return lambda indices: tuple(tf.gather(tensor, indices) for tensor in tensors)


def mapped(examples, function):
    """The examples of a `tf.data.Dataset` through a function, several at once and in order."""
    return examples.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
