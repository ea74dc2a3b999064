"""Loading the data set that a recipe names."""

import collections
import dataclasses
import difflib
import importlib
import re
import unicodedata

from recipes.data.catalog import CATALOG, CHANGES, check
from recipes.errors import UserError

NAMED = 20


def load(data):
    """Loads a data set and splits it.

    Args:
        data: A `recipes.recipe.Data`.

    Returns:
        A `recipes.data.Dataset`. If it has no validation pictures of its own, but those of the test, a share
        of the training pictures, `data.validation_fraction`, always the same ones, is its validation split.

    Raises:
        UserError: If the data are not there or not usable.
    """
    check_backend(data)
    check(data)
    module, _, function = CATALOG[data.name].loader.partition(":")
    dataset = getattr(importlib.import_module(module), function)(data)
    for name in ("train", "validation", "test"):
        split = getattr(dataset, name)
        if not len(split):
            raise UserError(f"{data.name} has no {name} images")
        split.check(dataset.classes, f"the {name} images of {data.name}")
    absent = [name for label, name in enumerate(dataset.classes) if dataset.train.lacks(label)]
    if absent:
        raise UserError(f"{data.name} has no training images of {', '.join(absent)}")
    _tell_similar(dataset.classes)
    _tell_misspelt(dataset)
    if data.validation_fraction and dataset.validation is dataset.test:
        train, validation = _held_out(dataset, data.validation_fraction)
        validation.check(dataset.classes, f"the pictures of {data.name} that are held out for validation")
        dataset = dataclasses.replace(dataset, train=train, validation=validation)
    if data.task == "detection":
        _tell_not_learned(dataset)
    return dataset


def _held_out(dataset, fraction):
    try:
        return dataset.train.hold_out(fraction, dataset.classes)
    except UserError as error:
        raise UserError(
            f"{error}. --set data.validation_fraction=0 validates with the test pictures"
        ) from error


def _tell_not_learned(dataset):
    """Says which classes have no object to learn from, once all that is held out is."""
    counts = [split.counts(len(dataset.classes)) for split in (dataset.train, dataset.test)]
    absent = [
        f"{name} ({tested} in the test pictures)" if tested else name
        for name, trained, tested in zip(dataset.classes, *counts, strict=True)
        if not trained
    ]
    if absent:
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        print(f"no training objects, so that it cannot be learned, of {', '.join(absent[:NAMED])}{more}")


def _tell_similar(classes):
    """Says which classes have names that differ in case, spaces or how they are written only."""
    spellings = collections.defaultdict(list)
    for name in classes:
        spellings[re.sub(r"[\s_-]", "", unicodedata.normalize("NFKC", name).casefold())].append(name)
    for names in spellings.values():
        if len(names) > 1:
            print(f"these are different classes, though their names are nearly the same: {', '.join(names)}")


def _tell_misspelt(dataset):
    """Says which rare class has nearly the name of one that is ten times as frequent."""
    counts = dataset.train.counts(len(dataset.classes))
    if counts is None:
        return
    rows = list(zip(dataset.classes, counts, map(_letters, dataset.classes), strict=True))
    for name, count, letters in rows:
        others = [
            other
            for other, number, others_letters in rows
            if number >= 10 * count > 0 and others_letters != letters  # class1 and class2 are none
        ]
        for other in difflib.get_close_matches(name, others, n=1, cutoff=0.8):
            frequent = counts[dataset.classes.index(other)]
            print(
                f"{name} ({count} in training) and {other} ({frequent}) are different classes: "
                "is one misspelt?"
            )


def _letters(name):
    return "".join(filter(str.isalpha, name.casefold()))


def check_backend(data):
    """Raises a `UserError` unless Keras's backend can be fed with the data set."""
    import keras  # takes seconds, with its backend

    backend, entry = keras.backend.backend(), CATALOG[data.name]
    if backend == "tensorflow":
        return
    if not entry.needs_tensorflow:
        for key in CHANGES:
            if getattr(data, key):
                raise UserError(
                    f"data.{key} of {data.name} needs Keras's TensorFlow backend. Received: {backend}"
                )
        return
    try:
        import tensorflow as tf
    except ImportError as error:
        known = [name for name, other in CATALOG.items() if not other.needs_tensorflow]
        raise UserError(
            f"the pictures of {data.name} are read by TensorFlow, also for Keras on {backend}, and it is not "
            f"installed; without it data.name must be one of {', '.join(known)}"
        ) from error
    tf.config.set_visible_devices([], "GPU")  # they are Keras's
