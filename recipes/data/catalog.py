"""The data sets by name, and all that a recipe must know of them. Nothing is loaded here.

A new data set is a module with a function that loads it (see `Entry`), and an entry here.
"""

import dataclasses
import pathlib
from collections.abc import Callable

from recipes.errors import UserError

# What a folder of the user's must hold.
OWN = {
    "tiny_imagenet": "the unpacked tiny-imagenet-200.zip",
    "image_folder": "a folder of pictures a class",
    "voc_folder": "pictures and an XML file for each, as LabelImg and CVAT write them",
    "coco": "pictures and a JSON file of instances, as CVAT, Label Studio and Roboflow write it",
    "csv": "pictures and CSV files, as TFLite Model Maker and TensorFlow's Object Detection API take them",
    "yolo": "a data.yaml, pictures and a text file for each, as Ultralytics has them",
}
# Keys of what TensorFlow does with classifiers' training pictures besides.
CHANGES = ("rand_augment", "color_jitter", "random_erasing", "mixup")
DETECTOR_SIZES = (300, *range(160, 641, 32))  # those of `sb_keras.SSDLite`
# Those of which boxes are public.
VOC_SPLITS = {"2007": ("train", "validation", "test"), "2012": ("train", "validation")}


def _check_folder(data):
    """A bucket (`gs://…`) is looked at by the one that reads it."""
    if data.directory is None or "://" in data.directory or pathlib.Path(data.directory).is_dir():
        return
    raise UserError(f"no such folder: {data.directory} (data.directory)")


def _check_no_folder(data):
    if data.directory is not None:
        raise UserError(
            f"data.directory is of no use to {data.name}, which come with scikit-learn; for your own "
            f"pictures add --set data.name=image_folder. Received: {data.directory}"
        )


def _check_own_folder(data):
    if data.directory is None:
        raise UserError(f"{data.name} needs --set data.directory=FOLDER, with {OWN[data.name]}")
    if pathlib.Path(data.directory).is_file():
        raise UserError(f"data.directory must be a folder; give that of {data.directory}")
    if not pathlib.Path(data.directory).is_dir():
        raise UserError(
            f"no such folder: {data.directory} (data.directory; a run has it in its recipe.json, where it "
            "can be changed if the folder was moved)"
        )


def _check_cache(data):
    if data.cache in (None, "memory"):
        return
    folder = pathlib.Path(data.cache)
    if not data.cache or (folder.exists() and not folder.is_dir()):
        raise UserError(f"data.cache must be memory or a folder. Received: {data.cache!r}")
    if folder.resolve().is_relative_to(pathlib.Path(data.directory).resolve()):
        raise UserError(
            f"data.cache must not be in {data.directory}, where folders are classes. Received: {data.cache!r}"
        )


def _check_nothing_held_out(data):
    if data.validation_fraction:
        raise UserError(
            f"{data.name} is tested on its validation pictures, and none are held out of the training: "
            f"data.validation_fraction must be 0. Received: {data.validation_fraction}"
        )


def _check_splits(data):
    for key in ("train_splits", "test_splits"):
        names = getattr(data, key)
        if not names:
            raise UserError(
                f"data.{key} must name splits, for example 2007/train+validation; your own XML files are "
                "data.name=voc_folder. Received: none"
            )
        for name in names:
            year, _, splits = name.partition("/")
            known = VOC_SPLITS.get(year, ())
            if not known or any(split.partition("[")[0] not in known for split in splits.split("+")):
                names = [f"{year}/{split}" for year, splits in VOC_SPLITS.items() for split in splits]
                raise UserError(f"data.{key} must be made of {', '.join(names)}. Received: {name}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a recipe must know of a data set.

    Attributes:
        loader: The module and the function that loads it, `"module:function"`: a function of a
            `recipes.recipe.Data` that returns a `recipes.data.Dataset`.
        task: What is learned from it: `"classification"` or `"detection"`.
        augmentations: Those that suit it, the usual one first.
        image_sizes: The heights and widths in pixels that there may be; None for any.
        needs_tensorflow: Whether its batches are made by TensorFlow, whatever Keras runs on.
        checks: Functions of a `recipes.recipe.Data` that raise a `UserError` if it does not suit, by looking
            at no more than the names of files.
    """

    loader: str
    task: str
    augmentations: tuple[str, ...]
    image_sizes: tuple[int, ...] | None = None
    needs_tensorflow: bool = True
    checks: tuple[Callable, ...] = (_check_folder,)


CATALOG = {
    "digits": Entry(
        "recipes.data.memory:load_digits",
        "classification",
        ("pad_crop", "none"),
        needs_tensorflow=False,
        checks=(_check_no_folder,),
    ),
    "cifar10": Entry(
        "recipes.data.memory:load_cifar10",
        "classification",
        ("pad_crop", "none"),
        image_sizes=(32,),
        needs_tensorflow=False,
    ),
    "imagenet2012": Entry(
        "recipes.data.records:load_imagenet",
        "classification",
        ("random_resized_crop", "none"),
        checks=(_check_nothing_held_out, _check_folder),
    ),
    "tiny_imagenet": Entry(
        "recipes.data.tiny_imagenet:load_tiny_imagenet",
        "classification",
        ("random_resized_crop", "pad_crop", "none"),
        image_sizes=(64,),
        checks=(_check_nothing_held_out, _check_own_folder),
    ),
    "image_folder": Entry(
        "recipes.data.image_folder:load_image_folder",
        "classification",
        ("pad_crop", "random_resized_crop", "none"),
        checks=(_check_own_folder, _check_cache),
    ),
    "voc": Entry(
        "recipes.data.voc:load_voc",
        "detection",
        ("ssd", "none"),
        image_sizes=DETECTOR_SIZES,
        checks=(_check_splits, _check_folder),
    ),
    **{
        name: Entry(
            f"recipes.data.{module}:load_{name}",
            "detection",
            ("ssd", "none"),
            image_sizes=DETECTOR_SIZES,
            checks=(_check_own_folder,),
        )
        for name, module in (
            ("voc_folder", "voc_folder"),
            ("coco", "coco"),
            ("yolo", "yolo"),
            ("csv", "csv_boxes"),
        )
    },
}


def check(data):
    """Raises a `UserError` if a recipe's `data` cannot be loaded, as far as a look without reading tells."""
    for each in CATALOG[data.name].checks:
        each(data)
