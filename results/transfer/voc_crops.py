"""Cuts the objects out of PASCAL VOC 2012's pictures: an image folder for transfer learning.

    python results/transfer/voc_crops.py OUT

OUT gets `train` (from VOC's training pictures) and `test` (from its validation pictures), each with a folder
a class: every object whose box, a tenth wider on every side, is at least 64 pixels high and wide.
Classes with fewer than ten test objects are left out.
"""

import collections
import pathlib
import sys

import PIL.Image
import tensorflow_datasets as tfds

SMALLEST = 64  # pixels
MARGIN = 0.1
FEWEST = 10  # test objects of a class


def windows(example, names):
    """The class and the window (left, top, right, bottom) of every object that is large enough."""
    height, width, _ = example["image"].shape
    for (top, left, bottom, right), label in zip(
        *(example["objects"][k] for k in ("bbox", "label")), strict=True
    ):
        high, wide = MARGIN * (bottom - top), MARGIN * (right - left)
        window = (
            max(0, round(width * (left - wide))),
            max(0, round(height * (top - high))),
            min(width, round(width * (right + wide))),
            min(height, round(height * (bottom + high))),
        )
        if min(window[2] - window[0], window[3] - window[1]) >= SMALLEST:
            yield names[label], window


def main(out):
    builder = tfds.builder("voc/2012")
    names = builder.info.features["objects"]["label"].names
    tests = collections.Counter(
        name
        for example in tfds.as_numpy(builder.as_dataset(split="validation"))
        for name, _ in windows(example, names)
    )
    kept = [name for name in names if tests[name] >= FEWEST]
    for split, folder in (("train", "train"), ("validation", "test")):
        counts = collections.Counter()
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            for name, window in windows(example, names):
                if name in kept:
                    path = out / folder / name / f"{counts[name]:04}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    PIL.Image.fromarray(example["image"]).crop(window).save(path, quality=92)
                    counts[name] += 1
        print(folder, counts.total(), dict(sorted(counts.items())))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
