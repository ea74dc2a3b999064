"""Your own pictures: a folder a class, or folders `train`, `validation` and `test` of such folders."""

import pathlib

import numpy as np
import tensorflow as tf

from recipes.data import Dataset, Split, hold_out
from recipes.errors import UserError
from recipes.pictures import decodable, decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


def load_image_folder(data):
    """Loads the pictures of `data.directory`; without a `test` folder a fifth are for testing."""
    if data.directory is None:
        raise UserError("image_folder needs --set data.directory=FOLDER, with a folder of pictures a class")
    root = pathlib.Path(data.directory)
    if not root.is_dir():
        raise UserError(f"no such folder: {root}")
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
    train, test = hold_out(_files(root, classes, data.skip_bad), 0.2, classes)
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
    return Split(paths[good], labels[good])
