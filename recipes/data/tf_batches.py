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
from recipes.data.draws import Draws, shuffled
from recipes.data.rand_augment import rand_augment
from recipes.data.split import Split, middle


@dataclasses.dataclass(frozen=True)
class Share:
    """What one of several workers reads of a batch: every so-manieth picture, from its own number on."""

    worker: int = 0
    workers: int = 1

    def rows(self, count):
        """Which of the pictures of a batch these are; None for all."""
        return None if self.workers == 1 else tf.range(self.worker, count, self.workers)

    def of(self, batch):
        return tf.nest.map_structure(lambda tensor: tensor[self.worker :: self.workers], batch)


ALL = Share()


class TensorFlowSplit(Split):
    """A split whose batches are made by tf.data; a subclass says what they are before normalization."""

    def training_batches(self, recipe, first_epoch=0, first_step=0, pixels=False, share=ALL):
        """As `Split.training_batches`; of each batch only a `Share`, whose size must divide the batch's."""
        begin = first_epoch, first_step
        if recipe.data.mixup and share != ALL:  # every picture needs another one
            batches = self.shared_batches(recipe, begin, pixels, ALL)
            return batches.map(lambda *batch: share.of(batch))
        return self.shared_batches(recipe, begin, pixels, share)

    @abc.abstractmethod
    def shared_batches(self, recipe, begin, pixels, share) -> Any:
        """As `training_batches`, from `begin`, an epoch and a step; nothing is mixed unless all is there."""

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
    def augmented(self, rows, draws, data) -> Any:
        """The same, augmented by a batch's `Draws`."""

    def shared_batches(self, recipe, begin, pixels, share):
        (first_epoch, first_step), rows, data = begin, _rows(self), recipe.data

        def batch(step, indices):
            count = tf.shape(indices)[0]
            draws = Draws((recipe.seed, step), count, share.rows(count))
            images, targets = self.augmented(rows(share.of(indices)), draws, data)
            return finished(images, targets, draws, data, pixels)

        return mapped(shuffled_indices(len(self), recipe, first_epoch).skip(first_step), batch).prefetch(2)

    def whole_batches(self, data, batch_size):
        rows = _rows(self)
        indices = tf.data.Dataset.range(len(self)).batch(batch_size)
        return mapped(indices, lambda indices: self.whole(rows(indices), data))


class LabelledSplit(IndexedSplit):
    """Pictures with one label each: the `tensors` are pictures and labels."""

    @abc.abstractmethod
    def read(self, picture, data) -> Any:
        """What `random_resized_crop` takes, of a row of the first of the `tensors`."""

    def augmented(self, rows, draws, data):
        if data.augmentation != "random_resized_crop":
            pixels, labels = self.whole(rows, data)
            return pad_crop_flip(pixels, draws, padding(data), data.flip), labels
        pictures, labels = rows

        def part(element):
            picture, own_seed = element
            own_seed = tf.unstack(own_seed)
            return random_resized_crop(self.read(picture, data), own_seed, data.image_size, flip=data.flip)

        specification = tf.TensorSpec((data.image_size, data.image_size, 3), tf.float32)
        return tf.map_fn(part, (pictures, draws.seeds()), fn_output_signature=specification), labels


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

    def read(self, picture, data):
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


def finished(images, targets, draws, data, pixels):
    """Augmented training images recolored, erased and mixed as the recipe asks, normalized or as `pixels`."""
    mean = [255 * value for value in data.mean]
    if data.rand_augment:
        images = rand_augment(images, draws.fold_in(4), data.rand_augment, mean)
    if data.color_jitter:
        images = color_jitter(images, draws.fold_in(1), data.color_jitter)
    if data.random_erasing:
        images = random_erasing(images, draws.fold_in(2), data.random_erasing, mean)
    if data.mixup:
        images, targets = mixup(images, targets, draws.fold_in(3), data.mixup)
    return (rounded(images) if pixels else normalize(images, data)), targets


def padding(data):
    """Pixels that are added on every side before a random crop."""
    return data.pad if data.augmentation == "pad_crop" else 0


def _rows(split):
    """A function that takes rows of the split's tensors, which are kept in memory once."""
    with tf.device("cpu"):
        tensors = [tf.constant(array) for array in split.tensors()]
    return lambda indices: tuple(tf.gather(tensor, indices) for tensor in tensors)


def mapped(examples, function):
    """The examples of a `tf.data.Dataset` through a function, several at once and in order."""
    return examples.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
