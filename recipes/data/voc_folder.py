"""Own pictures with boxes in XML files of PASCAL VOC's form: LabelImg, CVAT, Roboflow.

An XML file lies beside its picture, or in `Annotations` and the picture in `JPEGImages`. Splits are those of
`ImageSets/Main` (train.txt, val.txt, test.txt), or folders called train, valid and test; without, a share is
held out.
"""

import collections
import math
import os
import pathlib
from typing import Any

import defusedxml
import defusedxml.ElementTree

from recipes.data import annotations
from recipes.data.annotations import Annotated
from recipes.data.class_folders import LeftOut, files_in, is_picture, read_text, split_named
from recipes.data.pictures import complain
from recipes.errors import UserError

CORNERS = ("ymin", "xmin", "ymax", "xmax")
PICTURE_FOLDERS = ("JPEGImages", "images")


def load_voc_folder(data):
    """Loads the pictures of `data.directory` that have an XML file."""
    root, left_out = pathlib.Path(data.directory), LeftOut(data.directory)
    files = sorted(files_in(root, left_out))
    pictures = collections.defaultdict(list)
    for path in filter(is_picture, files):
        pictures[pathlib.Path(path).stem].append(path)
    found, bad = {}, []
    for path in files:
        if path.lower().endswith(".xml"):
            try:
                picture = _read(path, pictures)
                found[picture.path] = picture
            except UserError as error:
                bad.append(f"{os.path.relpath(path, root)} ({error})")
        elif not is_picture(path) and "ImageSets" not in pathlib.Path(path).parts:
            left_out.add("neither pictures nor XML", path)
    complain(bad, data.skip_bad, annotations.UNUSABLE)
    if not found:
        raise UserError(
            f"{root} has no pictures with an XML file of PASCAL VOC's form.{annotations.hint(root)}"
        )
    for path in filter(is_picture, files):
        if path not in found:
            left_out.add("without an XML file", path)
    names = sorted({label for picture in found.values() for label in picture.labels})
    numbers = {name: number for number, name in enumerate(names)}
    for picture in found.values():
        picture.labels[:] = [numbers[label] for label in picture.labels]
    return annotations.dataset(
        root, tuple(names), _splits(root, found, left_out, data.skip_bad), left_out, data.skip_bad
    )


def _read(path, pictures):
    """What an XML file says; a `UserError` says what is wrong with it."""
    try:
        tree: Any = defusedxml.ElementTree.parse(path).getroot()
    except (defusedxml.ElementTree.ParseError, defusedxml.DefusedXmlException, ValueError) as error:
        raise UserError(f"no XML that can be read: {type(error).__name__}") from error
    if tree.tag != "annotation":
        raise UserError(f"the outer element must be annotation. Received: {tree.tag}")
    found = Annotated(
        _picture(path, tree.findtext("filename", ""), pictures),
        file=path,
        size=(_side(tree, "size/height"), _side(tree, "size/width")),
    )
    for number, element in enumerate(tree.iter("object"), 1):
        name, box = element.findtext("name", "").strip(), element.find("bndbox")
        if not name or name.splitlines() != [name]:
            raise UserError(f"object {number} must have a name of one line. Received: {name!r}")
        if box is None:
            raise UserError(f"object {number} has no bndbox")
        found.labels.append(name)
        found.boxes_yxyx.append([_number(box, corner) for corner in CORNERS])
        found.ignored.append(_number(element, "difficult", 0) == 1)
        corners = ", ".join(f"{corner} {box.findtext(corner, 'missing')}" for corner in CORNERS)
        found.sources.append(f"object {number} ({name}: {corners})")
    return found


def _number(element, tag, default=math.nan):
    """The number in an element; NaN, which no box may have, where it is none."""
    text = element.findtext(tag)
    try:
        return default if text is None else float(text)
    except ValueError:
        return math.nan


def _side(tree, tag):
    """A picture's height or width; 0 where the file does not say."""
    side = _number(tree, tag, 0)
    return side if side > 0 else 0


def _picture(path, filename, pictures):
    """The path of the picture that an XML file is about."""
    xml = pathlib.Path(path)
    # The name within the file is often that of another machine, and the stem is what tools keep.
    candidates = pictures.get(xml.stem) or pictures.get(pathlib.PureWindowsPath(filename).stem, [])
    if len(candidates) > 1:
        near = [each for each in candidates if pathlib.Path(each).parent == xml.parent]
        siblings = [xml.parent.parent / name for name in PICTURE_FOLDERS]
        candidates = (
            near or [each for each in candidates if pathlib.Path(each).parent in siblings] or candidates
        )
    if len(candidates) != 1:
        what = " and ".join(candidates[:2]) or "none"
        raise UserError(f"there must be one picture of this name. Received: {what}")
    return candidates[0]


def _splits(root, found, left_out, skip_bad):
    """The pictures by split: by ImageSets/Main, else by the names of their folders."""
    lists = root / "ImageSets" / "Main"
    splits = collections.defaultdict(list)
    if lists.is_dir():
        by_stem = {pathlib.Path(path).stem: picture for path, picture in found.items()}
        files = {split: path for path in sorted(lists.glob("*.txt")) if (split := split_named(path.stem))}
        if "train" not in files and (lists / "trainval.txt").is_file():
            files["train"] = lists / "trainval.txt"
        for split, path in files.items():
            lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
            # A name may have spaces; lists for one class have 1 or -1 behind it.
            names = [line if line in by_stem else line.split()[0] for line in lines]
            unknown = [name for name in names if name not in by_stem]
            strangers = [f"{name} ({path} names it, and it is not there)" for name in unknown]
            complain(strangers, skip_bad, "pictures that cannot be found")
            splits[split] = [by_stem[name] for name in names if name in by_stem]
        listed = {picture.path for some in splits.values() for picture in some}
        for path in found:
            if path not in listed:
                left_out.add("in no list of ImageSets", path)
    else:
        for path, picture in found.items():
            parts = pathlib.Path(path).relative_to(root).parts[:-1]
            splits[next(filter(None, map(split_named, parts)), "train")].append(picture)
    if not splits["train"]:
        raise UserError(f"{root} has no training pictures, only {' and '.join(splits)}")
    return dict(splits)
