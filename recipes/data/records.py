"""Data sets too large for memory: pictures in TFRecord files, read from where they are as they are needed.

They are in TFDS's format.
"""

import contextlib
import dataclasses
import functools
import re
from typing import Any

import numpy as np
import tensorflow as tf

from recipes.data.augmentation import random_resized_crop, resized
from recipes.data.draws import Draws, fold_in, shuffled
from recipes.data.pictures import complain, decode
from recipes.data.split import Dataset
from recipes.data.tf_batches import ALL, TensorFlowSplit, finished, mapped
from recipes.data.tfds_arrays import prepared, unavailable
from recipes.errors import UserError

# An epoch is read in so many streams of nearly the same length, through files in a new order, and takes an
# example of each in turn. A worker of several has some of the streams.
STREAMS = 16
# Examples are shuffled in blocks, each stream's on their own; these many of all streams (120 MB of ImageNet)
# are a mixture of all classes.
BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Records(TensorFlowSplit):
    """A split in TFRecord files.

    Attributes:
        files: Their paths.
        lengths: How many examples are in each.
        features: TFDS's description of an example, with `image`, `label` and `file_name`.
        bad: Names of the pictures to leave out, as they cannot be decoded.
        chosen: Numbers of the examples that are meant, in order; None for all.
    """

    files: tuple[str, ...]
    lengths: tuple[int, ...]
    features: Any
    bad: tuple[str, ...] = ()
    chosen: tuple[int, ...] | None = None

    def __len__(self):
        return sum(self.lengths) - len(self.bad) if self.chosen is None else len(self.chosen)

    def select(self, indices):
        numbers = np.arange(len(self)) if self.chosen is None else np.array(self.chosen)
        return dataclasses.replace(self, chosen=tuple(np.sort(numbers[indices]).tolist()))

    @functools.cached_property
    def labels(self):
        """Every label in order; reads through the files once."""
        return np.array(list(self.examples().map(lambda e: e["label"]).as_numpy_iterator()), "int32")

    def examples(self):
        """A `tf.data.Dataset` of dictionaries with the encoded `image`, `label` and `file_name`, in order."""
        examples: Any = self._known(tf.data.TFRecordDataset(tf.constant(self.files)))
        if self.chosen is None:
            return examples
        table = np.zeros(max(self.chosen, default=-1) + 1, bool)
        table[list(self.chosen)] = True
        is_chosen = tf.constant(table)
        examples = examples.take(len(table)).enumerate()
        examples = examples.filter(lambda number, _: tf.gather(is_chosen, number))
        return examples.map(lambda _, example: example)

    def shuffled_examples(self, seed, share=ALL):
        """The same in another order, each with its number in that.

        Args:
            seed: Two integers; the same seed gives the same order.
            share: A `Share`: of w workers the first gets the numbers 0, w, 2w, …. It reads no others if the
                workers can divide the streams between them, and no example is left out.
        """
        if self.chosen is not None:  # their numbers count in the files' order
            examples = in_shuffled_blocks(self.examples(), BLOCK, seed)
            return examples.enumerate().shard(share.workers, share.worker)
        streams, total = min(STREAMS, len(self.files)), sum(self.lengths)
        order = shuffled(tf.range(len(self.files)), seed)
        files, lengths = tf.gather(self.files, order), tf.gather(tf.constant(self.lengths, tf.int64), order)
        ends = tf.cumsum(lengths)

        def stream(number):
            """A part of the examples, one file behind the other; the first parts are longer by one."""
            begin = number * (total // streams) + tf.minimum(number, total % streams)
            count = total // streams + tf.cast(number < total % streams, tf.int64)
            first = tf.searchsorted(ends, [begin], side="right")[0]
            raw = tf.data.TFRecordDataset(files[first:]).skip(begin - (ends[first] - lengths[first]))
            own_seed = fold_in(seed, number)
            return in_shuffled_blocks(self._known(raw.take(count)), max(1, BLOCK // streams), own_seed)

        divided = streams % share.workers == 0 and not self.bad
        mine = share if divided else ALL
        numbers = tf.data.Dataset.range(mine.worker, streams, mine.workers)
        examples = numbers.interleave(
            stream, streams // mine.workers, block_length=1, num_parallel_calls=streams // mine.workers
        ).enumerate()
        if divided:
            return examples.map(lambda number, example: (share.worker + share.workers * number, example))
        return examples.shard(share.workers, share.worker)

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

    def shared_batches(self, recipe, begin, pixels, share):
        (first_epoch, first_step), data, steps = begin, recipe.data, recipe.steps(len(self))
        size = recipe.batch_size // share.workers

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
            examples = self.shuffled_examples((recipe.seed, epoch), share).skip(done * size)
            return mapped(examples, augment).batch(size).take(steps - done)

        def batch(step, examples):
            left = len(self) - step % steps * recipe.batch_size
            count = tf.cast(tf.minimum(left, recipe.batch_size), tf.int32)
            draws = Draws((recipe.seed, step), count, share.rows(count))
            images, labels = examples
            return finished(images, labels, draws, data, pixels)

        epochs = tf.data.Dataset.range(first_epoch, recipe.epochs)
        batches = epochs.flat_map(epoch_of_batches).enumerate(start=first_epoch * steps + first_step)
        return _counted(mapped(batches, batch), len(epochs) * steps - first_step).prefetch(2)

    def whole_batches(self, data, batch_size):
        def whole(example):
            return resized(example["image"], data.whole_size), self.label(example)

        return _counted(mapped(self.examples(), whole).batch(batch_size), -(-len(self) // batch_size))

    def _known(self, serialized):
        """The examples of serialized ones, without the bad ones."""
        examples = serialized.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)
        if not self.bad:
            return examples
        bad = tf.constant(self.bad)
        return examples.filter(lambda example: tf.reduce_all(example["file_name"] != bad))

    def _parse(self, serialized):
        import tensorflow_datasets as tfds  # which takes as long to import as TensorFlow

        decoders = {"image": tfds.decode.SkipDecoding()}
        example = self.features.deserialize_example(serialized, decoders=decoders)
        return {key: example[key] for key in ("image", "label", "file_name")}


def in_shuffled_blocks(examples, size, seed):
    """Dictionaries of tensors in another order: each block of so many is shuffled by a seed of its own."""

    def shuffled_block(number, examples_in_order) -> Any:
        order = shuffled(tf.range(tf.shape(examples_in_order["label"])[0]), fold_in(seed, number))
        block: Any = {key: tf.gather(value, order) for key, value in examples_in_order.items()}
        return tf.data.Dataset.from_tensor_slices(block)

    return examples.batch(size).prefetch(1).enumerate().flat_map(shuffled_block)


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
        records = Records(tuple(map(str, info.filepaths)), tuple(info.shard_lengths), features)
        return without_bad(records) if data.skip_bad else records

    test = split("validation")
    return Dataset(tuple(builder.info.features["label"].names), split("train"), test, test)


def without_bad(records):
    """Decodes every picture once; the split without those that cannot be, which are counted and named."""
    bad = bad_pictures(records)
    complain(bad, skip_bad=True)
    return dataclasses.replace(records, bad=tuple(bad))


def bad_pictures(records):
    """Names of the pictures that cannot be decoded."""
    examples = records.examples()

    def decodable(example):
        return example["file_name"], tf.shape(decode(example["image"]))

    good = examples.map(decodable, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    good = {name for name, _ in good.as_numpy_iterator()}
    names = examples.map(lambda example: example["file_name"]).as_numpy_iterator()
    return [name.decode() for name in names if name not in good]
