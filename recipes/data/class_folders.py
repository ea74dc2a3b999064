"""Folders of pictures, one a class: which files are meant, and which are left out and why."""

import collections
import os
import pathlib
import re

import numpy as np

from recipes.data.image_files import SUFFIXES
from recipes.errors import UserError, suggestion

# The usual names of a split's folder, in any case.
SPLITS = {
    "train": ("train", "training", "trainset"),
    "validation": ("validation", "valid", "val", "valset"),
    "test": ("test", "testing", "testset"),
}
FILLERS = ("set", "split", "data", "images", "imgs", "pictures", "photos", "seg")
MADE = ("__MACOSX", "@eaDir", "__pycache__")  # by the Mac's archiver, by Synology's, by Python
TABLE = "_classes.csv"
NAMED = 3


def split_named(name):
    """`"train"`, `"validation"` or `"test"` for the usual names of it; else None.

    A year and what is in a split do not count: `train2017`, `val_images`, `Training_Set`.
    """
    words = [re.sub(r"\d{4}$", "", word) for word in re.split(r"[\s_.-]+", name.lower())]
    words = [word for word in words if word and word not in FILLERS]
    return next((split for split, names in SPLITS.items() if len(words) == 1 and words[0] in names), None)


class LeftOut:
    """What is in a folder and not used, by reason.

    Args:
        root: The folder, which paths are relative to.
    """

    def __init__(self, root):
        self.root = root
        self.paths = collections.defaultdict(list)

    def add(self, reason, path):
        self.paths[reason].append(os.path.relpath(path, self.root))

    def add_loose(self, folder):
        """Notes the files that lie in a folder itself, where folders are expected."""
        for path in sorted(folder.iterdir()):
            if _is_hidden(path.name):
                self.add("hidden", path)
            elif not path.is_dir():
                self.add("outside the class folders", path)

    def report(self):
        """One line of what was left out; nothing if nothing was."""
        if self.paths:
            reasons = "; ".join(
                f"{len(paths)} {reason} ({shortened(paths)})" for reason, paths in self.paths.items()
            )
            print(f"left out of {printable(self.root)}: {reasons}")


def split_folders(root):
    """The folders of the splits, by `"train"`, `"validation"` and `"test"`; none if each is a class.

    A folder of such a name that holds no folders is a class: of pictures of trains, for example.

    Raises:
        UserError: If there are two of a split, none to train with, or other folders beside them.
    """
    folders = visible_folders(root)
    found = {
        split: [folder for folder in folders if split_named(folder.name) == split and visible_folders(folder)]
        for split in SPLITS
    }
    found = {split: paths for split, paths in found.items() if paths}
    names = [folder.name for folder in folders]
    if not found and len(set(map(split_named, names)) - {None}) > 1 and all(map(split_named, names)):
        raise UserError(
            f"{root} must have a folder a class, or such folders within those of the splits. "
            f"Received: pictures in {', '.join(names)} themselves{_table_beside(folders)}"
        )
    for split, paths in found.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise UserError(f"{root} must have one folder of {split} pictures. Received: {names}")
    splits = {split: path for split, (path,) in found.items()}
    if splits and "train" not in splits:
        names = " and ".join(path.name for path in splits.values())
        beside = ", ".join(printable(path.name) for path in folders if path not in splits.values())
        raise UserError(
            f"{root} has {names}, with folders of their own, but no folder 'train'"
            f"{f'; is it one of those beside, {beside}?' if beside else ''}"
        )
    others = [printable(path.name) for path in folders if splits and path not in splits.values()]
    if others:
        raise UserError(
            f"{root} must have folders of splits or a folder a class, not both. Received: "
            f"{', '.join(path.name for path in splits.values())}, beside them {', '.join(others[:NAMED])}. "
            "Splits are called train, validation or val, and test"
        )
    return splits


def class_names(folder):
    """Names of the classes: the folders in a folder, in alphabetical order.

    Raises:
        UserError: If there are fewer than two, or a name is not one line of UTF-8, as a file's labels are.
    """
    names = [path.name for path in visible_folders(folder)]
    for name in names:
        if printable(name) != name or name.splitlines() != [name]:
            raise UserError(
                f"the name of a class must be one line of UTF-8. Received: {printable(name)!r}, in {folder}; "
                "rename the folder"
            )
    if len(names) < 2:
        inner = [path.name for name in names for path in visible_folders(folder / name)]
        question = (
            f"; is it {printable(folder / names[0])}, with {shortened(inner)}?" if len(inner) > 1 else ""
        )
        raise UserError(
            f"{folder} must have a folder for each of at least two classes. "
            f"Received: {', '.join(names) or 'none'}{question}{_table_beside([folder])}"
        )
    return tuple(names)


def _table_beside(folders):
    """A hint at the table that Roboflow writes instead of folders, as the end of a sentence."""
    if any((folder / TABLE).is_file() for folder in folders):
        return f". {TABLE} is not read; Roboflow exports a folder a class as Folder Structure"
    return ""


def tell_inner_folders(root, classes):
    """Says which folders of classes hold several folders: are those the classes?"""
    inner = {name: [path.name for path in visible_folders(root / name)] for name in classes}
    first = inner[classes[0]]
    if len(first) > 1 and all(names == first for names in inner.values()):
        print(
            f"the classes are {shortened(classes)}, though each of their folders holds {shortened(first)}: "
            "if those are the classes, name the outer folders train, validation and test"
        )
        return
    several = {name: names for name, names in inner.items() if len(names) > 1}
    if several:
        name, names = next(iter(several.items()))
        more = f" ({len(several) - 1} more classes have some)" if len(several) > 1 else ""
        print(
            f"class {name} has {len(names)} folders, of which all pictures are its: {shortened(names)}{more}"
        )


def shortened(names):
    """The first of some names, and an ellipsis if there are more."""
    return ", ".join(map(printable, names[:NAMED])) + (", …" if len(names) > NAMED else "")


def pictures_of(folder, classes, left_out):
    """The picture files of each class, in its folder and the folders within, also those that are links.

    Args:
        folder: The folder that holds the class folders.
        classes: Their names.
        left_out: A `LeftOut`, which learns of what is not used.

    Returns:
        Paths, as bytes: of a million they take a third of what text does. And labels.

    Raises:
        UserError: If there is a class that is not among `classes`.
    """
    unknown = sorted(set(class_names(folder)) - set(classes))
    if unknown:
        raise UserError(
            f"{folder} has classes that the training images lack: {', '.join(unknown)}."
            + "".join(suggestion(name, classes) for name in unknown)
        )
    left_out.add_loose(folder)
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = pictures_in(folder / name, left_out)
        paths += map(os.fsencode, files)
        labels += [label] * len(files)
    return np.array(paths, bytes), np.array(labels, "int32")


def read_text(path):
    """The text of a UTF-8 file, without the mark that Windows's editors put before it.

    Raises:
        UserError: If it is not UTF-8, or cannot be read.
    """
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UserError(f"{printable(path)} must be UTF-8. Received: the byte {byte:#04x}") from error
    except OSError as error:
        raise UserError(f"cannot read {printable(path)}: {error.strerror}") from error


def printable(path):
    """A path, text or bytes, as text in which bytes that are no UTF-8 are written as their numbers."""
    return os.fsencode(path).decode(errors="backslashreplace")


def visible_folders(folder):
    """The folders in a folder, in alphabetical order, without those that some program hides."""
    with os.scandir(folder) as entries:  # which knows folders without asking for each
        names = [entry.name for entry in entries if not _is_hidden(entry.name) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def is_picture(path):
    """Whether a file is a picture by its suffix."""
    return pathlib.Path(path).suffix.lower() in SUFFIXES


def pictures_in(folder, left_out):
    """Paths of the pictures in a folder and the folders within, in order; the rest goes to a `LeftOut`."""
    found = []
    for path in sorted(files_in(folder, left_out)):
        if is_picture(path):
            found.append(path)
        else:
            left_out.add("no pictures by their suffix", path)
    return found


def files_in(folder, left_out):
    """The paths of the files in a folder and the folders within; what is hidden goes to a `LeftOut`."""
    seen = set()  # a link to a folder further up would be followed for ever
    for parent, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        for name in [name for name in folders if _is_hidden(name)]:
            left_out.add("hidden", os.path.join(parent, name))
        folders[:] = [
            name
            for name in folders
            if not _is_hidden(name) and os.path.realpath(os.path.join(parent, name)) not in seen
        ]
        for name in files:
            path = os.path.join(parent, name)
            if _is_hidden(name):
                left_out.add("hidden", path)
            else:
                yield path


def _is_hidden(name):
    """Whether some program, not the user, made it: macOS's `._photo.jpg`, `.ipynb_checkpoints`, `MADE`."""
    return name.startswith(".") or name in MADE
