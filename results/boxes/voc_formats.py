"""Writes PASCAL VOC 2012's pictures as labelling tools do: an XML file a picture, COCO's JSON, YOLO's text.

    python results/boxes/voc_formats.py OUT

OUT gets the folders voc_folder, coco and yolo, each with the same training and validation pictures and boxes.
"""

import io
import pathlib
import sys

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "recipes")]
from labelled import WRITERS  # noqa: E402


def pictures(builder, split):
    examples = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    for example in tfds.as_numpy(examples):
        with PIL.Image.open(io.BytesIO(example["image"])) as image:
            size = image.height, image.width
        objects = example["objects"]
        boxes = np.round(objects["bbox"] * np.array([*size, *size])).tolist()
        rows = zip(boxes, objects["label"], objects["is_difficult"], strict=True)
        yield {
            "name": example["image/filename"].decode(),
            "content": example["image"],
            "size": size,
            "objects": [(*box, int(label), bool(difficult)) for box, label, difficult in rows],
        }


def main(out):
    builder = tfds.builder("voc/2012")
    classes = builder.info.features["labels"].names
    splits = {"train": list(pictures(builder, "train")), "val": list(pictures(builder, "validation"))}
    for name, write in WRITERS.items():
        write(out / name, splits, classes)
        print(out / name, {split: len(some) for split, some in splits.items()})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
