"""The pictures of a detection recipe and the objects in them: loading, checks and batches."""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from recipes.batches import batches_of_indices, normalize
from recipes.data import Dataset
from recipes.detection_augmentation import ssd_augmentation
from recipes.errors import UserError
from recipes.pictures import decodable, decode
from sb_keras import detection

ROUNDING = 0.01  # how far a box may stick out of its picture and be cut off without an error


@dataclasses.dataclass(frozen=True)
class Split:
    """Encoded pictures and their objects, as many rows for every picture; a label of −1 is no object."""

    names: np.ndarray
    images: np.ndarray
    boxes_yxyx: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray

    def __len__(self):
        return len(self.images)

    def select(self, indices):
        return Split(*(getattr(self, field.name)[indices] for field in dataclasses.fields(self)))


def load(data):
    """Loads PASCAL VOC through tensorflow-datasets.

    Args:
        data: A `recipes.recipe.Data`.

    Returns:
        A `recipes.data.Dataset` of `Split`s. The test pictures serve for validation unless
        `data.validation_fraction` holds some out of the training.

    Raises:
        UserError: If the data are not there, or a picture or a box is none.
    """
    for key in ("train_splits", "test_splits"):
        if not getattr(data, key):
            raise UserError(f"data.{key} must name splits, for example 2007/train+validation. Received: none")
    classes, train = _voc(data.train_splits, data.directory, data.skip_bad)
    _, test = _voc(data.test_splits, data.directory, data.skip_bad)
    if not data.validation_fraction:
        return Dataset(classes, train, validation=test, test=test)
    order = np.random.default_rng(0).permutation(len(train))
    held_out = max(1, round(data.validation_fraction * len(train)))
    if held_out >= len(train):
        raise UserError(
            f"{len(train)} training pictures are too few to hold out {data.validation_fraction:.0%}"
        )
    train, validation = train.select(np.sort(order[held_out:])), train.select(np.sort(order[:held_out]))
    return Dataset(classes, train, validation, test)


def training_batches(split, recipe, first_epoch=0):
    """As `recipes.data.training_batches`: of images and of the targets of the losses."""
    images, boxes_yxyx, labels, difficult = _as_tensors(split)
    anchors, data = detection.ssdlite_anchors(), recipe.data
    fill = tuple(255 * mean for mean in data.mean)

    def example(index, seed):
        image, boxes = decode(images[index]), boxes_yxyx[index]
        classes = tf.where(difficult[index], -1, labels[index])  # pytorch-ssd leaves the difficult ones out
        if data.augmentation == "ssd":
            image, boxes, classes = ssd_augmentation(
                image, boxes, classes, seed, data.image_size, fill, data.flip
            )
        else:
            image = tf.image.resize(image, (data.image_size, data.image_size))
        return image, _targets(boxes, classes, anchors)

    def batch(step, indices):
        seeds = tf.random.experimental.stateless_split(  # pyright: ignore[reportAttributeAccessIssue]
            tf.cast(tf.stack([recipe.seed, step]), tf.int64), tf.shape(indices)[0]
        )
        pixels, targets = _map(lambda row: example(*row), (indices, seeds), data, anchors)
        return normalize(pixels, data), targets

    indices = batches_of_indices(len(split), recipe, first_epoch)
    return indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def evaluation_batches(split, data, batch_size):
    """The pictures of a split in order, normalized and not augmented, with the targets, in batches."""
    images, boxes_yxyx, labels, difficult = _as_tensors(split)
    anchors = detection.ssdlite_anchors()

    def example(index):
        image = tf.image.resize(decode(images[index]), (data.image_size, data.image_size))
        return image, _targets(boxes_yxyx[index], tf.where(difficult[index], -1, labels[index]), anchors)

    def batch(indices):
        pixels, targets = _map(example, indices, data, anchors)
        return normalize(pixels, data), targets

    indices = tf.data.Dataset.range(len(split)).batch(batch_size)
    return indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def _targets(boxes_yxyx, labels, anchors):
    """Matching takes a time for every row, also for those without an object."""
    valid = labels >= 0
    return detection.match(tf.boolean_mask(boxes_yxyx, valid), tf.boolean_mask(labels, valid), anchors)


def _map(example, elements, data, anchors):
    specification = (
        tf.TensorSpec((data.image_size, data.image_size, 3), tf.float32),
        {
            "classes": tf.TensorSpec((len(anchors),), tf.int32),
            "boxes": tf.TensorSpec((len(anchors), 5), tf.float32),
        },
    )
    return tf.map_fn(example, elements, fn_output_signature=specification)


def _as_tensors(split):
    with tf.device("cpu"):
        return [tf.constant(x) for x in (split.images, split.boxes_yxyx, split.labels, split.difficult)]


def _voc(splits, directory, skip_bad):
    """Names of the classes, and the pictures of some splits of some years, one after the other."""
    import tensorflow_datasets as tfds

    if directory is not None and not pathlib.Path(directory).is_dir():
        raise UserError(f"no such folder: {directory} (data.directory)")
    examples, classes = [], ()
    for name in splits:
        year, slash, split = name.partition("/")
        if not slash:
            raise UserError(f"a split of voc is a year and a split, 2007/train for example. Received: {name}")
        try:
            loaded, info = tfds.load(
                f"voc/{year}",
                split=split,
                data_dir=directory,
                with_info=True,
                decoders={"image": tfds.decode.SkipDecoding()},
            )
            examples += list(tfds.as_numpy(loaded))
        except Exception as error:  # TFDS, its downloader and the file system each raise their own
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"cannot load voc/{name} through tensorflow-datasets; without a network, set TFDS_DATA_DIR "
                f"or data.directory to a folder that has it ({reason})"
            ) from error
        classes = tuple(info.features["labels"].names)
    if not examples:
        raise UserError(f"there are no pictures in voc {', '.join(splits)}")
    objects = [example["objects"] for example in examples]
    split = split_of(
        [example["image/filename"].decode() for example in examples],
        [example["image"] for example in examples],
        [each["bbox"] for each in objects],
        [each["label"] for each in objects],
        [each["is_difficult"] for each in objects],
        len(classes),
    )
    return classes, readable(split, skip_bad)


def split_of(names, images, boxes_yxyx, labels, difficult, classes):
    """A `Split` of lists with an item a picture.

    Boxes that stick out of their picture by a hundredth are cut off there, and counted; VOC's annotations
    round so.

    Raises:
        UserError: If a box is none or a label is out of range.
    """
    most, cut_off = max(map(len, labels)), 0
    padded = Split(
        np.array(names),
        np.array(images, object),
        np.zeros((len(names), most, 4), "float32"),
        np.full((len(names), most), -1, "int32"),
        np.zeros((len(names), most), bool),
    )
    for row, (name, boxes) in enumerate(zip(names, boxes_yxyx, strict=True)):
        boxes = np.asarray(boxes, "float32").reshape(-1, 4)
        for number, (box, label) in enumerate(zip(boxes, labels[row], strict=True)):
            complaint = _complaint(box, label, classes)
            if complaint:
                where = ", ".join(f"{x:g}" for x in box)
                raise UserError(
                    f"{name}, object {number + 1}: {complaint}. Received: label {label}, box ({where})"
                )
        count = len(boxes)
        inside = np.clip(boxes, 0, 1)
        cut_off += int(np.sum(np.any(inside != boxes, axis=-1)))
        padded.boxes_yxyx[row, :count], padded.labels[row, :count] = inside, labels[row]
        padded.difficult[row, :count] = difficult[row]
    if cut_off:
        print(f"{cut_off} boxes that stick out of their picture by less than a hundredth were cut off there")
    return padded


def _complaint(box, label, classes):
    """What is wrong with an object; None if nothing is."""
    if not np.isfinite(box).all():
        return "ymin, xmin, ymax and xmax must be finite"
    if box.min() < -ROUNDING or box.max() > 1 + ROUNDING:
        return "the box must lie inside the picture, ymin, xmin, ymax and xmax between 0 and 1"
    ymin, xmin, ymax, xmax = np.clip(box, 0, 1)
    if ymin >= ymax or xmin >= xmax:
        return "the box must have an area, ymin < ymax and xmin < xmax"
    if not 0 <= label < classes:
        return f"the label must be from 0 to {classes - 1}"
    return None


def readable(split, skip_bad=False):
    """The pictures that can be decoded; a `UserError` names the others unless `skip_bad`."""
    return split.select(decodable(split.names, lambda row: decode(split.images[row]), skip_bad))
