"""Writes CIFAR-10's first pictures as an image folder: transfer learning from few of them.

    python results/transfer/cifar10_pictures.py OUT TRAINING TEST

OUT gets `train` with the first TRAINING pictures of the training set and `test` with the first TEST ones of
the test set, each with a folder a class. The order is TFDS's, in which the classes are mixed.
"""

import itertools
import pathlib
import sys

import PIL.Image
import tensorflow_datasets as tfds


def main(out, *counts):
    builder = tfds.builder("cifar10")
    names = builder.info.features["label"].names
    for split, count in zip(("train", "test"), counts, strict=True):
        examples = tfds.as_numpy(builder.as_dataset(split=split))
        for number, example in enumerate(itertools.islice(examples, count)):
            path = out / split / names[example["label"]] / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(example["image"]).save(path)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
