"""Which pictures are of a split: by lists, as VOC, VoTT and darknet have them, or by their folders."""

import collections
import itertools
import pathlib
import re

from recipes.data.class_folders import printable, read_text, split_named
from recipes.errors import UserError

HOMES = ("Main", "ImageSets")


def lists_of(root, files, names_picture):
    """The files that say which pictures are of a split: lists of them by its name.

    They are in one folder `Main`, else `ImageSets`, else in the root: those of `ImageSets/Layout` are others.

    Args:
        root: The folder of all.
        files: The paths of all files.
        names_picture: A function that says whether a line names a picture.

    Raises:
        UserError: If there are several such folders, none of them the root's own, or lists of a split.
    """
    folders = {pathlib.Path(path).parent for path in files if path.lower().endswith(".txt")}
    for name in HOMES:
        places = sorted(each for each in folders if each.name == name)
        found = {place: lists for place in places if (lists := lists_in(place) or _class_lists(place))}
        own = [place for place in found if root in (place.parent, place.parent.parent)]
        if len(own) == 1:
            return found[own[0]]
        if len(found) > 1 and all(folder_split(place, root) for place in found):
            return {}  # train/ImageSets and test/ImageSets: their folders are the splits
        if len(found) > 1:
            names = " and ".join(printable(place.relative_to(root)) for place in found)
            raise UserError(
                f"{root} must have one folder of lists of splits; give one of theirs. Received: {names}"
            )
        if found:
            return found.popitem()[1]
    return lists_in(root, names_picture)


def lists_in(folder, names_picture=None):
    """The lists of a folder, in a list for each split; CVAT's `default.txt` is none.

    Where `names_picture` is given other texts may be there: notes, or the labels of `test.jpg`. Those are
    lists that have no number in their names, and a line that names a picture.
    """
    found = collections.defaultdict(list)
    for path in sorted(folder.glob("*.txt")):
        split = split_named(path.stem)
        if split and (names_picture is None or _is_list_there(path, names_picture)):
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


def _is_list_there(path, names_picture):
    return not re.search(r"\d", path.stem) and any(map(names_picture, lines_of(path)))


def lines_of(path):
    """The lines of a list that are not empty."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


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
        if pathlib.Path(path) == each or (home != root and home in pathlib.Path(path).parents):
            return True
    return False


def is_list(path):
    """Whether a file is called as a list of a split is."""
    path = pathlib.Path(path)
    return path.suffix in (".txt", ".csv") and any(map(split_named, re.split(r"[\W_]+", path.stem)))


def folder_split(path, root):
    """The split that the folders of a file tell; None if none is called as one."""
    return next(filter(None, map(split_named, pathlib.Path(path).relative_to(root).parts[:-1])), None)


def split_told(path, root):
    """The split that the name of a file of annotations tells, or else its folders; None if none does."""
    words = re.split(r"[^a-zA-Z0-9]+", pathlib.Path(path).stem)
    return next(filter(None, map(split_named, words)), None) or folder_split(path, root)
