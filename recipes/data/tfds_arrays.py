"""TFDS's data sets as NumPy arrays, without TensorFlow, and what to say where they cannot be had."""

import struct

import numpy as np

from recipes.errors import UserError

OFFLINE = "without a network, set TFDS_DATA_DIR or data.directory to a folder that has it"


def unavailable(name, error, advice=OFFLINE):
    """The `UserError` for a data set that tensorflow-datasets cannot load, which raised `error`."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return UserError(f"cannot load {name} through tensorflow-datasets; {advice} ({reason})")


def load_arrays(name, directory):
    """Reads a data set of labelled images of one size.

    Args:
        name: TFDS's name of it.
        directory: TFDS's `data_dir`. A data set that is not there yet is downloaded; writing it takes
            TensorFlow, if only once.

    Returns:
        Names of the classes, and a dictionary with images (n, height, width, channels) and labels (n,) of
        every split.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=directory)
    builder.download_and_prepare()
    features, splits = builder.info.features, {}
    for split, info in builder.info.splits.items():
        records = (record for path in info.filepaths for record in tfrecords(path))
        examples = [features.deserialize_example_np(record) for record in records]
        images, labels = (np.stack([example[key] for example in examples]) for key in ("image", "label"))
        splits[split] = images, labels.astype("int32")
    return tuple(features["label"].names), splits


def tfrecords(path):
    """The records of a TFRecord file.

    Each is its length (8 bytes, little-endian), a checksum of that (4), itself, and a checksum (4):
    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details

    Raises:
        ValueError: If the file ends in the middle of one.
    """
    with open(path, "rb") as file:
        while head := file.read(12):
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
            record, checksum = file.read(length), file.read(4)
            if len(record) < length or len(checksum) < 4:
                raise ValueError(f"{path} is cut off")
            yield record
