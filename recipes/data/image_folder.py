"""Your own pictures: a folder a class, or folders `train`, `validation` and `test` of such folders."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from recipes.data import class_folders
from recipes.data.augmentation import resized
from recipes.data.decoded import FINEST, Store
from recipes.data.image_files import SUFFIXES
from recipes.data.pictures import decodable
from recipes.data.split import dataset_of
from recipes.data.tf_batches import LabelledSplit
from recipes.errors import UserError


@dataclasses.dataclass(frozen=True)
class Files(LabelledSplit):
    """Pictures in files of their own: paths, as bytes, and labels; and where they are kept decoded."""

    paths: np.ndarray
    labels: np.ndarray
    stores: dict = dataclasses.field(default_factory=dict, compare=False)

    def __len__(self):
        return len(self.labels)

    def select(self, indices):
        return Files(self.paths[indices], self.labels[indices], self.stores)

    def name(self, number):
        return class_folders.printable(self.paths[number])

    def content(self, number):
        path: Any = self.paths[number]
        return pathlib.Path(os.fsdecode(path)).read_bytes()

    @property
    def picture_files(self):
        return self.paths

    def tensors(self):
        return self.paths, self.labels

    def whole(self, rows, data):
        paths, labels = rows

        def read(path):
            return tf.cast(tf.round(resized(tf.io.read_file(path), data.whole_size)), tf.uint8)

        specification = tf.TensorSpec((data.whole_size, data.whole_size, 3), tf.uint8)
        return tf.map_fn(read, paths, fn_output_signature=specification), labels

    def read(self, picture, data):
        return tf.io.read_file(picture) if data.cache is None else self._store(data).read(picture)

    def shared_batches(self, recipe, begin, pixels, share):
        if recipe.data.cache is not None:
            self._store(recipe.data)  # which raises here what it raises, not in the middle of a graph
        return super().shared_batches(recipe, begin, pixels, share)

    def _store(self, data):
        key = data.cache, FINEST * data.image_size
        if key not in self.stores:
            self.stores[key] = Store(*key)
        return self.stores[key]


def load_image_folder(data):
    """Loads the pictures of `data.directory`; without a folder of test pictures a fifth are for testing."""
    root = pathlib.Path(data.directory)
    folders, left_out = class_folders.split_folders(root), class_folders.LeftOut(root)
    if folders and len(folders) == 1:
        raise UserError(f"{root} has a {folders['train'].name!r} folder but neither 'test' nor 'validation'")
    classes = class_folders.class_names(folders.get("train", root))
    if folders:
        left_out.add_loose(root)
    else:
        class_folders.tell_inner_folders(root, classes)

    def files(folder):
        paths, labels = class_folders.pictures_of(folder, classes, left_out)
        _check_not_empty(folder, classes, labels, f"; the folders in {folder} are the classes")
        split = Files(paths, labels)
        good = decodable(split, data.skip_bad)
        _check_not_empty(folder, classes, labels[good])
        return split.select(good)

    splits = {split: files(folder) for split, folder in (folders or {"train": root}).items()}
    left_out.report()
    return dataset_of(classes, splits)


def _check_not_empty(folder, classes, labels, reason=""):
    for label, name in enumerate(classes):
        if not np.any(labels == label):
            raise UserError(f"{folder / name} has no pictures ({', '.join(SUFFIXES)}){reason}")
