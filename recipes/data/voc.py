"""PASCAL VOC through tensorflow-datasets."""

from recipes.data.image_files import orientation, turn_boxes
from recipes.data.objects import objects_of, readable
from recipes.data.split import Dataset
from recipes.data.tfds_arrays import prepared, unavailable
from recipes.errors import UserError


def load_voc(data):
    """Loads the years and splits that `data` names; the test pictures serve for validation."""
    classes, train = _pictures(data.train_splits, data.directory, data.skip_bad)
    _, test = _pictures(data.test_splits, data.directory, data.skip_bad)
    return Dataset(classes, train, validation=test, test=test)


def _pictures(splits, directory, skip_bad):
    """Names of the classes, and the pictures of some splits of some years, one after the other."""
    import tensorflow_datasets as tfds

    examples, classes = [], ()
    for name in splits:
        year, _, split = name.partition("/")
        try:
            builder = prepared(f"voc/{year}", directory)
        except Exception as error:  # TFDS, its downloader and the file system each raise their own
            raise unavailable(f"voc/{name}", error) from error
        try:
            loaded = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        except ValueError as error:
            raise UserError(f"there are no pictures {name} in {builder.data_path}: {error}") from error
        examples += list(tfds.as_numpy(loaded))
        classes = tuple(builder.info.features["labels"].names)
    if not examples:
        raise UserError(f"there are no pictures in voc {', '.join(splits)}")
    objects, images = ([example[key] for example in examples] for key in ("objects", "image"))
    split = objects_of(
        [example["image/filename"].decode() for example in examples],
        images,
        [turn_boxes(each["bbox"], orientation(image)) for each, image in zip(objects, images, strict=True)],
        [each["label"] for each in objects],
        [each["is_difficult"] for each in objects],
        len(classes),
    )
    return classes, readable(split, skip_bad)
