"""Pictures of colored rectangles, for tests of detection."""

import numpy as np
import tensorflow as tf

from recipes.data import Dataset
from recipes.data.objects import objects_of

CLASSES = ("red", "green", "blue")


def shapes(pictures=8, size=100, seed=0):
    """A `recipes.data.objects.Objects` of pictures with one or two rectangles each."""
    generator = np.random.default_rng(seed)
    images, boxes_yxyx, labels = [], [], []
    for _ in range(pictures):
        pixels = generator.integers(0, 60, size=(size, size, 3)).astype("uint8")
        boxes, classes = [], []
        for left in (0.0, 0.5)[: generator.integers(1, 3)]:
            ymin, xmin = generator.uniform(0.05, 0.2, 2)
            height, width = generator.uniform(0.3, 0.6), generator.uniform(0.2, 0.28)
            box = np.round(np.array([ymin, left + xmin, ymin + height, left + xmin + width]), 2)
            label = generator.integers(3)
            top, first, bottom, last = np.round(box * size).astype(int)
            pixels[top:bottom, first:last, label] = 230
            boxes.append(box)
            classes.append(label)
        images.append(tf.io.encode_png(pixels).numpy())
        boxes_yxyx.append(boxes)
        labels.append(classes)
    names = [f"{number}.png" for number in range(pictures)]
    difficult = [[False] * len(each) for each in labels]
    return objects_of(names, images, boxes_yxyx, labels, difficult, len(CLASSES))


def shapes_dataset(pictures=8):
    """The same pictures for training and testing."""
    split = shapes(pictures)
    return Dataset(CLASSES, split, split, split)
