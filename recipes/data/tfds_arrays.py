"""TFDS's data sets: looked up before anything is written, and as NumPy arrays without TensorFlow."""

import contextlib
import struct
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import numpy as np

from recipes.errors import UserError

SECONDS_TO_ANSWER = 10
OFFLINE = "without a network, set TFDS_DATA_DIR or data.directory to a folder that has it"


def unavailable(name, error, advice=OFFLINE):
    """The `UserError` for a data set that tensorflow-datasets cannot load, which raised `error`."""
    if isinstance(error, UserError):
        return error
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return UserError(f"cannot load {name} through tensorflow-datasets; {advice} ({reason})")


def prepared(name, directory) -> Any:
    """TFDS's builder of a data set whose records are there, if need be after a download.

    TFDS by itself makes folders in whatever directory it is given and tries for minutes to reach a server.
    Here nothing is written to a `directory`; a download goes to TFDS's own place, and is announced.

    Args:
        name: TFDS's name of it.
        directory: TFDS's `data_dir`; None for TFDS's own place.

    Raises:
        UserError: If `directory` does not hold it, or the server does not answer.
    """
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder(name, data_dir=directory)
    if builder.data_path.exists():
        return builder
    if directory is not None:
        raise UserError(
            f"{directory} does not hold {name} as tensorflow-datasets writes it: there is no "
            f"{builder.data_path}. Without data.directory it is downloaded to TFDS's own folder, which "
            "TFDS_DATA_DIR names"
        )
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        sizes = {url: info.size for url, info in builder.url_infos.items()}
        hosts = sorted({urllib.parse.urlparse(url).hostname for url in sizes})
        gigabytes = sum(sizes.values()) / 1e9
        print(f"downloading {name} (up to {gigabytes:.2g} GB) from {', '.join(hosts)} to {builder.data_path}")
        _reach(next(iter(sizes)))
    builder.download_and_prepare()
    return builder


def _reach(url):
    """Raises an `OSError` if a server does not answer, where TFDS would try ten times."""
    head = urllib.request.Request(url, method="HEAD")
    with contextlib.suppress(urllib.error.HTTPError):  # an answer too
        urllib.request.urlopen(head, timeout=SECONDS_TO_ANSWER).close()


def load_arrays(name, directory):
    """Reads a data set of labelled images of one size.

    Args:
        name: TFDS's name of it.
        directory: As for `prepared`; what is downloaded is written by TensorFlow, if only once.

    Returns:
        Names of the classes, and a dictionary with images (n, height, width, channels) and labels (n,) of
        every split.
    """
    builder = prepared(name, directory)
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
