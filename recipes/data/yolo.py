"""Own pictures with boxes in text files of YOLO's form: Ultralytics, Roboflow, CVAT, Label Studio, LabelImg.

`data.yaml` names the classes and the folders or lists of pictures; the labels of `…/images/a.jpg` are in
`…/labels/a.txt`, a line an object: class, then center x, center y, width, height, relative to the picture, or
the corners of a polygon, whose box is taken. Without a yaml file `classes.txt` or darknet's `obj.names` names
the classes, and lists (train.txt) or folders of their names are the splits; without, a share is held out.
"""

import collections
import math
import os
import pathlib

import yaml

from recipes.data import annotations, split_lists
from recipes.data.annotations import Annotated
from recipes.data.class_folders import LeftOut, files_in, is_picture, read_text
from recipes.data.pictures import complain
from recipes.errors import UserError

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
NAMES = ("classes.txt", "labels/classes.txt", "obj.names")
UNUSABLE = "files of labels that cannot be used, with their pictures"
FARTHEST = 1.5  # a corner beyond is none: whether a key point is seen is 0, 1 or 2
ABSENT = ("", "~", "null", "Null", "NULL")  # how YAML says that there is nothing


def load_yolo(data):
    """Loads the pictures of the `data.yaml` in `data.directory`."""
    root, left_out = pathlib.Path(data.directory), LeftOut(data.directory)
    base, keypoints = root.absolute(), 0
    if description := _description(root):
        classes, splits, base, keypoints = _described(description.absolute(), left_out)
    else:
        classes, splits = _named(base, left_out)
    if len(set(classes)) < len(classes) or not classes:
        raise UserError(f"{root} must name its classes, each once. Received: {', '.join(classes) or 'none'}")
    for name in classes:
        if name.splitlines() != [name]:
            raise UserError(f"{root}: the name of a class must be one line of text. Received: {name!r}")
    base = os.path.normpath(base)
    labels_of = {path: _labels_file(path, base) for paths in splits.values() for path in paths}
    found, bad, without = {}, [], []
    for split, paths in splits.items():
        found[split] = []
        mine = [path for path in paths if not os.path.isfile(labels_of[path])]
        without += mine
        if mine and mine == paths:
            first, file = (annotations.name_in(root, each) for each in (mine[0], labels_of[mine[0]]))
            raise UserError(
                f"none of the {len(mine)} {split} pictures has a file of labels; that of {first} "
                f"should be {file}"
            )
        for path in paths:
            labels = labels_of[path]
            try:
                found[split].append(_annotated(path, labels, len(classes), keypoints))
            except UserError as error:
                bad.append(f"{annotations.name_in(root, labels)} ({error})")
    orphans = _orphans(labels_of, left_out)
    bad += [f"{annotations.name_in(root, path)} (its picture is not there)" for path in orphans]
    complain(bad, data.skip_bad, UNUSABLE)
    if without:
        names = ", ".join(annotations.name_in(root, path) for path in without[:3])
        more = ", …" if len(without) > 3 else ""
        print(f"{len(without)} pictures without a file of labels teach what is no object: {names}{more}")
    return annotations.dataset(root, classes, found, left_out, data.skip_bad)


def _orphans(labels, left_out):
    """The files in folders of labels whose pictures are gone; other text files are left out.

    Args:
        labels: The file of labels of every picture.
        left_out: A `LeftOut`.
    """
    folders = {(os.path.dirname(path), os.path.dirname(file)) for path, file in labels.items()}
    orphans = []
    for pictures_folder, folder in sorted(folders):
        stems = {os.path.splitext(name)[0] for name in filter(is_picture, os.listdir(pictures_folder))}
        names = os.listdir(folder) if os.path.isdir(folder) else ()
        files = {os.path.join(folder, name) for name in names if name.endswith(".txt")}
        for path in sorted(files - set(labels.values()) - {os.path.join(folder, "classes.txt")}):
            if os.path.splitext(os.path.basename(path))[0] in stems:
                left_out.add("labels of pictures that are in no list", path)
            elif folder == pictures_folder:  # where also other texts may be
                left_out.add("no labels of a picture", path)
            else:
                orphans.append(path)
    return orphans


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
    """Names of the classes and the pictures by split, without a yaml file."""
    file = next((root / name for name in NAMES if (root / name).is_file()), None)
    if file is None:
        message = f"{root} must have a data.yaml with names, or {' or '.join(NAMES)} with a name a line."
        above = f" There is one in {root.parent}." if (root.parent / "data.yaml").is_file() else ""
        raise UserError(message + (above or annotations.hint(root, "yolo")))
    splits = {
        split: [picture for path in paths for picture in _pictures(path, left_out)]
        for split, paths in split_lists.lists_in(root).items()
    }
    if not splits:
        splits = collections.defaultdict(list)
        for path in sorted(filter(is_picture, files_in(root, left_out))):
            splits[split_lists.split_of(path, root)].append(path)
    if "train" not in splits:
        received = " and ".join(splits) or "none at all"
        raise UserError(f"{root} must have pictures of train. Received: {received}")
    return tuple(line.strip() for line in read_text(file).rstrip().splitlines()), dict(splits)


def _described(path, left_out):
    """Names of the classes, the pictures by split, what their paths are relative to, numbers of keypoints."""
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
    base, splits = path.parent / str(given.get("path", "")), {}
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
        splits[split] = [picture for each in folders for picture in _pictures(each, left_out)]
        if not splits[split]:
            raise UserError(f"{path}: there are no pictures in {key}, {given[key]}")
    if "train" not in splits:
        raise UserError(f"{path} must say where the training pictures are: train")
    return tuple(names), splits, base, _keypoints(path, given.get("kpt_shape"))


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
        f"{path}: {key} must be a folder or a list of pictures. Received: {entry}, which does not exist; "
        f"looked for {' and '.join(dict.fromkeys(os.path.normpath(place) for place in places))}"
    )


def _pictures(place, left_out):
    if place.is_dir():
        return sorted(filter(is_picture, files_in(place, left_out)))
    lines = [line.strip() for line in read_text(place).splitlines() if line.strip()]
    paths = [_place(place.parent, line) for line in lines]
    missing = [line for path, line in zip(paths, lines, strict=True) if path is None]
    if missing:
        raise UserError(f"{place} names pictures that are not there: {', '.join(missing[:3])}")
    return paths


def _place(folder, line):
    """The path of a picture that a list in a folder names; None if it is not there.

    darknet and CVAT write it relative to a folder further up, which is not always there: `data/obj/a.jpg`.
    """
    parts = pathlib.PurePosixPath(line).parts
    for first in range(len(parts)):
        path = os.path.normpath(folder.joinpath(*parts[first:]))
        if os.path.isfile(path):
            return path
    return None


def _labels_file(picture, base):
    """Ultralytics' rule: the last folder called images becomes labels; without one, beside the picture.

    A folder images further up than `base` counts only where nothing lies beside the picture. Folders called
    otherwise may have one called labels beside them.
    """
    beside = os.path.splitext(picture)[0] + ".txt"
    head, images, tail = beside.rpartition(f"{os.sep}images{os.sep}")
    if not images:
        folder, name = os.path.split(beside)
        sibling = os.path.join(os.path.dirname(folder), "labels", name)
        return sibling if os.path.isfile(sibling) and not os.path.isfile(beside) else beside
    inside = f"{head}{os.sep}labels{os.sep}{tail}"
    is_described = f"{os.path.normpath(head)}{os.sep}".startswith(f"{base}{os.sep}")
    first, second = (inside, beside) if is_described else (beside, inside)
    return second if os.path.isfile(second) and not os.path.isfile(first) else first


def _annotated(path, labels, classes, keypoints):
    found = Annotated(path, file=labels)
    if not os.path.isfile(labels):
        return found
    for number, line in enumerate(read_text(labels).splitlines(), 1):
        row = line.split()
        if not row:
            continue
        try:
            label, *values = map(float, row)
        except ValueError as error:
            raise UserError(
                f"line {number} must be numbers, the first a class. Received: {' '.join(row)[:80]}"
            ) from error
        if label not in range(classes):
            raise UserError(f"line {number}: the class must be from 0 to {classes - 1}. Received: {row[0]}")
        if keypoints and len(values) == 4 + keypoints:
            values = values[:4]
        if len(values) != 4 and (keypoints or len(values) < 6 or len(values) % 2):
            raise UserError(
                f"line {number} must have a class and 4 numbers, {_alternative(keypoints)}. "
                f"Received: {len(values)} numbers"
            )
        if len(values) > 4 and max(values) > FARTHEST:
            raise UserError(
                f"line {number}: corners of a polygon must be from 0 to 1 (of poses, data.yaml must have "
                f"kpt_shape). Received: {max(values):g}"
            )
        found.boxes_yxyx.append(_box(values))
        found.labels.append(int(label))
        found.ignored.append(False)
        found.sources.append(f"line {number} ({' '.join(row)[:80]})")
    return found


def _alternative(keypoints):
    return f"with those of keypoints {4 + keypoints}" if keypoints else "or the corners of a polygon"


def _box(values):
    """ymin, xmin, ymax, xmax of a box by center and size, or of a polygon."""
    if len(values) == 4:
        x, y, width, height = values
        return y - height / 2, x - width / 2, y + height / 2, x + width / 2
    columns, rows = values[::2], values[1::2]
    if not all(map(math.isfinite, values)):  # of which `min` would make anything
        return (math.nan,) * 4
    return min(rows), min(columns), max(rows), max(columns)
