"""Writes pictures with boxes as labelling tools do: VOC's XML, COCO's JSON, YOLO's text."""

import json
import pathlib

CORNERS = ("ymin", "xmin", "ymax", "xmax")


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


WRITERS = {"voc_folder": write_voc_folder, "coco": write_coco, "yolo": write_yolo}
