"""Images a second that one process reads for a training, and two that share the reading, each with one core.

python -m benchmarks.workers [--rounds N] [--csv FILE]

The pictures are ImageNet's of tensorflow-datasets (`TFDS_DATA_DIR`), written again into one TFRecord file,
into sixteen, and as files of their own. Of sixteen files a worker reads half; of a single one it reads all
and decodes half.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import statistics
import sys
import tempfile
import time

from benchmarks import output
from benchmarks.input import imagenet_pictures
from recipes.command import exit_code, progress
from recipes.errors import UserError

BATCH, BATCHES = 64, 8  # of a round
HEAD = ("pictures", "one_images_per_s", "two_images_per_s", "times", "times_min", "times_max")


def main(argv=None):
    args = output.parser("workers", (__doc__ or "").partition("\n")[0], rounds=9).parse_args(argv)
    output.check(args)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise UserError("two processes with a core each need 2 cores. Received: 1")
    pictures = imagenet_pictures()
    if not pictures:
        raise UserError("there are no pictures: TFDS_DATA_DIR must have imagenet2012")
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            "16 TFRecord files": write_records(pathlib.Path(folder, "16"), pictures, 16),
            "1 TFRecord file": write_records(pathlib.Path(folder, "1"), pictures, 1),
            "JPEG files": write_files(pathlib.Path(folder, "files"), pictures),
        }
        processes = multiprocessing.get_context("spawn")  # a fork of a process with TensorFlow hangs
        pools = [
            concurrent.futures.ProcessPoolExecutor(1, processes, os.sched_setaffinity, (0, {core}))
            for core in cores[:2]
        ]
        seconds = {kind: ([], []) for kind in kinds}
        for _ in progress(range(args.rounds), unit="round"):
            for kind, split in kinds.items():
                for workers, measured in zip((1, 2), seconds[kind], strict=True):
                    runs = [pools[w].submit(read, split, w, workers) for w in range(workers)]
                    measured.append(max(run.result() for run in runs))
    rows = list(_rows(seconds))
    output.show(args, HEAD, rows)


def write_records(folder, pictures, count):
    """Paths and lengths of so many TFRecord files, with all the pictures between them."""
    import tensorflow as tf

    folder.mkdir()
    serialize = features().serialize_example
    files = [folder / f"{number}.tfrecord" for number in range(count)]
    parts = [pictures[number::count] for number in range(count)]
    for file, part in zip(files, parts, strict=True):
        with tf.io.TFRecordWriter(str(file)) as writer:
            for number, picture in enumerate(part):
                example = {"image": picture, "label": number, "file_name": f"{number}.jpg"}
                writer.write(serialize(example))
    return tuple(map(str, files)), tuple(map(len, parts))


def write_files(folder, pictures):
    """Paths of files of their own."""
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        path.write_bytes(picture)
    return tuple(map(str, paths)), None


def features():
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(num_classes=1000),
            "file_name": tfds.features.Text(),
        }
    )


def read(pictures, worker, workers):
    """Seconds that a worker takes for its share of the batches; the first one is not counted."""
    import numpy as np

    from recipes.data.image_folder import Files
    from recipes.data.records import Records
    from recipes.data.tf_batches import Share
    from recipes.registry import find

    recipe = find("imagenet-mobilenetv2-sb").override([f"batch_size={BATCH}", "epochs=1000"])
    paths, lengths = pictures
    if lengths is None:
        split = Files(np.array(paths), np.zeros(len(paths), "int32"))
    else:
        split = Records(paths, lengths, features())
    batches = iter(split.training_batches(recipe, share=Share(worker, workers)))
    next(batches)
    start = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    return time.perf_counter() - start


def _rows(seconds):
    for kind, (one, two) in seconds.items():
        times = [alone / shared for alone, shared in zip(one, two, strict=True)]
        rates = [BATCH * BATCHES / statistics.median(measured) for measured in (one, two)]
        yield kind, *rates, statistics.median(times), min(times), max(times)


if __name__ == "__main__":
    sys.exit(exit_code(main))
