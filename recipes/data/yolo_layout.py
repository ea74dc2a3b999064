"""Where YOLO's classes and pictures are: by a yaml file, or by a file of names, lists and folders."""

import collections
import itertools
import os
import pathlib
from typing import NamedTuple

import yaml

from recipes.data import annotations, split_lists
from recipes.data.class_folders import files_in, is_picture, printable, read_text
from recipes.errors import UserError

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
NAMES = ("classes.txt", "labels/classes.txt", "obj.names")
ABSENT = ("", "~", "null", "Null", "NULL")  # how YAML says that there is nothing


class Layout(NamedTuple):
    """What a folder says of itself.

    Attributes:
        classes: Names of the classes.
        splits: Paths of the pictures, by split.
        base: The folder that the paths in the description are relative to.
        lists: The text files that name pictures.
        keypoints: How many numbers of keypoints stand behind every box.
    """

    classes: tuple[str, ...]
    splits: dict[str, list[str]]
    base: pathlib.Path
    lists: list[pathlib.Path]
    keypoints: int = 0


def layout(root, left_out):
    """The `Layout` of a folder.

    Args:
        root: The folder.
        left_out: A `recipes.data.class_folders.LeftOut`, which learns what is hidden.

    Raises:
        UserError: If the folder does not say.
    """
    description = _description(root)
    return _described(description.absolute(), left_out) if description else _named(root.absolute(), left_out)


def _description(root):
    """The yaml file that describes a folder: data.yaml, or the one with names; None if there is none.

    Others lie beside: Ultralytics's args.yaml, those of conda and Docker.
    """
    files = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    if chosen := next((path for path in files if path.stem == "data"), None):
        return chosen
    described = [path for path in files if "names" in _content(path)]
    if len(described) > 1:
        names = ", ".join(path.name for path in described)
        raise UserError(f"{root} must have one yaml file with names, or a data.yaml. Received: {names}")
    return described[0] if described else None


def _content(path):
    """What a yaml file holds, by key."""
    try:
        # All values are text: YAML takes `no` for False, and 010 for 8.
        content = yaml.load(read_text(path), yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML that can be read: {str(error).splitlines()[0]}") from error
    return content if isinstance(content, dict) else {}


def _named(root, left_out):
    """The `Layout` without a yaml file."""
    file = next((root / name for name in NAMES if (root / name).is_file()), None)
    if file is None:
        message = f"{root} must have a data.yaml with names, or {' or '.join(NAMES)} with a name a line."
        above = f" There is one in {root.parent}." if (root.parent / "data.yaml").is_file() else ""
        raise UserError(message + (above or annotations.hint(root, "yolo")))
    lists = split_lists.lists_in(root, lambda line: _place(root, line))
    splits = {
        split: [picture for path in paths for picture in _pictures(path, left_out)]
        for split, paths in lists.items()
    }
    if not splits:
        splits = collections.defaultdict(list)
        for path in sorted(filter(is_picture, files_in(root, left_out))):
            splits[split_lists.folder_split(path, root) or "train"].append(path)
    if "train" not in splits:
        received = f"folders or lists of {' and '.join(splits)} alone" if splits else "none at all"
        raise UserError(f"{root} must have training pictures. Received: {received}")
    classes = tuple(line.strip() for line in read_text(file).rstrip().splitlines())
    return Layout(classes, dict(splits), root, [*itertools.chain(*lists.values())])


def _described(path, left_out):
    """The `Layout` of a yaml file."""
    content = _content(path)
    names = content.get("names")
    if isinstance(names, dict):
        numbers = [str(number) for number in range(len(names))]
        if set(names) != set(numbers):
            raise UserError(f"{path}: names must be numbered from 0. Received: {', '.join(names)}")
        names = [names[number] for number in numbers]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} must have names, the classes'. Received: {names!r}")
    if content.get("nc", str(len(names))) != str(len(names)):
        raise UserError(f"{path}: nc must be the number of names, {len(names)}. Received: {content['nc']}")
    given = {key: value for key, value in content.items() if value not in ABSENT}
    base, splits, lists = path.parent / str(given.get("path", "")), {}, []
    for key in filter(given.get, SPLITS):
        split, entries = SPLITS[key], given[key] if isinstance(given[key], list) else [given[key]]
        if split in splits:
            raise UserError(f"{path} must say once where the {split} pictures are. Received: {key} as well")
        try:
            folders = [_existing(path, key, base, str(entry)) for entry in entries]
        except UserError as error:
            if key == "test" and "validation" in splits:  # Roboflow names one in any case
                print(f"{error}. The validation pictures are the test")
                continue
            raise
        lists += [each for each in folders if each.is_file()]
        splits[split] = [picture for each in folders for picture in _pictures(each, left_out)]
        if not splits[split]:
            raise UserError(f"{path}: there are no pictures in {key}, {given[key]}")
    if "train" not in splits:
        raise UserError(f"{path} must say where the training pictures are: train")
    return Layout(tuple(names), splits, base, lists, _keypoints(path, given.get("kpt_shape")))


def _keypoints(path, shape):
    """How many numbers of keypoints stand behind every box: of a yaml file's `kpt_shape`."""
    if shape is None:
        return 0
    try:
        points, numbers = map(int, shape if isinstance(shape, list) else ())
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: kpt_shape must be two whole numbers. Received: {shape}") from error
    return points * numbers


def _existing(path, key, base, entry):
    """Where a split is. Roboflow writes `../train/images` for `train/images`, as Ultralytics takes it."""
    places = [
        base / entry,
        path.parent / entry,
        *([path.parent / entry[3:]] if entry.startswith("../") else []),
    ]
    for place in places:
        if place.exists():
            return place
    raise UserError(
        f"{printable(path)}: {key} must be a folder or a list of pictures. Received: {entry}, which does not "
        f"exist; looked for {' and '.join(dict.fromkeys(os.path.normpath(place) for place in places))}"
    )


def _pictures(place, left_out):
    if place.is_dir():
        return sorted(filter(is_picture, files_in(place, left_out)))
    lines = split_lists.lines_of(place)
    paths = [_place(place.parent, line) for line in lines]
    missing = [line for path, line in zip(paths, lines, strict=True) if path is None]
    if missing:
        raise UserError(f"{place} names pictures that are not there: {', '.join(missing[:3])}")
    return [path for path in paths if path]


def _place(folder, line):
    """The path of a picture that a list in a folder names; None if it is not there.

    darknet and CVAT write it relative to a folder further up, which is not always there: `data/obj/a.jpg`.
    """
    path = os.path.normpath(folder / line)
    if os.path.isfile(path):
        return path
    parts = pathlib.PurePosixPath(line.replace("\\", "/")).parts
    for first in range(len(parts)):
        path = os.path.normpath(folder.joinpath(*parts[first:]))
        if os.path.isfile(path):
            return path
        if (folder / parts[first]).is_dir() and parts[first] not in (".", "..", "/"):
            return None  # that folder is there, and has none of the name
    return None
