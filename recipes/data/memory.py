"""Data sets that fit into memory, for any backend of Keras: digits and CIFAR-10."""

import keras
import numpy as np

from recipes.data.split import Dataset
from recipes.data.tfds_arrays import load_arrays, prepared, unavailable

if keras.backend.backend() == "tensorflow":
    from recipes.data.tf_batches import Arrays
else:
    from recipes.data.array_batches import Arrays


def load_digits(data):
    """scikit-learn's digits: a fifth of each class are for testing."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype("float32")
    size = (data.image_size, data.image_size)
    images = keras.ops.convert_to_numpy(keras.ops.image.resize(images, size, data_format="channels_last"))
    images = np.round(images).astype("uint8").repeat(3, axis=-1)
    classes = tuple("0123456789")
    train, test = Arrays(images, labels.astype("int32")).hold_out(0.2, classes)
    return Dataset(classes, train, validation=test, test=test)


def load_cifar10(data):
    """CIFAR-10 through tensorflow-datasets; its test images serve for validation."""
    try:
        if keras.backend.backend() == "tensorflow":
            builder = prepared("cifar10", data.directory)
            classes, loaded = tuple(builder.info.features["label"].names), builder.as_dataset(batch_size=-1)
            splits = {name: (s["image"].numpy(), s["label"].numpy()) for name, s in loaded.items()}
        else:
            classes, splits = load_arrays("cifar10", data.directory)
    except Exception as error:  # TFDS, its downloader and the file system each raise their own
        raise unavailable("cifar10", error) from error

    def split(name):
        images, labels = splits[name]
        return Arrays(images, labels.astype("int32"))

    test = split("test")
    return Dataset(classes, split("train"), validation=test, test=test)
