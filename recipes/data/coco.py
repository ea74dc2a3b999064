"""Own pictures with boxes in JSON files of COCO's form: CVAT, Label Studio, Roboflow.

Every JSON file with images, annotations and categories counts; its split is told by its name or its folder's
(`instances_val2017.json`, `valid/_annotations.coco.json`); with one file alone a share is held out.
"""

import collections
import functools
import json
import os
import pathlib

from recipes.data import annotations, split_lists
from recipes.data.annotations import Annotated
from recipes.data.class_folders import LeftOut, files_in, is_picture, read_text
from recipes.data.pictures import complain
from recipes.errors import UserError, suggestion

KEYS = ("images", "annotations", "categories")


def load_coco(data):
    """Loads the pictures that the JSON files in `data.directory` are about."""
    root, left_out = pathlib.Path(data.directory), LeftOut(data.directory)
    files = sorted(files_in(root, left_out))
    contents = {}
    for path in files:
        if is_picture(path):
            continue
        if not path.lower().endswith(".json"):
            left_out.add("neither pictures nor JSON", path)
        elif (content := _read(path)) is not None:
            contents[path] = content
        else:
            left_out.add("JSON without images, annotations and categories", path)
    if not contents:
        message = f"{root} has no JSON file of COCO's form, with {', '.join(KEYS)}."
        raise UserError(message + annotations.hint(root, "coco"))
    splits = _splits(root, contents)
    categories = {path: _categories(path, content) for path, content in contents.items()}
    first, *others = splits.values()
    for path in others:
        if categories[path] != categories[first]:
            raise UserError(_difference(path, categories[path], first, categories[first]))
    used = {each["category_id"] for content in contents.values() for each in content["annotations"]}
    names = {number: name for number, name in categories[first].items() if number in used}
    idle = sorted(set(categories[first].values()) - set(names.values()))
    if idle:
        print(
            f"left out of {root}: {len(idle)} categories without an object ({', '.join(idle)}); the "
            "others are numbered from 0, in the order of their ids"
        )
    numbers = {category: label for label, category in enumerate(names)}
    pictures, found = annotations.by_name(files), {}
    for split, path in splits.items():
        picture_of = functools.partial(annotations.nearest, root, path, split, pictures)
        found[split] = _annotated(path, contents[path], numbers, picture_of, data.skip_bad)
    used_paths = {picture.path for some in found.values() for picture in some}
    for path in filter(is_picture, files):
        if path not in used_paths:
            left_out.add("without an entry in a JSON file", path)
    return annotations.dataset(root, tuple(names.values()), found, left_out, data.skip_bad)


def _read(path):
    """The content of a JSON file; None if it is none of COCO's."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON that can be read: {str(error)[:100]}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in KEYS):
        return None
    for key, needed in (
        ("images", ("id", "file_name")),
        ("annotations", ("image_id", "category_id", "bbox")),
        ("categories", ("id", "name")),
    ):
        for number, entry in enumerate(content[key]):
            if not isinstance(entry, dict) or any(entry.get(field) in (None, "") for field in needed):
                raise UserError(f"{path}: {key}, number {number + 1}, must have {', '.join(needed)}")
            for field in needed:
                if field.endswith("id") and not isinstance(entry[field], int | float | str):
                    raise UserError(
                        f"{path}: {key}, number {number + 1}: {field} must be a number or a text. "
                        f"Received: {entry[field]!r}"
                    )
    return content


def _splits(root, contents):
    """The JSON file of every split."""
    splits = collections.defaultdict(list)
    for path in contents:
        splits[split_lists.split_told(path, root) or "train"].append(path)
    for split, paths in splits.items():
        if len(paths) > 1:
            raise UserError(
                f"there must be one JSON file of {split} pictures, told by train, val or test in its name "
                f"(by none, it is of train). Received: {', '.join(paths[:3])}"
            )
    if "train" not in splits:
        raise UserError(f"{root} has no JSON file of training pictures, only of {' and '.join(splits)}")
    return {split: path for split, (path,) in splits.items()}


def _categories(path, content):
    """Names of the categories by their ids, which may leave numbers out, in their order."""
    categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
    if len(categories) < len(content["categories"]) or len(set(categories.values())) < len(categories):
        raise UserError(f"{path} must have categories of different ids and names")
    for name in categories.values():
        if name.splitlines() != [name]:
            raise UserError(f"{path}: the name of a category must be one line of text. Received: {name!r}")
    if len({isinstance(number, str) for number in categories}) > 1:
        raise UserError(f"{path} must have ids of categories of one kind. Received: {list(categories)}")
    return dict(sorted(categories.items()))


def _difference(path, received, first, expected):
    """Which categories two files do not have in common, in one line."""

    def alone(mine, others):
        return [f"{name} (id {number})" for number, name in mine.items() if others.get(number) != name]

    missing, extra = alone(expected, received), alone(received, expected)
    sentences = [f"{path} must have the categories of {first}."]
    sentences += [f"It lacks {', '.join(missing)}."] if missing else []
    sentences += [f"Received besides: {', '.join(extra)}."] if extra else []
    strangers = [name for name in received.values() if name not in expected.values()]
    lacking = [name for name in expected.values() if name not in received.values()]
    return " ".join(sentences) + "".join(suggestion(name, lacking) for name in strangers)


def _annotated(path, content, numbers, picture_of, skip_bad):
    found, bad, ids, absent = {}, [], {}, {}
    for entry in content["images"]:
        if entry["id"] in found:
            raise UserError(f"{path}: there must be one image of id {entry['id']}. Received: two")
        try:
            picture = picture_of(str(entry["file_name"]))
            if picture is None:
                absent[entry["id"]] = str(entry["file_name"])
                found[entry["id"]] = Annotated("")
                continue
            if (same := ids.setdefault(picture, entry["id"])) != entry["id"]:
                raise UserError(
                    f"{entry['file_name']}: {path} must list it once. Received: ids {same} and {entry['id']}"
                )
            size = _side(entry, "height"), _side(entry, "width")
            found[entry["id"]] = Annotated(picture, file=path, size=size)
        except UserError as error:
            found[entry["id"]] = Annotated("")
            bad.append(str(error))
    for number, entry in enumerate(content["annotations"]):
        place = f"annotation of id {entry['id']}" if "id" in entry else f"annotation number {number + 1}"
        try:
            picture, label, box, is_crowd = _object(entry, found, numbers)
        except UserError as error:
            bad.append(f"{path}: {place} {error}")
            continue
        picture.boxes_yxyx.append(box)
        picture.labels.append(label)
        picture.ignored.append(is_crowd)
        picture.sources.append(f"{place} (bbox {entry['bbox']} of {os.path.basename(picture.path)})")
    objects = sum(each["image_id"] in absent for each in content["annotations"])
    annotations.complain_absent(path, list(absent.values()), len(found), objects, skip_bad)
    complain(bad, skip_bad, annotations.UNUSABLE)
    return [picture for picture in found.values() if picture.path]


def _object(entry, pictures, numbers):
    """Picture, label, box and whether it is a crowd, of an annotation; a `UserError` says what is wrong."""
    picture, crowd = pictures.get(entry["image_id"]), entry.get("iscrowd") or 0
    if picture is None:
        raise UserError(f"must be of an image that is there. Received: id {entry['image_id']!r}")
    if entry["category_id"] not in numbers:
        raise UserError(f"must be of a category. Received: id {entry['category_id']!r}")
    if crowd not in (0, 1):  # also False and True; of a text anything would be true
        raise UserError(f"must have an iscrowd of 0 or 1. Received: {crowd!r}")
    try:
        left, top, width, height = map(float, entry["bbox"] if isinstance(entry["bbox"], list) else ())
    except (TypeError, ValueError) as error:
        raise UserError(f"must have a bbox of four numbers. Received: {entry['bbox']!r}") from error
    box = top, left, top + height, left + width
    return picture, numbers[entry["category_id"]], box, bool(crowd)


def _side(entry, key):
    """A picture's height or width; 0 where the file does not say."""
    side = entry.get(key)
    return side if isinstance(side, (int, float)) and side > 0 else 0
