"""What a data set holds, before anything is trained with it: counts, sizes, and pictures that are copies."""

import collections
import dataclasses
import hashlib
import math

import numpy as np

from recipes.command import progress
from recipes.data.image_files import size


@dataclasses.dataclass(frozen=True)
class Picture:
    """Where a picture is, and what it shows.

    Attributes:
        part: What its split serves for.
        name: What to call it.
        classes: Names of the classes that it shows.
    """

    part: str
    name: str
    classes: tuple[str, ...]

    def __str__(self):
        return f"{self.part} {self.name} ({', '.join(self.classes) or 'nothing'})"


@dataclasses.dataclass(frozen=True)
class Overview:
    """What reading the files of all pictures tells.

    Attributes:
        sizes: Width and height of every picture, from the smallest to the largest by area.
        copies: Lists of pictures whose files are the same to the byte.
    """

    sizes: list[tuple[int, int]]
    copies: list[list[Picture]]

    @property
    def leaked(self):
        """Those of the copies that are in several of training, validation and test."""
        return [same for same in self.copies if len({picture.part for picture in same}) > 1]

    @property
    def contradictory(self):
        """Those of the copies in training that are to teach different things."""
        training = [[picture for picture in same if picture.part == "training"] for same in self.copies]
        return [same for same in training if len({picture.classes for picture in same}) > 1]


def class_counts(dataset):
    """For every class its name, and how many pictures or objects of it each of the dataset's parts has.

    Returns:
        A list of rows; None where only reading all of the pictures would tell.
    """
    counts = [split.counts(len(dataset.classes)) for split in dataset.parts.values()]
    if any(each is None for each in counts):
        return None
    return list(zip(dataset.classes, *(each.tolist() for each in counts), strict=True))


def overview(dataset):
    """Reads the files of all pictures of a data set: an `Overview`; None where they have none."""
    sizes, found = [], collections.defaultdict(list)
    for part, split in dataset.parts.items():
        for number in progress(range(len(split))):
            content = split.content(number)
            if content is None:
                return None
            sizes.append(size(content))
            labels = np.atleast_1d(split.labels[number])
            classes = tuple(sorted(dataset.classes[label] for label in labels if label >= 0))
            digest = hashlib.sha256(content).digest()
            found[digest].append(Picture(part, split.name(number), classes))
    sizes = sorted(filter(None, sizes), key=math.prod)
    return Overview(sizes, [same for same in found.values() if len(same) > 1])
