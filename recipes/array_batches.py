"""Batches of pictures in memory as NumPy arrays, for Keras's backends other than TensorFlow."""

import keras
import numpy as np

from recipes.data import steps_of


def training_batches(split, recipe, first_epoch=0):
    """As `recipes.data.training_batches`: a generator. Its random numbers are not those of `batches`."""
    data, steps = recipe.data, steps_of(len(split), recipe)
    pad = data.pad if data.augmentation == "pad_crop" else 0
    for epoch in range(first_epoch, recipe.epochs):
        order = np.random.default_rng((recipe.seed, epoch)).permutation(len(split))
        for step in range(steps):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            rng = np.random.default_rng((recipe.seed, epoch, step))
            pixels = pad_crop_flip(split.images[chosen], rng, pad, data.flip)
            yield normalize(pixels, data), split.labels[chosen]


class EvaluationBatches(keras.utils.PyDataset):
    """As `recipes.data.evaluation_batches`; Keras asks for their number, which a generator does not know."""

    def __init__(self, split, data, batch_size):
        super().__init__()
        self.split, self.data, self.batch_size = split, data, batch_size

    def __len__(self):
        return -(-len(self.split) // self.batch_size)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        some = self.split.select(slice(index * self.batch_size, (index + 1) * self.batch_size))
        return normalize(some.images, self.data), some.labels


evaluation_batches = EvaluationBatches


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
