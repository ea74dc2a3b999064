"""Images a second and core of the training pipelines, and of the obvious map that they replace.

python -m benchmarks.input [--rounds N] [--csv FILE] [--plot FILE]

ImageNet's pictures are those of tensorflow-datasets (`TFDS_DATA_DIR`); without them that part is left out.
"""

import functools
import itertools
import os
import sys

import numpy as np

from benchmarks import output
from benchmarks.alternate import alternate
from recipes.command import exit_code

CIFAR_IMAGES, CIFAR_BATCH = 12_800, 128
IMAGENET_IMAGES, IMAGENET_BATCH, IMAGENET_SIZE = 256, 32, 224
HEAD = (
    *("data", "pipeline", "images", "wall_ms", "wall_ms_q1", "wall_ms_q3", "cpu_ms"),
    *("images_per_s", "images_per_s_and_core"),
)


def main(argv=None):
    args = output.parser("input", (__doc__ or "").partition("\n")[0]).parse_args(argv)
    output.check(args)
    rows = measure("CIFAR-10", {"recipe": cifar, "obvious map": cifar_map}, CIFAR_IMAGES, args.rounds)
    pictures = imagenet_pictures()
    if pictures:
        variants = {"recipe": imagenet, "obvious map": imagenet_map}
        variants = {name: functools.partial(make, pictures) for name, make in variants.items()}
        rows += measure("ImageNet", variants, IMAGENET_IMAGES, args.rounds)
    output.show(args, HEAD, rows)
    output.save(args, plot, HEAD, rows)


def measure(data, variants, images, rounds):
    """Measures the pipelines of one data set in turn."""
    return [
        (
            *(data, name, images, m.wall_ms, m.wall_ms_q1, m.wall_ms_q3, m.cpu_ms),
            *(1000 * images / m.wall_ms, 1000 * images / m.cpu_ms),
        )
        for name, m in alternate(variants, rounds, warm_up=1).items()
    ]


def cifar():
    """The recipe's pipeline: augmentation of whole batches."""
    from recipes.data.tf_batches import Arrays
    from recipes.registry import find

    recipe = find("cifar10-mobilenetv2-static")
    split = Arrays(*cifar_arrays())
    return consumer(split.training_batches(recipe), CIFAR_IMAGES // CIFAR_BATCH)


def cifar_map():
    """Shuffle, map image by image, batch: what a first pipeline looks like."""
    import tensorflow as tf

    def augment(image, label):
        image = tf.image.resize_with_crop_or_pad(image, 36, 36)
        image = tf.image.random_crop(image, (32, 32, 3))
        image = tf.image.random_flip_left_right(image)
        return (tf.cast(image, tf.float32) / 255.0 - 0.5) / 0.5, label

    data = tf.data.Dataset.from_tensor_slices(cifar_arrays()).shuffle(10_000).repeat()
    data = data.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    batches = data.batch(CIFAR_BATCH).prefetch(tf.data.AUTOTUNE)
    return consumer(batches, CIFAR_IMAGES // CIFAR_BATCH)


def cifar_arrays():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50_000, 32, 32, 3), dtype="uint8")
    return images, generator.integers(0, 10, 50_000, dtype="int32")


def imagenet(pictures):
    """Only the random part of each JPEG is decoded."""
    import tensorflow as tf

    from recipes.data.augmentation import random_resized_crop

    def augment(step, jpeg):
        return random_resized_crop(jpeg, (0, step), IMAGENET_SIZE) / 127.5 - 1.0

    data = tf.data.Dataset.from_tensor_slices(pictures).repeat().enumerate()
    return imagenet_consumer(data.map(augment, num_parallel_calls=tf.data.AUTOTUNE))


def imagenet_map(pictures):
    """Every JPEG is decoded as a whole, then cropped."""
    import tensorflow as tf

    def augment(jpeg):
        image = tf.io.decode_jpeg(jpeg, channels=3)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            tf.zeros((1, 0, 4)),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.image.resize(tf.slice(image, begin, size), (IMAGENET_SIZE, IMAGENET_SIZE))
        image = tf.image.random_flip_left_right(image)
        return tf.ensure_shape(image, (IMAGENET_SIZE, IMAGENET_SIZE, 3)) / 127.5 - 1.0

    data = tf.data.Dataset.from_tensor_slices(pictures).repeat()
    return imagenet_consumer(data.map(augment, num_parallel_calls=tf.data.AUTOTUNE))


def imagenet_consumer(data):
    import tensorflow as tf

    batches = data.batch(IMAGENET_BATCH).prefetch(tf.data.AUTOTUNE)
    return consumer(batches, IMAGENET_IMAGES // IMAGENET_BATCH)


def imagenet_pictures():
    """The bytes of ImageNet's training pictures at hand."""
    import tensorflow_datasets as tfds

    builder = tfds.builder("imagenet2012")
    if not os.path.isdir(builder.data_dir):
        print("imagenet2012 is not there and is left out (TFDS_DATA_DIR)", file=sys.stderr)
        return []
    data = builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    return [example["image"] for example in itertools.islice(data.as_numpy_iterator(), IMAGENET_IMAGES)]


def consumer(batches, count):
    """Takes so many batches from a new iterator: an old one would have gone on while it was not measured."""
    batches = batches.take(count)

    def step():
        for _ in batches:
            pass

    return step


def plot(rows):
    """Images a second and core, a panel a data set."""
    import matplotlib.pyplot as plt

    sets = list(dict.fromkeys(row["data"] for row in rows))
    figure, panels = plt.subplots(
        1, len(sets), figsize=(3.5 * len(sets), 3.5), layout="constrained", squeeze=False
    )
    for axes, data in zip(panels[0], sets, strict=True):
        chosen = [row for row in rows if row["data"] == data]
        axes.bar(
            [row["pipeline"] for row in chosen],
            [row["images_per_s_and_core"] for row in chosen],
            color=("tab:blue", "tab:gray"),
        )
        axes.set(title=data)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("images/s a core")
    return figure


if __name__ == "__main__":
    sys.exit(exit_code(main))
