"""Own pictures with boxes in XML files of PASCAL VOC's form: LabelImg, CVAT, Roboflow.

An XML file lies beside its picture, or in `Annotations` and the picture in `JPEGImages`. Splits are those of
`ImageSets/Main` (train.txt, val.txt, test.txt; VoTT has one of every class), of `ImageSets` or of the folder
itself, or folders called train, valid and test; without, a share is held out.
"""

import collections
import math
import os
import pathlib
import re
from typing import Any

import defusedxml
import defusedxml.ElementTree

from recipes.data import annotations, split_lists
from recipes.data.annotations import CORNERS, Annotated
from recipes.data.class_folders import LeftOut, files_in, is_picture, printable
from recipes.data.pictures import complain
from recipes.errors import UserError

PICTURE_FOLDERS = ("JPEGImages", "images")
OTHER_LISTS = "called as lists of splits are, and not read"


def load_voc_folder(data):
    """Loads the pictures of `data.directory` that have an XML file."""
    root, left_out = pathlib.Path(data.directory), LeftOut(data.directory)
    files = sorted(files_in(root, left_out))
    pictures = collections.defaultdict(list)
    for path in filter(is_picture, files):
        pictures[pathlib.Path(path).stem].append(path)
    xml = [path for path in files if _is_xml(path)]
    if xml and not pictures:
        raise UserError(f"{root} has {len(xml)} XML files and no pictures; data.directory must hold both")
    stems, found, bad = {pathlib.Path(path).stem for path in xml}, {}, []
    for path in xml:
        try:
            picture = _read(path, pictures, stems, root)
            if (other := found.setdefault(picture.path, picture)) is not picture:
                names = " has ".join(annotations.name_in(root, each) for each in (other.path, other.file))
                raise UserError(f"{names} already")
        except UserError as error:
            bad.append(f"{annotations.name_in(root, path)} ({error})")
    lists = split_lists.lists_of(root, files, lambda line: _name(line, pictures) in pictures)
    for path in files:
        if not (_is_xml(path) or is_picture(path) or split_lists.is_beside(path, lists, root)):
            left_out.add(OTHER_LISTS if split_lists.is_list(path) else "neither pictures nor XML", path)
    complain(bad, data.skip_bad, annotations.UNUSABLE)
    if not found:
        message = f"{root} has no pictures with an XML file of PASCAL VOC's form."
        raise UserError(message + annotations.hint(root, "voc_folder"))
    for path in filter(is_picture, files):
        if path not in found:
            left_out.add("without an XML file", path)
    names = annotations.number_names(found.values())
    splits = _splits(root, found, lists, left_out, data.skip_bad)
    return annotations.dataset(root, names, splits, left_out, data.skip_bad)


def _is_xml(path):
    return path.lower().endswith(".xml")


def _read(path, pictures, stems, root):
    """What an XML file says; a `UserError` says what is wrong with it."""
    try:
        if not pathlib.Path(path).stat().st_size:
            raise UserError("the file is empty")
        tree: Any = defusedxml.ElementTree.parse(path).getroot()
    except (defusedxml.ElementTree.ParseError, defusedxml.DefusedXmlException, ValueError) as error:
        raise UserError(f"no XML that can be read: {type(error).__name__}") from error
    except OSError as error:
        raise UserError(str(error.strerror)) from error
    if tree.tag != "annotation":
        raise UserError(f"the outer element must be annotation. Received: {tree.tag}")
    found = Annotated(
        _picture(path, tree.findtext("filename", ""), pictures, stems, root),
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
    return default if text is None else annotations.number_in(text)


def _side(tree, tag):
    """A picture's height or width; 0 where the file does not say."""
    side = _number(tree, tag, 0)
    return side if side > 0 else 0


def _picture(path, filename, pictures, stems, root):
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
        what = " and ".join(annotations.name_in(root, each) for each in candidates[:2]) or "none"
        raise UserError(f"there must be one picture of this name. Received: {what}")
    return candidates[0]


def _splits(root, found, lists, left_out, skip_bad):
    """The pictures by split: by the lists if there are some, else by the names of their folders."""
    splits = collections.defaultdict(list)
    if lists:
        by_stem = collections.defaultdict(list)
        for path in found:
            by_stem[pathlib.Path(path).stem].append(path)
        for split, files in lists.items():
            splits[split] = [found[path] for path in _listed(root, split, files, found, by_stem, skip_bad)]
        listed = {picture.path for some in splits.values() for picture in some}
        for path in found:
            if path not in listed:
                left_out.add("in no list of a split", path)
    else:
        for path, picture in found.items():
            splits[split_lists.folder_split(path, root) or "train"].append(picture)
    if "train" not in splits:
        raise UserError(f"{root} has no training pictures, only {' and '.join(splits)}")
    return dict(splits)


def _listed(root, split, files, found, by_stem, skip_bad):
    """The paths of a split's pictures, by its lists."""
    paths = []
    for file in files:
        list_name, strangers = printable(file), []
        for line in split_lists.lines_of(file):
            name = _name(line, by_stem)
            whole = os.path.join(root, pathlib.PureWindowsPath(line).as_posix())
            candidates = [whole] if whole in found else by_stem.get(name, [])
            if len(candidates) > 1:
                received = " and ".join(annotations.name_in(root, path) for path in candidates[:2])
                raise UserError(f"{list_name}: there must be one picture called {name}. Received: {received}")
            if not candidates:
                strangers.append(f"{name} ({list_name} names it, and it is not there with an XML file)")
            paths += candidates
        complain(strangers, skip_bad, "pictures that cannot be found")
    if not paths:
        names = " and ".join(map(printable, files))
        raise UserError(f"{names} must name {split} pictures that are there. Received: none")
    return list(dict.fromkeys(paths)) if len(files) > 1 else paths


def _name(line, stems):
    """What a line of a list calls a picture: its stem; in lists for one class 1, 0 or -1 is behind it.

    Others write `JPEGImages/a.jpg`, and the XML file behind it. A name may have spaces.
    """
    name = line if line in stems else re.sub(r"\s+-?[01]$", "", line)
    path = pathlib.PureWindowsPath(name)
    if name in stems or not (path.suffix.lower() == ".xml" or is_picture(path)):
        return name
    return path.stem
