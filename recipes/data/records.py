"""Data sets too large for memory: pictures in TFRecord files, read from where they are as they are needed.

The files may lie on a disk or in a bucket (`data.directory=gs://…`). They are in TFDS's format.
"""

import contextlib
import dataclasses
import functools
import re
from typing import Any

import numpy as np
import tensorflow as tf

from recipes.data.augmentation import random_resized_crop, resized
from recipes.data.pictures import complain, decode
from recipes.data.split import Dataset
from recipes.data.tf_batches import TensorFlowSplit, finished, mapped, shuffled
from recipes.data.tfds_arrays import prepared, unavailable
from recipes.errors import UserError

FILES_AT_ONCE = 16
# Examples are shuffled in blocks. Their files are in a new order every epoch, and sixteen are read at once,
# so that a block of these many (120 MB of ImageNet) is a mixture of all classes.
BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Records(TensorFlowSplit):
    """A split in TFRecord files.

    Attributes:
        files: Their paths.
        count: How many examples are in them, without the `bad` ones.
        features: TFDS's description of an example, with `image`, `label` and `file_name`.
        bad: Names of the pictures to leave out, as they cannot be decoded.
        chosen: Numbers of the examples that are meant, in order; None for all.
    """

    files: tuple[str, ...]
    count: int
    features: Any
    bad: tuple[str, ...] = ()
    chosen: tuple[int, ...] | None = None

    def __len__(self):
        return self.count if self.chosen is None else len(self.chosen)

    def select(self, indices):
        numbers = np.arange(self.count) if self.chosen is None else np.array(self.chosen)
        return dataclasses.replace(self, chosen=tuple(np.sort(numbers[indices]).tolist()))

    @functools.cached_property
    def labels(self):
        """Every label in order; reads through the files once."""
        return np.array(list(self.examples().map(lambda e: e["label"]).as_numpy_iterator()), "int32")

    def examples(self, seed=None):
        """A `tf.data.Dataset` of dictionaries with the encoded `image`, `label` and `file_name`.

        Args:
            seed: Two integers for another order, the same for the same seed; None for that of the files.
        """
        files, seed = tf.constant(self.files), None if seed is None else tf.cast(tf.stack(seed), tf.int64)
        examples: Any = tf.data.TFRecordDataset(files)
        if seed is not None and self.chosen is None:  # the chosen ones' numbers count in the files' order
            files = tf.data.Dataset.from_tensor_slices(shuffled(files, seed))
            at_once = min(FILES_AT_ONCE, len(self.files))
            examples = files.interleave(tf.data.TFRecordDataset, at_once, num_parallel_calls=at_once)
        examples = examples.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)
        if self.bad:
            bad = tf.constant(self.bad)
            examples = examples.filter(lambda example: tf.reduce_all(example["file_name"] != bad))
        if self.chosen is not None:
            table = np.zeros(max(self.chosen, default=-1) + 1, bool)
            table[list(self.chosen)] = True
            is_chosen = tf.constant(table)
            examples = examples.take(len(table)).enumerate()
            examples = examples.filter(lambda number, _: tf.gather(is_chosen, number))
            examples = examples.map(lambda _, example: example)
        if seed is None:
            return examples

        def shuffled_block(number, examples_in_order) -> Any:
            own_seed = tf.random.experimental.stateless_fold_in(seed, number)  # pyright: ignore[reportAttributeAccessIssue]
            order = shuffled(tf.range(tf.shape(examples_in_order["label"])[0]), own_seed)
            block: Any = {key: tf.gather(value, order) for key, value in examples_in_order.items()}
            return tf.data.Dataset.from_tensor_slices(block)

        return examples.batch(BLOCK).prefetch(1).enumerate().flat_map(shuffled_block)

    def label(self, example):
        """An example's label; TensorFlow raises an error that names the picture if it is no class's."""
        label, classes = example["label"], self.features["label"].num_classes
        words = [f"labels must be from 0 to {classes - 1}. Received:", tf.strings.as_string(label), "for"]
        said = tf.strings.join([*words, example["file_name"]], separator=" ")
        with tf.control_dependencies([tf.debugging.Assert((label >= 0) & (label < classes), [said])]):
            return tf.cast(label, tf.int32)

    def sample(self, count, seed):
        """The first ones: TFDS wrote them in a random order; others would be sought in all of the files."""
        return self.select(slice(count))

    def counts(self, classes):
        return None  # labels are in the files, with the pictures

    def check(self, classes, images):
        """Labels are read with the pictures, and looked at then."""

    def lacks(self, label):
        return False

    @contextlib.contextmanager
    def errors_named(self):
        try:
            yield
        except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:  # TensorFlow's, Pillow's
            wrong = re.search(r"\[(labels must be [^\]]*)\]", error.message)
            if wrong:
                raise UserError(wrong[1]) from error
            complain(bad_pictures(self), skip_bad=False)
            raise

    def training_batches(self, recipe, first_epoch=0, first_step=0, pixels=False):
        data, steps = recipe.data, recipe.steps(len(self))

        def epoch_of_batches(epoch):
            def augment(number, example):
                seed = (recipe.seed, epoch * len(self) + number)
                if data.augmentation == "random_resized_crop":
                    image = random_resized_crop(example["image"], seed, data.image_size, flip=data.flip)
                else:
                    image = resized(example["image"], data.image_size)
                return image, self.label(example)

            # What is skipped is read, but not decoded.
            done = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
            examples = self.examples((recipe.seed, epoch)).enumerate().skip(done * recipe.batch_size)
            return mapped(examples, augment).batch(recipe.batch_size).take(steps - done)

        def batch(step, examples):
            images, labels = examples
            return finished(images, labels, (recipe.seed, step), data, pixels)

        epochs = tf.data.Dataset.range(first_epoch, recipe.epochs)
        batches = epochs.flat_map(epoch_of_batches).enumerate(start=first_epoch * steps + first_step)
        return _counted(mapped(batches, batch), len(epochs) * steps - first_step).prefetch(2)

    def whole_batches(self, data, batch_size):
        def whole(example):
            return resized(example["image"], data.whole_size), self.label(example)

        return _counted(mapped(self.examples(), whole).batch(batch_size), -(-len(self) // batch_size))

    def _parse(self, serialized):
        import tensorflow_datasets as tfds  # which takes as long to import as TensorFlow

        decoders = {"image": tfds.decode.SkipDecoding()}
        example = self.features.deserialize_example(serialized, decoders=decoders)
        return {key: example[key] for key in ("image", "label", "file_name")}


def _counted(batches, count):
    return batches.apply(tf.data.experimental.assert_cardinality(count))


def load_imagenet(data):
    """ImageNet (ILSVRC 2012) through tensorflow-datasets; its validation pictures serve for testing."""
    if data.directory is not None and not tf.io.gfile.isdir(data.directory):  # also in a bucket
        raise UserError(f"no such folder: {data.directory} (data.directory)")
    try:
        builder = prepared("imagenet2012", data.directory)
    except Exception as error:  # TFDS and the file system each raise their own
        advice = (
            "set TFDS_DATA_DIR or data.directory to a folder that has it, or see "
            "https://www.tensorflow.org/datasets/catalog/imagenet2012 for what to download by hand"
        )
        raise unavailable("imagenet2012", error, advice) from error

    def split(name):
        info, features = builder.info.splits[name], builder.info.features
        records = Records(tuple(map(str, info.filepaths)), info.num_examples, features)
        return without_bad(records) if data.skip_bad else records

    test = split("validation")
    return Dataset(tuple(builder.info.features["label"].names), split("train"), test, test)


def without_bad(records):
    """Decodes every picture once; the split without those that cannot be, which are counted and named."""
    bad = bad_pictures(records)
    complain(bad, skip_bad=True)
    return dataclasses.replace(records, count=records.count - len(bad), bad=tuple(bad))


def bad_pictures(records):
    """Names of the pictures that cannot be decoded."""
    examples = records.examples()

    def decodable(example):
        return example["file_name"], tf.shape(decode(example["image"]))

    good = examples.map(decodable, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    good = {name for name, _ in good.as_numpy_iterator()}
    names = examples.map(lambda example: example["file_name"]).as_numpy_iterator()
    return [name.decode() for name in names if name not in good]
