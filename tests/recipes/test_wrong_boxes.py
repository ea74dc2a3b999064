"""Wrong data sets of own pictures with boxes: what is done to a good one, and the line that says so."""

import json
import shutil

import pytest
from labelled import CLASSES, WRITERS, read, splits, write_coco, write_yolo

from recipes.errors import UserError


def edit_json(change):
    def edited(root):
        path = root / "annotations" / "instances_train.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edited


def edit_text(name, old, new):
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new))


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
)
WRONG = {
    "voc: no XML at all": (
        "voc_folder",
        lambda r: [p.unlink() for p in r.glob("Annotations/*")],
        "no pictures with an",
    ),
    "voc: picture missing": (
        "voc_folder",
        lambda r: (r / "JPEGImages/a.png").unlink(),
        "there are annotations that cannot be used: Annotations/a.xml .*Received: none",
    ),
    "voc: two of one name": (
        "voc_folder",
        lambda r: (r / "JPEGImages/a.jpg").write_bytes((r / "JPEGImages/a.png").read_bytes()),
        "a.xml .there must be one picture of this name. Received: .*a.jpg and .*a.png",
    ),
    "voc: XML bomb": (
        "voc_folder",
        lambda r: (r / "Annotations/a.xml").write_text(BOMB),
        "EntitiesForbidden",
    ),
    "voc: not XML": ("voc_folder", lambda r: (r / "Annotations/a.xml").write_text("a b c"), "ParseError"),
    "voc: other XML": (
        "voc_folder",
        lambda r: (r / "Annotations/a.xml").write_text("<svg/>"),
        "Received: svg",
    ),
    "voc: NaN": (
        "voc_folder",
        edit_text("Annotations/a.xml", ">4<", ">nan<"),
        r"Annotations/a.xml, object 1 \(pear: ymin nan, xmin 6, ymax 20, xmax 30\): .* must be finite",
    ),
    "voc: text for a number": (
        "voc_folder",
        edit_text("Annotations/a.xml", ">4<", ">four<"),
        "must be finite",
    ),
    "voc: negative size": (
        "voc_folder",
        edit_text("Annotations/a.xml", ">30<", ">3<"),
        r"object 1 \(pear: .*\): .*xmin < xmax",
    ),
    "voc: no box": ("voc_folder", edit_text("Annotations/a.xml", "bndbox", "box"), "object 1 has no bndbox"),
    "voc: other picture": (
        "voc_folder",
        edit_text("Annotations/a.xml", "<width>60", "<width>600"),
        "annotations that cannot be used: JPEGImages/a.png .*600×40 pixels. Received: one of 60×40",
    ),
    "voc: damaged picture": (
        "voc_folder",
        lambda r: (r / "JPEGImages/a.png").write_bytes(b"x"),
        "there are pictures that cannot be read: JPEGImages/a.png",
    ),
    "voc: list of strangers": (
        "voc_folder",
        lambda r: (r / "ImageSets/Main/train.txt").write_text("nobody\n"),
        "there are pictures that cannot be found: nobody .*train.txt names it, and it is not there",
    ),
    "coco: no JSON": (
        "coco",
        lambda r: [p.unlink() for p in r.glob("annotations/*")],
        "no JSON file of COCO's form",
    ),
    "coco: cut off": (
        "coco",
        lambda r: (r / "annotations/instances_train.json").write_text('{"images": ['),
        "is no JSON that can be read",
    ),
    "coco: picture missing": (
        "coco",
        lambda r: (r / "train/a.png").unlink(),
        "pictures that are not there: 1 of 3 in .*instances_train.json, with 2 objects: a.png. --set",
    ),
    "coco: unknown image": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(image_id=99)),
        "annotation of id 1 must be of an image that is there. Received: id 99",
    ),
    "coco: unknown category": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(category_id=99)),
        "annotation of id 1 must be of a category. Received: id 99",
    ),
    "coco: a picture twice": (
        "coco",
        edit_json(lambda c: c["images"][1].update(file_name="a.png")),
        "a.png: .*instances_train.json must list it once. Received: ids 0 and 1",
    ),
    "coco: two of one id": (
        "coco",
        edit_json(lambda c: c["images"][1].update(id=0)),
        "one image of id 0. Received: two",
    ),
    "coco: two categories of one name": (
        "coco",
        edit_json(lambda c: c["categories"][1].update(name="apple")),
        "must have categories of different ids and names",
    ),
    "coco: negative width": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(bbox=[6, 4, -3, 16])),
        r"annotation of id 1 \(bbox \[6, 4, -3, 16\] of a.png\): .*must have a width and a height above 0",
    ),
    "coco: outside": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(bbox=[60, 4, 3, 16])),
        r"annotation of id 1 \(bbox \[60, 4, 3, 16\] of a.png\): .*must overlap the picture",
    ),
    "coco: another name": (
        "coco",
        edit_json(lambda c: c["categories"][1].update(name="paer")),
        r"train.json must have the categories of .*_\w+.json. It lacks pear \(id 17\). "
        r"Received besides: paer \(id 17\). Did you mean pear\?$",
    ),
    "coco: other ids": (
        "coco",
        edit_json(lambda c: (c["categories"].pop(), c["annotations"].pop())),
        r"quince \(id 27\)\.$",
    ),
    "coco: NaN": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(bbox=[float("nan"), 4, 3, 16])),
        r"annotation of id 1 \(bbox \[nan, 4, 3, 16\] of a.png\): .*must be finite",
    ),
    "coco: a box of three": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(bbox=[1, 2, 3])),
        r"annotation of id 1 must have a bbox of four numbers. Received: \[1, 2, 3\]\. --set data.skip_bad",
    ),
    "coco: no objects": (
        "coco",
        edit_json(lambda c: c.update(annotations=[])),
        "the train images of coco must have objects. Received: none",
    ),
    "voc: only difficult": (
        "voc_folder",
        lambda r: [
            p.write_text(p.read_text().replace("<difficult>0", "<difficult>1"))
            for p in r.glob("Annotations/*")
        ],
        "must have objects that are not difficult or a crowd. Received: none",
    ),
    "voc: a folder of COCO's": (
        "voc_folder",
        lambda r: (shutil.rmtree(r), write_coco(r, splits(), CLASSES)),
        "PASCAL VOC's form. It looks like coco: --set data.name=coco",
    ),
    "coco: a folder of YOLO's": (
        "coco",
        lambda r: (shutil.rmtree(r), write_yolo(r, splits(), CLASSES)),
        "It looks like yolo: --set data.name=yolo",
    ),
    "yolo: Latin-1": (
        "yolo",
        lambda r: (r / "data.yaml").write_bytes("names: [é]".encode("latin-1")),
        "data.yaml must be UTF-8. Received: the byte 0xe9",
    ),
    "yolo: nothing": (
        "yolo",
        lambda r: (r / "data.yaml").unlink(),
        "must have a data.yaml with names, or classes.txt or .* with a name a line",
    ),
    "yolo: no YAML": ("yolo", lambda r: (r / "data.yaml").write_text("a: [b"), "is no YAML that can be read"),
    "yolo: no names": ("yolo", lambda r: (r / "data.yaml").write_text("train: x"), "must have names"),
    "yolo: nc": (
        "yolo",
        edit_text("data.yaml", "names:", "nc: 5\nnames:"),
        "nc must be the number of names, 3",
    ),
    "yolo: no folder": (
        "yolo",
        edit_text("data.yaml", "images/train", "nowhere"),
        "nowhere, which does not exist",
    ),
    "yolo: unknown class": (
        "yolo",
        lambda r: (r / "labels/train/a.txt").write_text("7 0.5 0.5 0.1 0.1"),
        "files of labels that cannot be used, .*: labels/train/a.txt .line 1: the class must be from 0 to 2",
    ),
    "yolo: too few numbers": (
        "yolo",
        lambda r: (r / "labels/train/a.txt").write_text("1 0.5 0.5"),
        "must have a class and 4 numbers, or the corners of a polygon. Received: 2",
    ),
    "yolo: text": (
        "yolo",
        lambda r: (r / "labels/train/a.txt").write_text("pear 0.5"),
        "line 1 must be numbers",
    ),
    "yolo: damaged picture": (
        "yolo",
        lambda r: (r / "images/train/a.png").write_bytes(b"x"),
        "there are pictures that cannot be read: images/train/a.png",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_data_sets(case, tmp_path):
    name, spoil, message = WRONG[case]
    WRITERS[name](tmp_path, splits(), CLASSES)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        read(name, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "case",
    [
        "voc: picture missing",
        "voc: XML bomb",
        "voc: NaN",
        "coco: picture missing",
        "coco: NaN",
        "yolo: unknown class",
    ],
)
def test_what_is_bad_is_left_out_if_asked_to(case, tmp_path, capsys):
    name, spoil, _ = WRONG[case]
    WRITERS[name](tmp_path, splits(), CLASSES)
    spoil(tmp_path)
    split = read(name, tmp_path, skip_bad=True).train
    assert 2 <= len(split) <= 3
    assert (split.labels >= 0).sum() in (1, 2)
    assert "left out" in (out := capsys.readouterr().out) or "skipped" in out
