"""Own pictures with boxes in XML files of PASCAL VOC's form: LabelImg, CVAT, Roboflow.

An XML file lies beside its picture, or in `Annotations` and the picture in `JPEGImages`. Splits are those of
`ImageSets/Main` (train.txt, val.txt, test.txt), or folders called train, valid and test; without, a share is
held out.
"""

import collections
import math
import pathlib
import re
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
    xml = [path for path in files if _is_xml(path)]
    stems, found, bad = {pathlib.Path(path).stem for path in xml}, {}, []
    for path in xml:
        try:
            picture = _read(path, pictures, stems)
            if (other := found.setdefault(picture.path, picture)) is not picture:
                names = " has ".join(annotations.name_in(root, each) for each in (other.path, other.file))
                raise UserError(f"{names} already")
        except UserError as error:
            bad.append(f"{annotations.name_in(root, path)} ({error})")
    for path in files:
        if not (_is_xml(path) or is_picture(path) or "ImageSets" in pathlib.Path(path).parts):
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


def _is_xml(path):
    return path.lower().endswith(".xml")


def _read(path, pictures, stems):
    """What an XML file says; a `UserError` says what is wrong with it."""
    try:
        tree: Any = defusedxml.ElementTree.parse(path).getroot()
    except (defusedxml.ElementTree.ParseError, defusedxml.DefusedXmlException, ValueError) as error:
        raise UserError(f"no XML that can be read: {type(error).__name__}") from error
    except OSError as error:
        raise UserError(str(error.strerror)) from error
    if tree.tag != "annotation":
        raise UserError(f"the outer element must be annotation. Received: {tree.tag}")
    found = Annotated(
        _picture(path, tree.findtext("filename", ""), pictures, stems),
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


def _picture(path, filename, pictures, stems):
    """The path of the picture that an XML file is about."""
    xml, named = pathlib.Path(path), pathlib.PureWindowsPath(filename).stem
    # The name within the file is often that of another machine, and the stem is what tools keep: a picture
    # that another file's stem names is that file's.
    candidates = pictures.get(xml.stem) or ([] if named in stems else pictures.get(named, []))
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


def _lists(folder):
    """The files of `ImageSets/Main` that say which pictures are of a split; CVAT's `default.txt` is none."""
    found = collections.defaultdict(list)
    for path in sorted(folder.glob("*.txt")):
        if split := split_named(path.stem):
            found[split].append(path)
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        if folder / f"{name}.txt" in found.get(split, ()):  # VOC's own names; others may be of a class
            found[split] = [folder / f"{name}.txt"]
    for split, paths in found.items():
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise UserError(f"{folder} must have one list of {split} pictures. Received: {names}")
    files = {split: path for split, (path,) in found.items()}
    if "train" not in files and (folder / "trainval.txt").is_file():
        files["train"] = folder / "trainval.txt"
    return files


def _splits(root, found, left_out, skip_bad):
    """The pictures by split: by ImageSets/Main, else by the names of their folders."""
    lists = root / "ImageSets" / "Main"
    splits = collections.defaultdict(list)
    if files := _lists(lists):
        by_stem = collections.defaultdict(list)
        for path, picture in found.items():
            by_stem[pathlib.Path(path).stem].append(picture)
        for split, path in files.items():
            lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
            # A name may have spaces; lists for one class have 1, 0 or -1 behind it.
            names = [line if line in by_stem else re.sub(r"\s+-?[01]$", "", line) for line in lines]
            unknown = [name for name in names if name not in by_stem]
            strangers = [f"{name} ({path} names it, and it is not there)" for name in unknown]
            complain(strangers, skip_bad, "pictures that cannot be found")
            several = [name for name in names if len(by_stem.get(name, ())) > 1]
            if several:
                received = " and ".join(picture.path for picture in by_stem[several[0]][:2])
                raise UserError(
                    f"{path}: there must be one picture called {several[0]}. Received: {received}"
                )
            splits[split] = [by_stem[name][0] for name in names if name in by_stem]
            if not splits[split]:
                raise UserError(f"{path} must name {split} pictures that are there. Received: none")
        listed = {picture.path for some in splits.values() for picture in some}
        for path in found:
            if path not in listed:
                left_out.add("in no list of ImageSets", path)
    else:
        for path, picture in found.items():
            parts = pathlib.Path(path).relative_to(root).parts[:-1]
            splits[next(filter(None, map(split_named, parts)), "train")].append(picture)
    if "train" not in splits:
        raise UserError(f"{root} has no training pictures, only {' and '.join(splits)}")
    return dict(splits)
