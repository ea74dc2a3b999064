"""Which pictures are of a split: by lists, as VOC, VoTT and darknet have them, or by their folders."""

import collections
import glob
import itertools
import pathlib
import re

from recipes.data.class_folders import is_picture, printable, split_named
from recipes.errors import UserError


def lists_of(root, files):
    """The files that say which pictures are of a split: lists of them by its name.

    They are in one folder `Main`, else `ImageSets`, else in the root: those of `ImageSets/Layout` are others.
    """
    folders = {pathlib.Path(path).parent for path in files if path.lower().endswith(".txt")}
    for name in ("Main", "ImageSets", None):
        places = sorted(each for each in folders if (each.name == name if name else each == root))
        found = {place: lists_in(place) or (_class_lists(place) if name else {}) for place in places}
        found = {place: lists for place, lists in found.items() if lists}
        if len(found) > 1:
            names = " and ".join(printable(place.relative_to(root)) for place in found)
            raise UserError(
                f"{root} must have one folder of lists of splits; give one of theirs. Received: {names}"
            )
        if found:
            return found.popitem()[1]
    return {}


def lists_in(folder):
    """The lists of a folder, in a list for each split.

    CVAT's `default.txt` is none, nor the labels of a picture that is called `test.jpg`.
    """
    found = collections.defaultdict(list)
    for path in sorted(folder.glob("*.txt")):
        split = split_named(path.stem)
        if split and not any(is_picture(each) for each in folder.glob(f"{glob.escape(path.stem)}.*")):
            found[split].append(path)
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        if folder / f"{name}.txt" in found.get(split, ()):  # VOC's own names; others may be of a class
            found[split] = [folder / f"{name}.txt"]
    for split, paths in found.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise UserError(f"{folder} must have one list of {split} pictures. Received: {names}")
    if "train" not in found and (folder / "trainval.txt").is_file():
        found["train"] = [folder / "trainval.txt"]
    return found


def _class_lists(folder):
    """VoTT's lists, one of every class and split: each names all pictures, and says 1 or -1 behind them."""
    found = collections.defaultdict(list)
    for path in sorted(folder.glob("*_*.txt")):
        if split := split_named(path.stem.rpartition("_")[2]):
            found[split].append(path)
    return found


def is_beside(path, lists, root):
    """Whether a file is one of the lists, or in a folder of lists, where others are that need not be read."""
    for each in itertools.chain(*lists.values()):
        home = each.parent.parent if each.parent.parent.name == "ImageSets" else each.parent
        if path == str(each) or (home != root and home in pathlib.Path(path).parents):
            return True
    return False


def is_list(path):
    """Whether a file is called as a list of a split is."""
    path = pathlib.Path(path)
    return path.suffix in (".txt", ".csv") and any(map(split_named, re.split(r"[\W_]+", path.stem)))


def split_of(path, root):
    """The split of a picture by the folders that it is in; `"train"` if none is called as one."""
    parts = pathlib.Path(path).relative_to(root).parts[:-1]
    return next(filter(None, map(split_named, parts)), "train")


def split_told(path, root):
    """The split that the name of a file of annotations tells, or else its folders; None if none does."""
    relative = pathlib.Path(path).relative_to(root)
    words = [*re.split(r"[^a-zA-Z0-9]+", relative.stem), *relative.parts[:-1]]
    return next(filter(None, map(split_named, words)), None)
