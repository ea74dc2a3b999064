"""Own pictures with boxes: what the files of labelling tools have in common."""

import collections
import dataclasses
import math
import os
import pathlib

import numpy as np

from recipes.data.class_folders import is_picture, printable, shortened, split_named
from recipes.data.image_files import shown_size, stored_size, turn_boxes
from recipes.data.objects import ObjectFiles, objects_of, readable
from recipes.data.pictures import complain, listed
from recipes.data.split import dataset_of
from recipes.errors import UserError

CORNERS = ("ymin", "xmin", "ymax", "xmax")  # how VOC calls the sides of a box, in our order
# What `complain` calls mistakes that are not the pictures'.
UNUSABLE = "annotations that cannot be used"
# Files that tell which tool wrote a folder.
SIGNS = {
    "yolo": ("data.yaml", "classes.txt", "obj.names"),
    "coco": ("annotations/*.json", "*/_annotations.coco.json", "*.json"),
    "voc_folder": ("Annotations/*.xml", "*.xml", "*/*.xml", "*/Annotations/*.xml"),
    "csv": ("*annotations.csv", "*labels.csv", "*/*annotations.csv", "*/*labels.csv"),
}


@dataclasses.dataclass(frozen=True)
class Annotated:
    """A picture and its objects as a file of annotations has them.

    Attributes:
        path: Path of the picture.
        boxes_yxyx: ymin, xmin, ymax and xmax of its objects: in pixels or, where `size` is None, relative.
        labels: Their classes: numbers, or names until all are known.
        ignored: Whether they need not be found: what VOC calls difficult, and COCO a crowd.
        sources: Where in `file` each stands, and what stands there: for complaints.
        file: The file of annotations.
        size: Height and width of the picture as the annotations say, (0, 0) where they do not; None where
            boxes are relative to the picture as it is meant to be seen.
    """

    path: str
    boxes_yxyx: list = dataclasses.field(default_factory=list)
    labels: list = dataclasses.field(default_factory=list)
    ignored: list = dataclasses.field(default_factory=list)
    sources: list = dataclasses.field(default_factory=list)
    file: str = ""
    size: tuple[float, float] | None = None


def hint(root, received):
    """Which other `data.name` a folder looks like, as a sentence; nothing if it looks like none."""
    for name, patterns in SIGNS.items():
        if name != received and any(next(pathlib.Path(root).glob(pattern), None) for pattern in patterns):
            return f" It looks like {name}: --set data.name={name}"
    return ""


def number_in(text):
    """The number that a text is; NaN, which no box may have, where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def by_name(files):
    """The pictures among files, lists of paths by their names."""
    found = collections.defaultdict(list)
    for path in filter(is_picture, files):
        found[os.path.basename(path)].append(path)
    return found


def nearest(root, file, split, pictures, name):
    """The path of what a file of annotations calls a picture; None if it is not there.

    Of several of one name it is the one whose folders the name has too, or in the folder of the file, in
    `images` beside that, or in one of the split's name.

    Args:
        root: The folder of all.
        file: The file of annotations.
        split: Its split.
        pictures: As of `by_name`.
        name: The name, with any folders.

    Raises:
        UserError: If there are several.
    """
    parts, folder = pathlib.PurePosixPath(name.replace("\\", "/")).parts, pathlib.Path(file).parent
    candidates = pictures.get(parts[-1], []) if parts else []
    if len(parts) > 1 and (whole := os.path.join(root, *parts)) in candidates:
        return whole
    for is_near in (
        lambda path: pathlib.Path(path).parts[-len(parts) :] == parts,
        lambda path: pathlib.Path(path).parent == folder,
        lambda path: pathlib.Path(path).parent == folder.parent / "images",
        lambda path: split in map(split_named, pathlib.Path(path).relative_to(root).parts[:-1]),
    ):
        if len(candidates) > 1:
            candidates = list(filter(is_near, candidates)) or candidates
    if len(candidates) > 1:
        received = " and ".join(name_in(root, path) for path in candidates[:2])
        raise UserError(f"{name}: there must be one picture of this name. Received: {received}")
    return candidates[0] if candidates else None


def complain_absent(file, names, count, objects, skip_bad):
    """Says which of the `count` pictures of a file are not there, and how many objects they have."""
    if not names:
        return
    text = f"{len(names)} of {count} in {printable(file)}, with {objects} objects: {shortened(names)}"
    if len(names) == count:
        raise UserError(f"none of the pictures is there: {text}")
    complain([text], skip_bad, "pictures that are not there")


def number_names(pictures):
    """Makes numbers of the labels of pictures, which are names: the classes, in alphabetical order."""
    pictures = list(pictures)
    names = sorted({label for picture in pictures for label in picture.labels})
    numbers = {name: number for number, name in enumerate(names)}
    for picture in pictures:
        picture.labels[:] = [numbers[label] for label in picture.labels]
    return tuple(names)


def dataset(root, classes, pictures, left_out, skip_bad):
    """The `recipes.data.Dataset` of annotated pictures.

    Args:
        root: The folder, which pictures are named relative to.
        classes: Names of the classes.
        pictures: By `"train"`, `"validation"` and `"test"`, as far as there are such, a list of `Annotated`.
        left_out: The `recipes.data.class_folders.LeftOut` of what is in the folder and not used.
        skip_bad: Whether to leave out damaged pictures, and objects that are none.

    Raises:
        UserError: If pictures or objects are damaged, unless `skip_bad`.
    """
    left_out.report()
    pictures = {name: _once(root, name, some) for name, some in pictures.items()}
    _tell_shared(root, pictures)
    splits = {name: _split(root, len(classes), some, skip_bad) for name, some in pictures.items()}
    return dataset_of(classes, splits)


def _once(root, split, pictures):
    """The pictures without those that a list names again, which is said."""
    found = {picture.path: picture for picture in pictures}
    if len(found) < len(pictures):
        counts = collections.Counter(picture.path for picture in pictures)
        names = [name_in(root, path) for path, count in counts.items() if count > 1]
        print(f"{split} pictures that are listed more than once count once: {listed(names)}")
    return list(found.values())


def _tell_shared(root, pictures):
    """Says which pictures are trained with, and in validation or test as well."""
    training = {picture.path for picture in pictures["train"]}
    for split, some in pictures.items():
        shared = [name_in(root, picture.path) for picture in some if picture.path in training]
        if shared and split != "train":
            print(f"warning: {len(shared)} {split} pictures are trained with as well: {listed(shared)}")


def name_in(root, path):
    """What to call a file: its path in a folder, also if it is no UTF-8."""
    return printable(os.path.relpath(path, root))


def _split(root, classes, pictures, skip_bad):
    names = [name_in(root, picture.path) for picture in pictures]
    boxes, damaged, wrong = [], [], []
    for name, picture in zip(names, pictures, strict=True):
        boxes.append(None)
        complaints = damaged
        try:
            stored = None if picture.size is None else stored_size(picture.path)
            complaints = wrong  # from here on it is not the picture that something is wrong with
            boxes[-1] = _upright(picture, stored)
        except UserError as error:
            complaints.append(f"{name} ({error})")
    complain(damaged, skip_bad)
    complain(wrong, skip_bad, UNUSABLE)
    kept = [row for row, each in enumerate(boxes) if each is not None]
    if not pictures:
        raise UserError(f"there are no pictures in {root}")
    if not kept:
        raise UserError(f"{root} has no pictures that can be used: {listed(damaged + wrong)}")
    split = objects_of(
        [names[row] for row in kept],
        [os.fsencode(pictures[row].path) for row in kept],
        [boxes[row] for row in kept],
        [pictures[row].labels for row in kept],
        [pictures[row].ignored for row in kept],
        classes,
        kind=ObjectFiles,
        source=lambda row, number: _source(root, pictures[kept[row]], number),
        margin=np.inf,
        skip_bad=skip_bad,
    )
    return readable(split, skip_bad)


def _source(root, picture, number):
    return f"{name_in(root, picture.file)}, {picture.sources[number]}"


def _upright(picture, found):
    """Boxes relative to the picture as it is meant to be seen.

    Labelling tools show pictures so, but for those that do not know EXIF: their sizes are the stored ones.

    Args:
        picture: The `Annotated`.
        found: Its `stored_size`; None where its boxes are relative.
    """
    boxes = np.asarray(picture.boxes_yxyx, "float64").reshape(-1, 4)
    if found is None:
        return boxes
    stored, orientation = found
    shown = shown_size(stored, orientation)
    said = picture.size if min(picture.size) > 0 else shown
    relative = boxes / np.array([*said, *said])
    if _same_shape(said, shown):
        return relative
    if _same_shape(said, stored):
        return turn_boxes(relative, orientation)
    raise UserError(
        f"its annotations are those of a picture of {said[1]:g}×{said[0]:g} pixels. "
        f"Received: one of {shown[1]}×{shown[0]}"
    )


def _same_shape(one, other):
    """Whether two sizes are the same but for a factor, to the pixel: a picture that was made smaller."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)
