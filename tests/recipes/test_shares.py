"""Tests that what several workers read of the batches is, put together, what one process reads."""

import dataclasses
import itertools
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
import tiny
from example_records import FEATURES, jpeg, write
from workers import TWO_DEVICES

from recipes.data import objects, records
from recipes.data.records import Records
from recipes.data.tf_batches import Arrays, Share
from recipes.errors import UserError
from recipes.registry import RECIPES
from recipes.training import distribution

pytestmark = pytest.mark.long

RECIPE = RECIPES["imagenet-mobilenetv2-sb"].override(["epochs=2", "data.image_size=32"])
CHANGES = {
    "nothing more": (),
    "colors": ("data.rand_augment=9", "data.color_jitter=0.4", "data.random_erasing=0.5"),
    "mixup": ("data.mixup=0.2",),
}


def assert_shares_are_the_whole(split, recipe, workers=2, begin=(0, 0)):
    whole = list(split.training_batches(recipe, *begin).as_numpy_iterator())
    shares = [
        list(split.training_batches(recipe, *begin, share=Share(worker, workers)).as_numpy_iterator())
        for worker in range(workers)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        for worker, part in enumerate(parts):
            expected = Share(worker, workers).of(batch)
            for ours, theirs in zip(*map(tf.nest.flatten, (part, expected)), strict=True):
                np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def arrays(rng):
    return Arrays(rng.integers(0, 256, (22, 40, 40, 3)).astype("uint8"), np.arange(22, dtype="int32"))


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_pictures_in_memory(arrays, changes):
    """Also in the last batch of an epoch, of 22 % 8 pictures."""
    assert_shares_are_the_whole(arrays, RECIPE.override(["batch_size=8", *changes]))


def test_pictures_that_are_padded_and_cropped(arrays):
    recipe = RECIPES["cifar10-mobilenetv2-sb"].override(["epochs=2", "batch_size=8"])
    assert_shares_are_the_whole(arrays, recipe)


def test_three_workers_that_go_on_within_an_epoch(arrays):
    assert_shares_are_the_whole(arrays, RECIPE.override(["batch_size=9"]), workers=3, begin=(1, 1))


def test_pictures_with_boxes(rng):
    pictures = [tf.io.encode_png(rng.integers(0, 256, (40, 60, 3)).astype("uint8")).numpy() for _ in range(6)]
    names, boxes = [f"{number}.png" for number in range(6)], [[(0.1, 0.2, 0.6, 0.8)]] * 6
    split = objects.objects_of(names, pictures, boxes, [[number] for number in range(6)], [[0]] * 6, 20)
    recipe = RECIPES["voc-ssdlite-mobilenetv2-sb"].override(["batch_size=4", "epochs=1"])
    assert_shares_are_the_whole(split, recipe)


@pytest.fixture
def split(tmp_path, monkeypatch):
    """61 examples in five files of different lengths; an epoch is read in four streams."""
    monkeypatch.setattr(records, "STREAMS", 4)
    monkeypatch.setattr(records, "BLOCK", 16)
    ends, paths = [0, 3, 20, 41, 50, 61], []
    for begin, end in itertools.pairwise(ends):
        paths.append(tmp_path / f"part-{begin}")
        write(paths[-1], range(begin, end), jpeg)
    return Records(tuple(map(str, paths)), tuple(np.diff(ends).tolist()), FEATURES)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_records(split, changes):
    assert_shares_are_the_whole(split, RECIPE.override(["batch_size=8", *changes]))
    batches = [labels for _, labels in split.training_batches(RECIPE.override(["batch_size=8", "epochs=1"]))]
    assert sorted(np.concatenate(batches)) == list(range(61))


@pytest.mark.parametrize("workers", [3, 4])
def test_records_of_more_workers(split, workers):
    """Of three no one can have streams of its own: each reads all, and decodes its share."""
    recipe = RECIPE.override(["batch_size=12", "steps_per_epoch=4"])
    assert_shares_are_the_whole(split, recipe, workers, begin=(0, 2))


def test_records_that_are_held_out_or_damaged(split):
    some = split.select(np.arange(0, 61, 2))
    assert_shares_are_the_whole(some, RECIPE.override(["batch_size=4"]))
    without = dataclasses.replace(split, bad=("7.jpg", "30.jpg"))
    assert len(without) == 59
    assert_shares_are_the_whole(without, RECIPE.override(["batch_size=4"]))


def test_a_worker_reads_streams_of_its_own(split, monkeypatch):
    """Half of the examples come out of the files at all, and of their order each is the second."""
    parsed = []
    parse = Records._parse

    def counted(self, serialized):
        tf.py_function(lambda: parsed.append(1), [], [])
        return parse(self, serialized)

    monkeypatch.setattr(Records, "_parse", counted)
    examples = split.shuffled_examples((0, 0), Share(1, 2))
    assert [number for number, _ in examples.as_numpy_iterator()] == list(range(1, 61, 2))
    assert len(parsed) == 30


SHARED = """
import keras
import numpy as np
from recipes import data
from recipes.registry import find
from recipes.training import distribution
from recipes.training.within_epoch import Position

strategy = tf.distribute.MirroredStrategy()
distribution.is_multi_worker = lambda strategy: True  # of one worker, which has two devices
recipe = find("digits-mobilenetv2-sb").override(["batch_size=6", "epochs=1"])
split = data.load(recipe.data).train.select(slice(22))
weights = {label: label for label in range(10)}
batches, weights = distribution.training_batches(split, recipe, Position(0), strategy, weights)
assert weights is None
for ours, (images, labels) in zip(batches, split.training_batches(recipe), strict=True):
    for number in range(2):
        mine, my_labels, my_weights = (strategy.experimental_local_results(x)[number] for x in ours)
        np.testing.assert_array_equal(mine, images[number::2])
        np.testing.assert_array_equal(my_labels, labels[number::2])
        np.testing.assert_array_equal(my_weights, labels[number::2])
"""


@pytest.mark.slow
def test_a_workers_devices_share_what_is_the_workers():
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES + SHARED], cwd=tiny.ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("kind", "batch_size", "count", "message"),
    [
        ("multi_worker", 9, 36, r"batch_size must be a multiple of the 2 devices\. Received: 9$"),
        ("multi_worker", 8, 41, r"must be at least that .* 2\. Received: 1; --set steps_per_epoch=5 leaves"),
        ("data_parallel", 9, 36, r"batch_size must be a multiple of the 2 devices\. Received: 9$"),
        ("data_parallel", 8, 43, r"must be a multiple of that .* 2\. Received: 3; --set steps_per_epoch=5 "),
    ],
)
def test_batches_that_devices_cannot_share(kind, batch_size, count, message, monkeypatch):
    monkeypatch.setattr(distribution, f"is_{kind}", lambda strategy: True)
    strategy = types.SimpleNamespace(num_replicas_in_sync=2, num_model_replicas=2)
    recipe = RECIPES["digits-mobilenetv2-sb"].override([f"batch_size={batch_size}"])
    with pytest.raises(UserError, match=message):
        distribution.check_batches(strategy, recipe, count)
    distribution.check_batches(strategy, recipe.override(["batch_size=8", "steps_per_epoch=4"]), count)
