"""Writes Tiny-ImageNet, decoded, into one file of arrays: what train.py reads.

    python results/tinyimagenet/arrays.py FOLDER OUT.npz

FOLDER is as `data.directory` of the recipes.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from recipes import registry
from recipes.data import load


def main(folder, out):
    recipe = registry.find("tinyimagenet-mobilenetv2-sb").override([f"data.directory={folder}"])
    dataset = load(recipe.data)
    train, test = dataset.train, dataset.test
    np.savez(
        out,
        classes=dataset.classes,
        train_images=train.images,
        train_labels=train.labels,
        test_images=test.images,
        test_labels=test.labels,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
