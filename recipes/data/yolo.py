"""Own pictures with boxes in text files of YOLO's form: Ultralytics, Roboflow, CVAT, Label Studio, LabelImg.

`data.yaml` names the classes and the folders or lists of pictures; the labels of `…/images/a.jpg` are in
`…/labels/a.txt`, a line an object: class, then center x, center y, width, height, relative to the picture, or
the corners of a polygon, whose box is taken. Without a yaml file `classes.txt` names the classes, and a share
is held out.
"""

import math
import os
import pathlib

import yaml

from recipes.data import annotations
from recipes.data.annotations import Annotated
from recipes.data.class_folders import LeftOut, files_in, is_picture, read_text
from recipes.data.pictures import complain
from recipes.errors import UserError

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}


def load_yolo(data):
    """Loads the pictures of the `data.yaml` in `data.directory`."""
    root, left_out = pathlib.Path(data.directory), LeftOut(data.directory)
    descriptions = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    if len(descriptions) > 1:
        names = ", ".join(path.name for path in descriptions)
        raise UserError(f"{root} must have one yaml file. Received: {names}")
    if descriptions:
        classes, splits = _described(descriptions[0], left_out)
    elif (root / "classes.txt").is_file():
        lines = read_text(root / "classes.txt").splitlines()
        classes = tuple(line.strip() for line in lines if line.strip())
        splits = {"train": sorted(filter(is_picture, files_in(root, left_out)))}
    else:
        message = f"{root} must have a data.yaml, or a classes.txt with a name a line."
        raise UserError(message + annotations.hint(root))
    if len(set(classes)) < len(classes) or not classes:
        raise UserError(f"{root} must name its classes, each once. Received: {', '.join(classes) or 'none'}")
    found, bad, without = {}, [], 0
    for split, paths in splits.items():
        found[split] = []
        for path in paths:
            labels = _labels_file(path)
            without += not os.path.isfile(labels)
            try:
                found[split].append(_annotated(path, labels, len(classes)))
            except UserError as error:
                bad.append(f"{os.path.relpath(labels, root)} ({error})")
    pictures = [path for paths in splits.values() for path in paths]
    bad += [
        f"{os.path.relpath(path, root)} (its picture is not there)" for path in _orphans(pictures, left_out)
    ]
    complain(bad, data.skip_bad, annotations.UNUSABLE)
    if without:
        print(f"{without} pictures without a file of labels teach what is no object")
    return annotations.dataset(root, classes, found, left_out, data.skip_bad)


def _orphans(pictures, left_out):
    """The files in folders of labels whose pictures are gone; other text files are left out."""
    labels = {path: _labels_file(path) for path in pictures}
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


def _described(path, left_out):
    """Names of the classes, and the pictures by split, of a yaml file."""
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML that can be read: {str(error).splitlines()[0]}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise UserError(f"{path}: names must be numbered from 0. Received: {', '.join(map(str, names))}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise UserError(f"{path} must have names, the classes'. Received: {names!r}")
    if content.get("nc", len(names)) != len(names):
        raise UserError(f"{path}: nc must be the number of names, {len(names)}. Received: {content['nc']}")
    base = path.parent / str(content.get("path") or "")
    splits = {}
    for key, split in SPLITS.items():
        if content.get(key):
            entries = content[key] if isinstance(content[key], list) else [content[key]]
            folders = [_existing(path, key, base, str(entry)) for entry in entries]
            splits[split] = [picture for each in folders for picture in _pictures(each, left_out)]
            if not splits[split]:
                raise UserError(f"{path}: there are no pictures in {key}, {content[key]}")
    if "train" not in splits:
        raise UserError(f"{path} must say where the training pictures are: train")
    return tuple(map(str, names)), splits


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
        f"{path}: {key} must be a folder or a list of pictures. Received: {entry}, which does not exist"
    )


def _pictures(place, left_out):
    if place.is_dir():
        return sorted(filter(is_picture, files_in(place, left_out)))
    lines = [line.strip() for line in read_text(place).splitlines() if line.strip()]
    paths = [os.path.normpath(place.parent / line) for line in lines]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise UserError(f"{place} names pictures that are not there: {', '.join(missing[:3])}")
    return paths


def _labels_file(picture):
    """Ultralytics' rule: the last folder called images becomes labels; without one, beside the picture."""
    head, images, tail = picture.rpartition(f"{os.sep}images{os.sep}")
    inside = f"{head}{os.sep}labels{os.sep}{tail}" if images else picture
    return os.path.splitext(inside)[0] + ".txt"


def _annotated(path, labels, classes):
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
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise UserError(
                f"line {number} must have a class and 4 numbers, or the corners of a polygon. "
                f"Received: {len(values)} numbers"
            )
        found.boxes_yxyx.append(_box(values))
        found.labels.append(int(label))
        found.ignored.append(False)
        found.sources.append(f"line {number} ({' '.join(row)[:80]})")
    return found


def _box(values):
    """ymin, xmin, ymax, xmax of a box by center and size, or of a polygon."""
    if len(values) == 4:
        x, y, width, height = values
        return y - height / 2, x - width / 2, y + height / 2, x + width / 2
    columns, rows = values[::2], values[1::2]
    if not all(map(math.isfinite, values)):  # of which `min` would make anything
        return (math.nan,) * 4
    return min(rows), min(columns), max(rows), max(columns)
