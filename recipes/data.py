"""The images of a recipe: what is loaded, and how it is split."""

import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import keras
import numpy as np

from recipes.errors import UserError
from recipes.tfds_arrays import load_arrays

IN_MEMORY = ("digits", "cifar10")  # these need no TensorFlow


@dataclasses.dataclass(frozen=True)
class Split:
    """Some of a data set: uint8 images (n, height, width, 3) or paths of files, and their labels."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def select(self, indices):
        return Split(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set: names of the classes, and the splits, of this module, `records` or `detection_data`."""

    classes: tuple[str, ...]
    train: Any
    validation: Any
    test: Any


def load(data):
    """Loads the data set that a recipe's `data` names.

    Args:
        data: A `recipes.recipe.Data`.

    Returns:
        A `Dataset`.

    Raises:
        UserError: If the data are not there or not usable.
    """
    check_backend(data)
    dataset = _loader(data.name)(data)
    for name in ("train", "validation", "test"):
        split = getattr(dataset, name)
        if not len(split):
            raise UserError(f"{data.name} has no {name} images")
        if isinstance(split, Split):  # others are read as they are needed, and checked then
            _check_labels(split.labels, dataset.classes, f"the {name} images of {data.name}")
    if isinstance(dataset.train, Split):
        absent = [n for label, n in enumerate(dataset.classes) if not np.any(dataset.train.labels == label)]
        if absent:
            raise UserError(f"{data.name} has no training images of {', '.join(absent)}")
    if not data.validation_fraction:
        return dataset
    train, validation = hold_out(dataset.train, data.validation_fraction, dataset.classes)
    return dataclasses.replace(dataset, train=train, validation=validation)


def check_backend(data):
    """Raises a `UserError` unless Keras's backend can be fed with the data set."""
    backend = keras.backend.backend()
    if backend != "tensorflow" and data.name not in IN_MEMORY:
        raise UserError(
            f"on Keras's {backend} backend data.name must be one of {', '.join(IN_MEMORY)}, as the others "
            f"need TensorFlow. Received: {data.name!r}"
        )


def _check_labels(labels, classes, images):
    """Raises a `UserError` unless every label is that of a class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise UserError(
            f"labels must be from 0 to {len(classes) - 1}. Received: {labels[wrong[0]]} for number "
            f"{wrong[0]} of {images}, and {len(wrong) - 1} more that are out of range"
        )


def _loader(name):
    """The function that loads a data set; each imports what it needs."""
    if name == "image_folder":
        from recipes.image_folder import load_image_folder as loader
    elif name == "imagenet2012":
        from recipes.records import load_imagenet as loader
    else:
        loader = {"digits": _digits, "cifar10": _cifar10}[name]
    return loader


def check_classes(dataset, model):
    """Raises a `UserError` unless the model, read from a file, tells as many classes apart as there are."""
    if model.output_shape[-1] != len(dataset.classes):
        raise UserError(
            f"the model was trained with {model.output_shape[-1]} classes; "
            f"the data have {len(dataset.classes)} now: {', '.join(dataset.classes)}"
        )


def check_class_names(dataset, names):
    """Raises a `UserError` unless the classes are still those that the model's outputs stand for."""
    if tuple(names) != dataset.classes:
        raise UserError(
            f"the model was trained with the classes {', '.join(names)}; "
            f"the data have {', '.join(dataset.classes)}"
        )


@functools.singledispatch
def training_batches(split, recipe, first_epoch=0) -> Any:
    """All batches from the beginning of `first_epoch` to the end of the training, one epoch after the other.

    Order and augmentation are functions of the seed, the epoch and the step alone, so that a training
    that goes on from a checkpoint sees the images that it would have seen.

    Args:
        split: The training images.
        recipe: The recipe.
        first_epoch: Number of epochs that are done.

    Returns:
        An iterable of images (batch, height, width, 3), normalized, and labels (batch,): a `tf.data.Dataset`
        where Keras runs on TensorFlow, elsewhere NumPy arrays.
    """
    return _pipeline().training_batches(split, recipe, first_epoch)


@functools.singledispatch
def evaluation_batches(split, data, batch_size) -> Any:
    """The images of a split in order, normalized and not augmented, with their labels, in batches."""
    return _pipeline().evaluation_batches(split, data, batch_size)


@functools.singledispatch
def bad_pictures_named(split) -> Any:
    """A context in which errors about pictures of a split that is read during the training name them."""
    return contextlib.nullcontext()


def _pipeline():
    """The module that makes batches of pictures in memory or in files of their own."""
    if keras.backend.backend() == "tensorflow":
        from recipes import batches as pipeline
    else:
        from recipes import array_batches as pipeline
    return pipeline


def steps_per_epoch(split, recipe):
    """Number of batches in an epoch, the last one perhaps smaller."""
    return steps_of(len(split), recipe)


def steps_of(count, recipe):
    """Number of steps in an epoch of so many images."""
    if recipe.batch_size > count:
        raise UserError(
            f"batch_size must be at most {count}, the number of training images. "
            f"Received: {recipe.batch_size}"
        )
    available = -(-count // recipe.batch_size)
    if recipe.steps_per_epoch is not None and recipe.steps_per_epoch > available:
        raise UserError(
            f"steps_per_epoch must be at most {available}: {count} training images in batches of "
            f"{recipe.batch_size}. Received: {recipe.steps_per_epoch}"
        )
    steps, at_once = recipe.steps_per_epoch or available, recipe.steps_per_execution
    if steps % at_once:  # Keras would go on into the next epoch
        raise UserError(f"steps_per_execution must divide the {steps} steps of an epoch. Received: {at_once}")
    return steps


def to_pixels(images, mean, std):
    """The pixels, 0 to 255, of images that were normalized with `mean` and `std`."""
    return np.round(255 * (images * np.asarray(std, "float32") + np.asarray(mean, "float32")))


def hold_out(split, fraction, classes):
    """Takes the same share of every class out of a split: always the same images, whatever the seed."""
    generator = np.random.default_rng(0)
    held_out = np.zeros(len(split), bool)
    for label, name in enumerate(classes):
        members = generator.permutation(np.flatnonzero(split.labels == label))
        count = max(1, round(fraction * len(members)))
        if count >= len(members):
            raise UserError(
                f"class {name!r} has too few images ({len(members)}) to hold out {fraction:.0%} of them "
                "and train with the others"
            )
        held_out[members[:count]] = True
    return split.select(~held_out), split.select(held_out)


def _digits(data):
    """scikit-learn's digits: a fifth of each class are for testing."""
    from sklearn.datasets import load_digits

    if data.directory is not None:
        raise UserError(
            "data.directory is of no use to digits, which come with scikit-learn; for your own pictures add "
            f"--set data.name=image_folder. Received: {data.directory}"
        )
    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype("float32")
    size = (data.image_size, data.image_size)
    images = keras.ops.convert_to_numpy(keras.ops.image.resize(images, size, data_format="channels_last"))
    images = np.round(images).astype("uint8").repeat(3, axis=-1)
    classes = tuple("0123456789")
    train, test = hold_out(Split(images, labels.astype("int32")), 0.2, classes)
    return Dataset(classes, train, validation=test, test=test)


def _cifar10(data):
    if data.image_size != 32:
        raise UserError(f"data.image_size must be 32 for cifar10. Received: {data.image_size}")
    if data.directory is not None and not pathlib.Path(data.directory).is_dir():
        raise UserError(f"no such folder: {data.directory} (data.directory)")
    try:
        if keras.backend.backend() == "tensorflow":
            import tensorflow_datasets as tfds

            loaded: Any = tfds.load("cifar10", data_dir=data.directory, batch_size=-1, with_info=True)
            classes = tuple(loaded[1].features["label"].names)
            splits = {name: (s["image"].numpy(), s["label"].numpy()) for name, s in loaded[0].items()}
        else:
            classes, splits = load_arrays("cifar10", data.directory)
    except Exception as error:  # TFDS, its downloader and the file system each raise their own
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            "cannot load cifar10 through tensorflow-datasets; without a network, set TFDS_DATA_DIR or "
            f"data.directory to a folder that has it ({reason})"
        ) from error

    def split(name):
        images, labels = splits[name]
        return Split(images, labels.astype("int32"))

    test = split("test")
    return Dataset(classes, split("train"), validation=test, test=test)
