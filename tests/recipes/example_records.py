"""Writes small data sets in TFRecord files, as tensorflow-datasets has them."""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

COUNT = 61
FEATURES = tfds.features.FeaturesDict(
    {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(num_classes=COUNT),
        "file_name": tfds.features.Text(),
    }
)


def jpeg(number):
    """A grey picture that carries its number as its brightness."""
    return tf.io.encode_jpeg(np.full((40, 48, 3), 4 * number, "uint8"), quality=100).numpy()


def write(path, numbers, pictures):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in numbers:
            writer.write(
                FEATURES.serialize_example(
                    {"image": pictures(number), "label": number, "file_name": f"{number}.jpg"}
                )
            )
