"""Tiny-ImageNet: 110,000 pictures of 64×64 pixels, decoded once and kept in memory (1.4 GB)."""

import concurrent.futures
import os
import pathlib

import numpy as np

from recipes.command import progress
from recipes.data import class_folders
from recipes.data.image_files import read_rgb
from recipes.data.split import Dataset
from recipes.data.tf_batches import Arrays
from recipes.errors import UserError

SIZE = 64
ANNOTATIONS = pathlib.Path("val", "val_annotations.txt")


def load_tiny_imagenet(data):
    """Loads `data.directory`: as it is unpacked, or with folders `train` and `test` of a folder a class.

    The official validation pictures are the test pictures, and serve for validation too: those of the
    official test folder have no labels.
    """
    root = pathlib.Path(data.directory)
    left_out = class_folders.LeftOut(root)
    if not (root / "train").is_dir():
        raise UserError(f"{root} must have a folder 'train', with a folder a class")
    classes = class_folders.class_names(root / "train")
    train = class_folders.pictures_of(root / "train", classes, left_out)
    if (root / ANNOTATIONS).is_file():
        test = _annotated(root / ANNOTATIONS, classes)
    elif (root / "test").is_dir():
        test = class_folders.pictures_of(root / "test", classes, left_out)
    else:
        raise UserError(f"{root} must have {ANNOTATIONS}, or a folder 'test' with a folder a class")
    arrays = [Arrays(_decoded(paths), labels) for paths, labels in (train, test)]
    left_out.report()
    return Dataset(classes, arrays[0], validation=arrays[1], test=arrays[1])


def _annotated(path, classes):
    """Paths and labels of the official validation pictures: a line each, its file, its class and a box."""
    paths, labels = [], []
    for number, line in enumerate(class_folders.read_text(path).splitlines(), start=1):
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0]
        if label not in classes:
            raise UserError(
                f"{path}, line {number}: a class among those in 'train' expected. Received: {label!r}"
            )
        paths.append(os.fsencode(path.parent / "images" / name))
        labels.append(classes.index(label))
    return np.array(paths, bytes), np.array(labels, "int32")


def _decoded(paths):
    """The pictures of some files, uint8 (n, 64, 64, 3)."""
    images = np.empty((len(paths), SIZE, SIZE, 3), "uint8")

    def decode(number):
        image = read_rgb(os.fsdecode(paths[number]))
        if image.size != (SIZE, SIZE):
            raise UserError(
                f"{class_folders.printable(paths[number])} must have {SIZE}×{SIZE} pixels. "
                f"Received: {image.width}×{image.height}; for others there is data.name=image_folder"
            )
        images[number] = image

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for _ in progress(pool.map(decode, range(len(paths))), total=len(paths)):
            pass
    return images
