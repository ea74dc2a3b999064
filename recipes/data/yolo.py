"""Own pictures with boxes in text files of YOLO's form: Ultralytics, Roboflow, CVAT, Label Studio, LabelImg.

`data.yaml` names the classes and the folders or lists of pictures; the labels of `…/images/a.jpg` are in
`…/labels/a.txt`, a line an object: class, then center x, center y, width, height, relative to the picture, or
the corners of a polygon, whose box is taken. Without a yaml file `classes.txt` or darknet's `obj.names` names
the classes, and lists (train.txt) or folders of their names are the splits; without, a share is held out.
"""

import math
import os
import pathlib

from recipes.data import annotations
from recipes.data.annotations import Annotated
from recipes.data.class_folders import LeftOut, is_picture, read_text, shortened
from recipes.data.pictures import complain
from recipes.data.yolo_layout import layout
from recipes.errors import UserError

UNUSABLE = "files of labels that cannot be used, with their pictures"
FARTHEST = 1.5  # a corner beyond is none: whether a key point is seen is 0, 1 or 2


def load_yolo(data):
    """Loads the pictures of the `data.yaml` in `data.directory`."""
    root, left_out = pathlib.Path(data.directory), LeftOut(data.directory)
    classes, splits, base, lists, keypoints = layout(root, left_out)
    if len(set(classes)) < len(classes) or not classes:
        raise UserError(f"{root} must name its classes, each once. Received: {', '.join(classes) or 'none'}")
    for name in classes:
        if name.splitlines() != [name]:
            raise UserError(f"{root}: the name of a class must be one line of text. Received: {name!r}")
    base = os.path.normpath(base)
    labels_of = {path: _labels_file(path, base) for paths in splits.values() for path in paths}
    _check_one_picture_each(root, labels_of)
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
    orphans = _orphans(labels_of, set(map(os.path.normpath, lists)), left_out)
    bad += [f"{annotations.name_in(root, path)} (its picture is not there)" for path in orphans]
    complain(bad, data.skip_bad, UNUSABLE)
    if without:
        names = shortened([annotations.name_in(root, path) for path in without])
        print(f"{len(without)} pictures without a file of labels teach what is no object: {names}")
    return annotations.dataset(root, classes, found, left_out, data.skip_bad)


def _check_one_picture_each(root, labels_of):
    """Raises a `UserError` if a file of labels would be that of two pictures in different folders."""
    pictures = {}
    for path, labels in labels_of.items():
        other = pictures.setdefault(labels, path)
        if os.path.dirname(other) != os.path.dirname(path) and os.path.isfile(labels):
            names = [annotations.name_in(root, each) for each in (labels, other, path)]
            raise UserError(f"{names[0]} must be of one picture. Received: {names[1]} and {names[2]}")


def _orphans(labels, lists, left_out):
    """The files in folders of labels whose pictures are gone; other text files are left out.

    Args:
        labels: The file of labels of every picture.
        lists: The text files that name pictures.
        left_out: A `LeftOut`.
    """
    folders = {(os.path.dirname(path), os.path.dirname(file)) for path, file in labels.items()}
    orphans, taken = [], lists | set(labels.values())
    for pictures_folder, folder in sorted(folders):
        stems = {os.path.splitext(name)[0] for name in filter(is_picture, os.listdir(pictures_folder))}
        names = os.listdir(folder) if os.path.isdir(folder) else ()
        files = {os.path.join(folder, name) for name in names if name.endswith(".txt")}
        for path in sorted(files - taken - {os.path.join(folder, "classes.txt")}):
            if os.path.splitext(os.path.basename(path))[0] in stems:
                left_out.add("labels of pictures that are in no list", path)
            elif folder == pictures_folder:  # where also other texts may be
                left_out.add("no labels of a picture", path)
            else:
                orphans.append(path)
    return orphans


def _labels_file(picture, base):
    """Ultralytics' rule: the last folder called images becomes labels; without one, beside the picture.

    A folder images further up than `base` counts only where nothing lies beside the picture. Folders called
    otherwise may have one called labels beside them.
    """
    beside = os.path.splitext(picture)[0] + ".txt"
    head, images, tail = beside.rpartition(f"{os.sep}images{os.sep}")
    if not images:
        folder, name = os.path.split(beside)
        above = os.path.dirname(folder)
        sibling = os.path.join(above, "labels", name)
        is_meant = f"{above}{os.sep}".startswith(f"{base}{os.sep}") and not os.path.isdir(f"{above}/images")
        return sibling if is_meant and os.path.isfile(sibling) and not os.path.isfile(beside) else beside
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
