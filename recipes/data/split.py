"""What a part of a data set must be able to do: make its own batches."""

import abc
import collections
import contextlib
import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from recipes.errors import UserError

MADE_OF_ONE = 5  # as many as Roboflow makes of a picture where it is asked for many


class Split(abc.ABC):
    """Some of a data set.

    A subclass knows where its pictures are: `recipes.data.memory.Arrays`, `recipes.data.image_folder.Files`,
    `recipes.data.records.Records` and `recipes.data.objects.Objects` (pictures with boxes).

    Attributes:
        labels: The class of every picture, or of every object in every picture.
    """

    labels: Any

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many pictures there are."""

    @abc.abstractmethod
    def select(self, indices) -> Any:
        """A split of some of the pictures, by their numbers, a slice or a mask; in order."""

    @abc.abstractmethod
    def training_batches(self, recipe, first_epoch=0, first_step=0, pixels=False) -> Any:
        """All batches from a step of `first_epoch` to the end of the training, epoch after epoch.

        Order and augmentation are functions of the seed, the epoch and the step alone, so that a training
        that goes on from a checkpoint sees the pictures that it would have seen.

        Args:
            recipe: The recipe.
            first_epoch: Number of epochs that are done.
            first_step: Number of steps of the next one that are done.
            pixels: Whether the images are to be pixels, as of `pixel_batches`, instead of normalized.

        Returns:
            An iterable of images (batch, height, width, 3), normalized, and targets: labels (batch,), or what
            a detector learns. It is a `tf.data.Dataset` where Keras runs on TensorFlow, elsewhere of arrays.
        """

    @abc.abstractmethod
    def evaluation_batches(self, data, batch_size) -> Any:
        """The pictures in order, normalized and not augmented, with their targets, in batches.

        Args:
            data: The recipe's `recipes.recipe.Data`.
            batch_size: Pictures in a batch; the last one may be smaller.
        """

    @abc.abstractmethod
    def pixel_batches(self, data, batch_size) -> Any:
        """The same pictures as whole numbers from 0 to 255, in float32: what a .tflite file takes.

        They have `data.whole_size` pixels in height and width; the file takes the middle itself.
        """

    def counts(self, classes) -> Any:
        """How many pictures, or objects, are of each class; None where only reading all of them would tell.

        Args:
            classes: Number of classes.
        """
        return np.bincount(self.labels, minlength=classes)

    def name(self, number) -> str:
        """What to call a picture, by its number: its file, where it has one of its own."""
        return f"number {number}"

    @property
    def picture_files(self) -> Any:
        """Paths of all pictures' files; None where they have none of their own."""
        return None

    def content(self, number) -> bytes | None:
        """The bytes of a picture's file, by its number; None where it has no file of its own."""
        return None

    def sample(self, count, seed) -> Any:
        """A split of at most `count` pictures, drawn by the seed."""
        return self.select(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def first_copies(self):
        """For every picture the number of the first that shows the same: mostly its own.

        The same show files that are the same to the byte, and those that Roboflow made of one: `a.rf.1.jpg`
        and `a.rf.2.jpg`. More than a few of one name are different pictures that were uploaded so.
        """
        files, firsts = self.picture_files, list(range(len(self)))
        if files is None:
            return np.array(firsts, int)
        groups, made = [firsts], collections.defaultdict(list)
        # Few have the same size, and fewer the same beginning: the others need not be read.
        for key in (
            lambda number: os.path.getsize(files[number]),
            lambda number: _beginning(files[number]),
            lambda number: hashlib.sha256(self.content(number) or b"").digest(),
        ):
            parts = collections.defaultdict(list)
            for group, members in enumerate(groups):
                for number in members:
                    parts[group, key(number)].append(number)
            groups = [members for members in parts.values() if len(members) > 1]
        for number, path in enumerate(files):
            source, is_made, _ = os.fsdecode(path).rpartition(".rf.")
            if is_made:
                made[source].append(number)

        def first(number):
            while firsts[number] != number:
                number = firsts[number]
            return number

        few = [members for members in made.values() if len(members) <= MADE_OF_ONE]
        for members in (*groups, *few):  # a copy of one that was made of another joins the two
            found = set(map(first, members))
            for number in found:
                firsts[number] = min(found)
        return np.array([first(number) for number in range(len(firsts))], int)

    def hold_out(self, fraction, classes) -> Any:
        """Takes the same share of every class out of the split: always the same pictures, whatever the seed.

        Copies of a picture stay on one side: who has seen one knows the others.

        Args:
            fraction: The share.
            classes: Names of the classes.

        Returns:
            Two splits: the rest, and what was held out.

        Raises:
            UserError: If a class is too small.
        """
        generator, firsts = np.random.default_rng(0), self.first_copies()
        held_out, is_first = np.zeros(len(self), bool), firsts == np.arange(len(self))
        for label, name in enumerate(classes):
            is_mine = self.labels == label
            members = generator.permutation(np.flatnonzero(is_mine & is_first))
            chosen = drawn(members, firsts, fraction * np.sum(is_mine))
            if not 0 < len(chosen) < len(members):
                copies = " that are no copies" if len(members) < np.sum(is_mine) else ""
                raise UserError(
                    f"class {name!r} has too few images{copies} ({len(members)}) to hold out {fraction:.0%} "
                    "of them and train with the others"
                )
            held_out[chosen] = True
        held_out = held_out[firsts]
        return self.select(~held_out), self.select(held_out)

    def check(self, classes, images):
        """Raises a `UserError` unless every label is that of a class; `images` says of which images."""
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= len(classes)))
        if len(wrong):
            raise UserError(
                f"labels must be from 0 to {len(classes) - 1}. Received: {self.labels[wrong[0]]} for number "
                f"{wrong[0]} of {images}, and {len(wrong) - 1} more that are out of range"
            )

    def lacks(self, label):
        """Whether it is known that there is no picture of a class."""
        return not np.any(self.labels == label)

    @contextlib.contextmanager
    def errors_named(self):
        """A context in which errors about pictures that are read during the training name them."""
        yield


def drawn(order, firsts, count):
    """Pictures that are first copies, in an order, of which and whose copies there are `count`, at least one.

    Those with more copies than are left to draw are passed over; if all have, the one with fewest is drawn.
    """
    sizes, left, chosen = np.bincount(firsts), max(1, round(count)), []
    for number in order:
        if sizes[number] <= left:
            chosen.append(number)
            left -= sizes[number]
        if not left:
            break
    return np.array(chosen or sorted(order, key=sizes.__getitem__)[:1], int)


def _beginning(path):
    with open(path, "rb") as file:
        return file.read(4096)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set: names of the classes, and its three splits."""

    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def parts(self):
        """The splits by what they serve for; there are two where the test pictures serve for validation."""
        if self.validation is self.test:
            return {"training": self.train, "validation and test": self.test}
        return {"training": self.train, "validation": self.validation, "test": self.test}


def dataset_of(classes, splits):
    """A `Dataset` of the splits that there are.

    Args:
        classes: Names of the classes.
        splits: The splits by `"train"` and, if there are some, `"validation"` and `"test"`. With only one of
            these it serves for both; with none a fifth is held out for them.
    """
    train, test = splits["train"], splits.get("test", splits.get("validation"))
    if test is None:
        train, test = train.hold_out(0.2, classes)
    return Dataset(classes, train, validation=splits.get("validation", test), test=test)


def middle(images, size):
    """Of images (…, height, width, channels) the square of `size` pixels in the middle."""
    top, left = (images.shape[-3] - size) // 2, (images.shape[-2] - size) // 2
    return images[..., top : top + size, left : left + size, :]


def normalized(pixels, mean, std):
    """(pixels / 255 − mean) / std, channel by channel, in float32."""
    mean, std = np.array([mean, std], "float32")
    return (pixels / np.float32(255) - mean) / std


def to_pixels(images, mean, std):
    """The pixels, 0 to 255, of images that were normalized with `mean` and `std`."""
    return np.round(255 * (images * np.asarray(std, "float32") + np.asarray(mean, "float32")))
