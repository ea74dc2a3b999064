"""Pictures with objects in boxes: their checks and their batches."""

import dataclasses
import math
import os
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from recipes.data.augmentation import resized, shrunk
from recipes.data.pictures import decodable, decode, listed
from recipes.data.split import drawn
from recipes.data.ssd_augmentation import ssd_augmentation
from recipes.data.tf_batches import IndexedSplit
from recipes.errors import UserError
from sb_keras import detection

ROUNDING = 0.01  # how far a box may stick out of its picture and be cut off without an error


@dataclasses.dataclass(frozen=True)
class Objects(IndexedSplit):
    """Encoded pictures and their objects, as many rows for every picture; a label of −1 is no object."""

    names: np.ndarray
    images: np.ndarray
    boxes_yxyx: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray

    def __len__(self):
        return len(self.images)

    def select(self, indices):
        return type(self)(*(getattr(self, field.name)[indices] for field in dataclasses.fields(self)))

    def hold_out(self, fraction, classes):
        """Takes a share of the pictures out, whatever is on them, always the same ones, copies together."""
        firsts = self.first_copies()
        order = np.random.default_rng(0).permutation(np.flatnonzero(firsts == np.arange(len(self))))
        chosen = drawn(order, firsts, fraction * len(self))
        has_objects = np.any((self.labels >= 0) & ~self.difficult, axis=1)
        if not has_objects[chosen].any():  # of few pictures it may be so
            order = np.roll(order, -np.argmax(has_objects[order]))
            chosen = drawn(order, firsts, fraction * len(self))
        if not 0 < len(chosen) < len(order):
            copies = " that are no copies" if len(order) < len(self) else ""
            raise UserError(
                f"there must be 2 training pictures{copies} or more to hold out {fraction:.0%}. "
                f"Received: {len(order)}"
            )
        held_out = np.isin(firsts, chosen)
        return self.select(~held_out), self.select(held_out)

    def check(self, classes, images):
        """Raises a `UserError` unless there is an object to be found; `objects_of` has looked at each."""
        if not np.any(self.labels >= 0):
            raise UserError(f"{images} must have objects. Received: none")
        if np.all(self.difficult[self.labels >= 0]):
            raise UserError(f"{images} must have objects that are not difficult or a crowd. Received: none")

    def lacks(self, label):
        """A class without a training object has an average precision of its own: none."""
        return False

    def encoded(self, image):
        """The bytes of a picture, from its item of `images`, in a graph."""
        return image

    def counts(self, classes):
        """How many objects are of each class, without the difficult ones, which are not learned."""
        return np.bincount(self.labels[(self.labels >= 0) & ~self.difficult], minlength=classes)

    def name(self, number):
        return self.names[number]

    def content(self, number):
        return self.images[number]

    def tensors(self):
        return self.images, self.boxes_yxyx, self.labels, self.difficult

    def whole(self, rows, data):
        anchors = _anchors(data)

        def example(row):
            image, boxes_yxyx, labels, difficult = row
            image = resized(self.encoded(image), data.image_size)
            return image, _targets(boxes_yxyx, tf.where(difficult, -1, labels), anchors)

        return _map(example, rows, data, anchors)

    def augmented(self, rows, draws, data):
        anchors, fill = _anchors(data), tuple(255 * mean for mean in data.mean)

        def example(row):
            (image, boxes, labels, difficult), own_seed = row
            image = shrunk(decode(self.encoded(image)), 2 * data.image_size)
            classes = tf.where(difficult, -1, labels)  # pytorch-ssd leaves the difficult ones out
            if data.augmentation == "ssd":
                image, boxes, classes = ssd_augmentation(
                    image, boxes, classes, own_seed, data.image_size, fill, data.flip
                )
            else:
                image = tf.image.resize(image, (data.image_size, data.image_size), antialias=True)
            return image, _targets(boxes, classes, anchors)

        return _map(example, (rows, draws.seeds()), data, anchors)


@dataclasses.dataclass(frozen=True)
class ObjectFiles(Objects):
    """The same, of pictures that stay in their files: `images` are the paths."""

    @property
    def picture_files(self):
        return [os.fsdecode(path) for path in self.images]

    def encoded(self, image):
        return tf.io.read_file(image)

    def content(self, number):
        path: Any = self.images[number]
        return pathlib.Path(os.fsdecode(path)).read_bytes()


def _anchors(data):
    return detection.ssdlite_anchors((data.image_size, data.image_size, 3))


def _targets(boxes_yxyx, labels, anchors):
    """Matching takes a time for every row, also for those without an object."""
    valid = labels >= 0
    boxes_yxyx, labels = tf.boolean_mask(boxes_yxyx, valid), tf.boolean_mask(labels, valid)
    if keras.backend.backend() == "tensorflow":
        return detection.match(boxes_yxyx, labels, anchors)

    def match(boxes_yxyx, labels):
        """By Keras's backend, outside of TensorFlow's graph; of few shapes, as JAX compiles for each."""
        rows = 2 ** math.ceil(math.log2(max(1, len(labels)))) - len(labels)
        boxes_yxyx = np.pad(boxes_yxyx, ((0, rows), (0, 0)))
        labels = np.pad(labels, (0, rows), constant_values=-1)
        targets = detection.match(boxes_yxyx, labels, anchors)
        return [keras.ops.convert_to_numpy(targets[key]) for key in ("classes", "boxes")]

    classes, boxes = tf.numpy_function(match, [boxes_yxyx, labels], [tf.int32, tf.float32])
    return {
        "classes": tf.ensure_shape(classes, (len(anchors),)),
        "boxes": tf.ensure_shape(boxes, (len(anchors), 5)),
    }


def _map(example, elements, data, anchors):
    specification = (
        tf.TensorSpec((data.image_size, data.image_size, 3), tf.float32),
        {
            "classes": tf.TensorSpec((len(anchors),), tf.int32),
            "boxes": tf.TensorSpec((len(anchors), 5), tf.float32),
        },
    )
    return tf.map_fn(example, elements, fn_output_signature=specification)


def objects_of(
    names,
    images,
    boxes_yxyx,
    labels,
    difficult,
    classes,
    kind=Objects,
    source=None,
    margin=ROUNDING,
    skip_bad=False,
):
    """A split of pictures with objects, of lists with an item a picture.

    What sticks out of its picture by no more than the margin is cut off there, and counted; what sticks out
    by more than rounding is named.

    Args:
        names: What to call the pictures.
        images: Their encoded bytes; of `ObjectFiles` their paths.
        boxes_yxyx: The objects' ymin, xmin, ymax and xmax, relative to the picture as it is meant to be seen.
        labels: Their classes, from 0.
        difficult: Whether they need not be found.
        classes: The number of classes.
        kind: `Objects` or `ObjectFiles`.
        source: A function of a picture's and an object's number, from 0, that says where it was read, and
            what; by default of its picture.
        margin: The margin, as a share of the picture; VOC's annotations are rounded.
        skip_bad: Whether to leave objects out that are none, and say so, instead of giving up.

    Raises:
        UserError: If a box is none or a label is out of range, unless `skip_bad`.
    """

    def of_picture(row, number):
        where = ", ".join(f"{x:g}" for x in boxes_yxyx[row][number])
        return f"{names[row]}, object {number + 1} (label {labels[row][number]}, box ({where}))"

    source = source or of_picture
    most, cut_off, bad, far = max([1, *map(len, labels)]), 0, [], []
    padded = kind(
        np.array(names),
        np.array(images, object),
        np.zeros((len(names), most, 4), "float32"),
        np.full((len(names), most), -1, "int32"),
        np.zeros((len(names), most), bool),
    )
    for row, boxes in enumerate(boxes_yxyx):
        boxes = np.asarray(boxes, "float32").reshape(-1, 4)
        good = np.ones(len(boxes), bool)
        for number, (box, label) in enumerate(zip(boxes, labels[row], strict=True)):
            complaint = _complaint(box, label, classes, margin)
            if complaint:
                bad.append(f"{source(row, number)}: {complaint}")
                good[number] = False
            elif box.min() < -ROUNDING or box.max() > 1 + ROUNDING:
                far.append(source(row, number))
        inside, count = np.clip(boxes[good], 0, 1), good.sum()
        cut_off += int(np.sum(np.any(inside != boxes[good], axis=-1)))
        padded.boxes_yxyx[row, :count] = inside
        padded.labels[row, :count] = np.asarray(labels[row], "int32")[good]
        padded.difficult[row, :count] = np.asarray(difficult[row], bool)[good]
    if bad and not skip_bad:
        raise UserError(f"{listed(bad)}. --set data.skip_bad=true leaves such objects out")
    if bad:
        print(f"objects with wrong boxes or labels were left out, {len(bad)}: {listed(bad)}")
    if cut_off:
        which = f", by more than rounding {len(far)}: {listed(far)}" if far else ""
        count = int(np.sum(padded.labels >= 0))
        print(f"boxes that stick out of their pictures were cut off there: {cut_off} of {count}{which}")
    return padded


def _complaint(box, label, classes, margin):
    """What is wrong with an object; None if nothing is."""
    if not np.isfinite(box).all():
        return "ymin, xmin, ymax and xmax must be finite"
    ymin, xmin, ymax, xmax = box
    if ymin >= ymax or xmin >= xmax:
        return "the box must have a width and a height above 0, ymin < ymax and xmin < xmax"
    if box.min() < -margin or box.max() > 1 + margin:
        return "the box must lie inside the picture, ymin, xmin, ymax and xmax between 0 and 1"
    ymin, xmin, ymax, xmax = np.clip(box, 0, 1)
    if ymin >= ymax or xmin >= xmax:
        return "the box must overlap the picture, and lies outside of it"
    if not 0 <= label < classes:
        return f"the label must be from 0 to {classes - 1}"
    return None


def readable(split, skip_bad=False):
    """The pictures that can be decoded; a `UserError` names the others unless `skip_bad`."""
    return split.select(decodable(split, skip_bad))
