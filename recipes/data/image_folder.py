"""Your own pictures: a folder a class, or folders `train`, `validation` and `test` of such folders."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from recipes.data.augmentation import pad_crop_flip, random_resized_crop, resized_center
from recipes.data.pictures import decodable, decode
from recipes.data.split import Dataset
from recipes.data.tf_batches import IndexedSplit, padding, split_seeds
from recipes.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


@dataclasses.dataclass(frozen=True)
class Files(IndexedSplit):
    """Pictures in files of their own: paths, and labels."""

    paths: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def select(self, indices):
        return Files(self.paths[indices], self.labels[indices])

    def tensors(self):
        return self.paths, self.labels

    def whole(self, rows, data):
        paths, labels = rows
        size = data.image_size

        def read(path):
            picture = tf.io.read_file(path)
            if data.augmentation == "random_resized_crop":
                image = resized_center(picture, size)
            else:
                image = tf.image.resize(decode(picture), (size, size), antialias=True)
            return tf.cast(tf.round(image), tf.uint8)

        specification = tf.TensorSpec((size, size, 3), tf.uint8)
        return tf.map_fn(read, paths, fn_output_signature=specification), labels

    def augmented(self, rows, seed, data):
        paths, labels = rows
        if data.augmentation != "random_resized_crop":
            pixels, _ = self.whole(rows, data)
            return pad_crop_flip(pixels, seed, padding(data), data.flip), labels

        def read(element):
            path, own_seed = element
            picture = tf.io.read_file(path)
            return random_resized_crop(picture, tf.unstack(own_seed), data.image_size, flip=data.flip)

        specification = tf.TensorSpec((data.image_size, data.image_size, 3), tf.float32)
        seeds = split_seeds(seed, tf.shape(paths)[0])
        return tf.map_fn(read, (paths, seeds), fn_output_signature=specification), labels


def load_image_folder(data):
    """Loads the pictures of `data.directory`; without a `test` folder a fifth are for testing."""
    root = pathlib.Path(data.directory)
    if (root / "train").is_dir():
        classes = _class_names(root / "train")
        train = _files(root / "train", classes, data.skip_bad)
        names = [name for name in ("test", "validation") if (root / name).is_dir()]
        if not names:
            raise UserError(f"{root} has a 'train' folder but neither 'test' nor 'validation'")
        # With only one of them, it serves for both.
        others = [_files(root / name, classes, data.skip_bad) for name in names]
        return Dataset(classes, train, test=others[0], validation=others[-1])
    classes = _class_names(root)
    train, test = _files(root, classes, data.skip_bad).hold_out(0.2, classes)
    return Dataset(classes, train, validation=test, test=test)


def _class_names(folder):
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not _is_hidden(path))
    if len(names) < 2:
        received = ", ".join(names) or "none"
        raise UserError(f"{folder} must have a folder for each of at least two classes. Received: {received}")
    return tuple(names)


def _is_hidden(path):
    """Whether some program, not the user, made it: macOS's `._photo.jpg`, `.ipynb_checkpoints`."""
    return path.name.startswith(".")


def _files(folder, classes, skip_bad):
    unknown = sorted(set(_class_names(folder)) - set(classes))
    if unknown:
        raise UserError(f"{folder} has classes that the training images lack: {', '.join(unknown)}")
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(
            path
            for path in (folder / name).rglob("*")
            if path.suffix.lower() in SUFFIXES and not _is_hidden(path)
        )
        paths += map(str, files)
        labels += [label] * len(files)
    paths, labels = np.array(paths, str), np.array(labels, "int32")
    good = decodable(paths, lambda row: decode(tf.io.read_file(paths[row])), skip_bad)
    for label, name in enumerate(classes):
        if not np.any(good & (labels == label)):
            raise UserError(f"{folder / name} has no pictures ({', '.join(SUFFIXES)})")
    return Files(paths[good], labels[good])
