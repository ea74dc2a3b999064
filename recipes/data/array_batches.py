"""Batches as NumPy arrays, for Keras's backends other than TensorFlow."""

import dataclasses

import keras
import numpy as np

from recipes.data.split import Split


@dataclasses.dataclass(frozen=True)
class Arrays(Split):
    """Pictures in memory: uint8 (n, height, width, 3), and their labels."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def select(self, indices):
        return Arrays(self.images[indices], self.labels[indices])

    def training_batches(self, recipe, first_epoch=0, first_step=0, pixels=False):
        """As `Split.training_batches`: a generator. Its random numbers are not those of tf.data."""
        data, steps = recipe.data, recipe.steps(len(self))
        pad = data.pad if data.augmentation == "pad_crop" else 0
        for epoch in range(first_epoch, recipe.epochs):
            order = np.random.default_rng((recipe.seed, epoch)).permutation(len(self))
            for step in range(first_step if epoch == first_epoch else 0, steps):
                chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
                rng = np.random.default_rng((recipe.seed, epoch, step))
                images = pad_crop_flip(self.images[chosen], rng, pad, data.flip)
                images = images.astype("float32") if pixels else normalize(images, data)
                yield images, self.labels[chosen]

    def evaluation_batches(self, data, batch_size):
        return _Batches(self, batch_size, lambda pixels: normalize(pixels, data))

    def pixel_batches(self, data, batch_size):
        return _Batches(self, batch_size, lambda pixels: pixels.astype("float32"))


class _Batches(keras.utils.PyDataset):
    """Batches in order. Keras asks for their number, which a generator does not know."""

    def __init__(self, split, batch_size, prepare):
        super().__init__()
        self.split, self.batch_size, self.prepare = split, batch_size, prepare

    def __len__(self):
        return -(-len(self.split) // self.batch_size)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        some = self.split.select(slice(index * self.batch_size, (index + 1) * self.batch_size))
        return self.prepare(some.images), some.labels


def pad_crop_flip(images, rng, pad, flip):
    """Zero padding, random crop back to the old size, and random mirroring, for each image on its own.

    Args:
        images: Array (batch, height, width, channels).
        rng: A `numpy.random.Generator`.
        pad: Pixels added on every side.
        flip: Whether to mirror half of the images.

    Returns:
        An array of the same shape.
    """
    batch, height, width, _ = images.shape
    if pad:
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
        top, left = rng.integers(2 * pad + 1, size=(2, batch))
        images = windows[np.arange(batch), top, left].transpose(0, 2, 3, 1)
    if flip:
        coin = rng.random((batch, 1, 1, 1)) < 0.5
        images = np.where(coin, images[:, :, ::-1], images)
    return images


def normalize(pixels, data):
    """(pixels / 255 − mean) / std, channel by channel."""
    mean, std = (np.float32(255) * np.array(values, "float32") for values in (data.mean, data.std))
    return (pixels.astype("float32") - mean) / std
