"""Writes pictures with boxes as labelling tools do: VOC's XML, COCO's JSON, YOLO's text."""

import io
import json
import pathlib

import numpy as np
from PIL import Image

from recipes.data import load
from recipes.settings import Data

CORNERS = ("ymin", "xmin", "ymax", "xmax")
CLASSES = ("apple", "pear", "quince")


def picture(name, objects, size=(40, 60), orientation=1):
    """A picture of noise, whose objects are ymin, xmin, ymax, xmax, label, and whether it is difficult."""
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.random.default_rng(len(name)).integers(0, 256, (*size, 3), "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    return {"name": name, "content": buffer.getvalue(), "size": size, "objects": objects}


def splits():
    return {
        "train": [
            picture("a.png", [(4, 6, 20, 30, 1, 0), (0, 0, 40, 60, 0, 0)]),
            picture("bb.png", []),
            picture("ccc.png", [(10, 12, 30, 45, 2, 0)], size=(80, 50)),
        ],
        "val": [picture("dddd.png", [(1, 2, 3, 5, 1, 0)])],
        "test": [picture("eeeee.png", [(5, 5, 10, 10, 0, 0)]), picture("ffffff.png", [(2, 2, 9, 9, 2, 0)])],
    }


def read(name, directory, **changes):
    settings = {"image_size": 300, "augmentation": "none", "validation_fraction": 0.0, "pad": 0, **changes}
    return load(Data(name, directory=str(directory), **settings))


def write_picture(folder, picture):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / picture["name"]).write_bytes(picture["content"])


def write_voc_folder(root, splits, classes):
    """`JPEGImages`, `Annotations` and `ImageSets/Main`.

    Args:
        root: The folder.
        splits: Pictures by split: `name`, `content`, `size` (height, width), and `objects`, a list of ymin,
            xmin, ymax, xmax in pixels, label, and whether it is difficult.
        classes: Names of the classes.
    """
    for name in ("Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for split, pictures in splits.items():
        stems = []
        for picture in pictures:
            write_picture(root / "JPEGImages", picture)
            stems.append(pathlib.Path(picture["name"]).stem)
            height, width = picture["size"]
            objects = "".join(
                f"<object><name>{classes[label]}</name><difficult>{int(difficult)}</difficult><bndbox>"
                + "".join(f"<{corner}>{x:g}</{corner}>" for corner, x in zip(CORNERS, box, strict=True))
                + "</bndbox></object>"
                for *box, label, difficult in picture["objects"]
            )
            (root / "Annotations" / f"{stems[-1]}.xml").write_text(
                f"<annotation><filename>{picture['name']}</filename><size><width>{width}</width>"
                f"<height>{height}</height><depth>3</depth></size>{objects}</annotation>",
                encoding="utf-8",
            )
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n", encoding="utf-8")


def write_coco(root, splits, classes, ids=lambda label: 10 * label + 7):
    """`annotations/instances_SPLIT.json` and a folder a split; ids of categories leave numbers out."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, pictures in splits.items():
        images, annotations = [], []
        for number, picture in enumerate(pictures):
            write_picture(root / split, picture)
            height, width = picture["size"]
            images.append({"id": number, "file_name": picture["name"], "height": height, "width": width})
            for ymin, xmin, ymax, xmax, label, crowd in picture["objects"]:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": ids(label),
                        "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                        "iscrowd": int(crowd),
                    }
                )
        categories = [{"id": ids(label), "name": name} for label, name in enumerate(classes)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def write_yolo(root, splits, classes):
    """`data.yaml`, `images/SPLIT` and `labels/SPLIT`; it knows no difficult objects."""
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{split}: images/{split}" for split in splits]
    names = [f"  {label}: {name}" for label, name in enumerate(classes)]
    (root / "data.yaml").write_text("\n".join([*lines, "names:", *names]) + "\n", encoding="utf-8")
    for split, pictures in splits.items():
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            write_picture(root / "images" / split, picture)
            height, width = picture["size"]
            rows = [
                f"{label} {(xmin + xmax) / 2 / width:.12g} {(ymin + ymax) / 2 / height:.12g} "
                f"{(xmax - xmin) / width:.12g} {(ymax - ymin) / height:.12g}"
                for ymin, xmin, ymax, xmax, label, _ in picture["objects"]
            ]
            path = root / "labels" / split / f"{pathlib.Path(picture['name']).stem}.txt"
            path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_csv(root, splits, classes):
    """`SPLIT_labels.csv` and a folder a split; it knows no difficult objects."""
    for split, pictures in splits.items():
        lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
        for picture in pictures:
            write_picture(root / split, picture)
            height, width = picture["size"]
            start = f"{picture['name']},{width},{height}"
            lines += [
                f"{start},{classes[label]},{xmin:g},{ymin:g},{xmax:g},{ymax:g}"
                for ymin, xmin, ymax, xmax, label, _ in picture["objects"]
            ] or [f"{start},,,,,"]
        (root / f"{split}_labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


WRITERS = {"voc_folder": write_voc_folder, "coco": write_coco, "yolo": write_yolo, "csv": write_csv}
