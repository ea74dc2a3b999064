"""Own pictures with boxes: the same tensors whatever tool wrote them, and one line for what is wrong."""

import io
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from labelled import WRITERS, write_coco, write_voc_folder, write_yolo
from PIL import Image

from recipes.data import load
from recipes.data.image_files import turn_boxes
from recipes.errors import UserError
from recipes.settings import Data

CLASSES = ("apple", "pear", "quince")
FORMATS = tuple(WRITERS)


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


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name, tmp_path):
    WRITERS[name](tmp_path, splits(), CLASSES)
    dataset = read(name, tmp_path)
    assert dataset.classes == CLASSES
    for split, pictures in zip(
        (dataset.train, dataset.validation, dataset.test), splits().values(), strict=True
    ):
        assert [pathlib.Path(each).name for each in split.names] == [each["name"] for each in pictures]
        for row, each in enumerate(pictures):
            count = len(each["objects"])
            assert split.labels[row].tolist() == [
                *(label for *_, label, _ in each["objects"]),
                *[-1] * (split.labels.shape[1] - count),
            ]
            expected = np.array([box for *box, _, _ in each["objects"]]).reshape(-1, 4) / (2 * each["size"])
            np.testing.assert_allclose(split.boxes_yxyx[row, :count], expected, atol=1e-6)  # float32


def test_batches_are_the_same_whatever_the_format(tmp_path):
    batches = []
    for name, write in WRITERS.items():
        write(tmp_path / name, splits(), CLASSES)
        dataset = read(name, tmp_path / name)
        batches.append(
            next(iter(dataset.train.evaluation_batches(Data(name, image_size=300, augmentation="ssd"), 3)))
        )
    for images, targets in batches[1:]:
        np.testing.assert_array_equal(images, batches[0][0])
        np.testing.assert_array_equal(targets["classes"], batches[0][1]["classes"])
        np.testing.assert_allclose(targets["boxes"], batches[0][1]["boxes"], atol=1e-4)  # float32 offsets


@pytest.mark.parametrize("name", ["voc_folder", "coco"])
def test_difficult_objects_and_crowds(name, tmp_path):
    pictures = [
        picture("a.png", [(4, 6, 20, 30, 1, 1), (0, 0, 40, 60, 0, 0)]),
        picture("bb.png", [(1, 1, 9, 9, 0, 0)]),
    ]
    WRITERS[name](tmp_path, {"train": pictures, "val": pictures[1:]}, CLASSES[:2])
    assert read(name, tmp_path).train.difficult.tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("name", FORMATS)
def test_a_share_is_held_out(name, tmp_path):
    pictures = [picture("x" * n + ".png", [(4, 6, 20, 30, n % 2, 0)]) for n in range(1, 11)]
    WRITERS[name](tmp_path, {"train": pictures}, CLASSES[:2])
    datasets = [read(name, tmp_path) for _ in range(2)]
    assert [len(datasets[0].train), len(datasets[0].test)] == [8, 2]
    np.testing.assert_array_equal(datasets[0].test.names, datasets[1].test.names)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["voc_folder", "coco"])
def test_boxes_of_turned_pictures(name, orientation, tmp_path):
    """By the size that stands beside them: that of the picture as shown or, of an old tool, as stored."""
    stored = picture("a.png", [(4, 6, 20, 30, 0, 0)], orientation=orientation)
    relative = np.array([[4 / 40, 6 / 60, 20 / 40, 30 / 60]])
    WRITERS[name](tmp_path / "stored", {"train": [stored], "val": [stored]}, CLASSES[:1])
    expected = turn_boxes(relative, orientation) if orientation >= 5 else relative
    np.testing.assert_allclose(read(name, tmp_path / "stored").train.boxes_yxyx[0], expected, atol=1e-6)
    if orientation >= 5:
        shown = {**stored, "size": (60, 40), "objects": [(6, 4, 30, 20, 0, 0)]}
        WRITERS[name](tmp_path / "shown", {"train": [shown], "val": [shown]}, CLASSES[:1])
        boxes = read(name, tmp_path / "shown").train.boxes_yxyx[0]
        np.testing.assert_allclose(boxes, [[6 / 60, 4 / 40, 30 / 60, 20 / 40]], atol=1e-6)


def test_boxes_outside_are_cut_off_and_counted(tmp_path, capsys):
    pictures = [picture("a.png", [(-10, 6, 20, 90, 0, 0)]), picture("bb.png", [(1, 1, 9, 9, 0, 0)])]
    write_coco(tmp_path, {"train": pictures, "val": pictures[1:]}, CLASSES[:1])
    split = read("coco", tmp_path).train
    np.testing.assert_allclose(split.boxes_yxyx[0], [[0, 0.1, 0.5, 1]], atol=1e-6)
    assert "1 boxes that stick out of their pictures were cut off there" in capsys.readouterr().out


def test_polygons_of_yolo(tmp_path):
    write_yolo(
        tmp_path, {"train": [picture("a.png", [])], "val": [picture("bb.png", [(1, 1, 9, 9, 0, 0)])]}, CLASSES
    )
    (tmp_path / "labels" / "train" / "a.txt").write_text("1 0.2 0.3 0.6 0.1 0.4 0.9\n")
    split = read("yolo", tmp_path).train
    np.testing.assert_allclose(split.boxes_yxyx[0], [[0.1, 0.2, 0.9, 0.6]], atol=1e-6)


def test_layouts_of_tools(tmp_path):
    """XML beside the pictures (LabelImg); `train/_annotations.coco.json` and `../train/images` (Roboflow)."""
    train, test = splits()["train"], splits()["test"]
    write_voc_folder(tmp_path / "voc", {"train": train, "test": test}, CLASSES)
    for folder, pictures in (("train", train), ("test", test)):
        (tmp_path / "flat" / folder).mkdir(parents=True)
        (tmp_path / "roboflow" / folder).mkdir(parents=True)
        for each in pictures:
            stem = pathlib.Path(each["name"]).stem
            (tmp_path / "flat" / folder / each["name"]).write_bytes(each["content"])
            xml = (tmp_path / "voc" / "Annotations" / f"{stem}.xml").read_bytes()
            (tmp_path / "flat" / folder / f"{stem}.xml").write_bytes(xml)
            (tmp_path / "roboflow" / folder / each["name"]).write_bytes(each["content"])
        write_coco(tmp_path / "coco", {folder: pictures}, CLASSES)
        content = (tmp_path / "coco" / "annotations" / f"instances_{folder}.json").read_bytes()
        (tmp_path / "roboflow" / folder / "_annotations.coco.json").write_bytes(content)
    write_yolo(tmp_path / "yolo", {"train": train, "test": test}, CLASSES)
    text = (tmp_path / "yolo" / "data.yaml").read_text()
    (tmp_path / "yolo" / "data.yaml").write_text(text.replace(": images/", ": ../images/"))
    expected = read("voc_folder", tmp_path / "voc")
    for name, folder in (("voc_folder", "flat"), ("coco", "roboflow"), ("yolo", "yolo")):
        dataset = read(name, tmp_path / folder)
        assert dataset.classes == CLASSES
        np.testing.assert_array_equal(dataset.train.labels, expected.train.labels)
        np.testing.assert_allclose(dataset.test.boxes_yxyx, expected.test.boxes_yxyx, atol=1e-6)


def test_marks_of_windows_editors(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name, splits(), CLASSES)
        for path in (tmp_path / name).rglob("*"):
            if path.suffix in (".txt", ".json", ".yaml", ".xml"):
                path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert read(name, tmp_path / name).classes == CLASSES


def test_what_no_list_and_no_picture_names_is_said(tmp_path, capsys):
    WRITERS["voc_folder"](tmp_path / "voc", splits(), CLASSES)
    (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt").write_text("a\nccc\n")
    assert len(read("voc_folder", tmp_path / "voc").train) == 2
    assert "1 in no list of ImageSets (JPEGImages/bb.png)" in capsys.readouterr().out
    WRITERS["yolo"](tmp_path / "yolo", splits(), CLASSES)
    (tmp_path / "yolo" / "labels" / "train" / "gone.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    read("yolo", tmp_path / "yolo")
    assert "1 labels without a picture (labels/train/gone.txt)" in capsys.readouterr().out


# Wrong data sets: what is done to a good one, and the line that says so.


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
        "a.xml .*Received: none",
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
        "a.png, object 1: .* must be finite",
    ),
    "voc: text for a number": (
        "voc_folder",
        edit_text("Annotations/a.xml", ">4<", ">four<"),
        "must be finite",
    ),
    "voc: negative size": (
        "voc_folder",
        edit_text("Annotations/a.xml", ">30<", ">3<"),
        "object 1: .*xmin < xmax",
    ),
    "voc: no box": ("voc_folder", edit_text("Annotations/a.xml", "bndbox", "box"), "object 1 has no bndbox"),
    "voc: other picture": (
        "voc_folder",
        edit_text("Annotations/a.xml", "<width>60", "<width>600"),
        "of a picture of 600×40 pixels. Received: one of 60×40",
    ),
    "voc: list of strangers": (
        "voc_folder",
        lambda r: (r / "ImageSets/Main/train.txt").write_text("nobody\n"),
        "nobody .*train.txt names it, and it is not there",
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
        "a.png: there must be one .* none",
    ),
    "coco: unknown image": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(image_id=99)),
        "annotations, number 0, must be of an image that is there. Received: id 99",
    ),
    "coco: unknown category": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(category_id=99)),
        "annotations, number 0, must be of a category. Received: id 99",
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
        "a.png, object 1: .*must have an area",
    ),
    "coco: NaN": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(bbox=[float("nan"), 4, 3, 16])),
        "a.png, object 1: .*must be finite",
    ),
    "coco: a box of three": (
        "coco",
        edit_json(lambda c: c["annotations"][0].update(bbox=[1, 2, 3])),
        r"bbox must be four numbers. Received: \[1, 2, 3\]",
    ),
    "coco: no objects": (
        "coco",
        edit_json(lambda c: c.update(annotations=[])),
        "the train images of coco must have objects that are not difficult or a crowd. Received: none",
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
        "must have a data.yaml, or a classes.txt",
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
        "line 1: the class must be from 0 to 2. Received: 7",
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
        "cannot read these pict",
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


@pytest.fixture(scope="module")
def voc():
    if not pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nowhere"), "voc", "2012").is_dir():
        pytest.skip("TFDS_DATA_DIR has no voc/2012")
    return load(
        Data(
            "voc",
            image_size=300,
            augmentation="none",
            validation_fraction=0.0,
            pad=0,
            train_splits=("2012/train[:24]",),
            test_splits=("2012/validation[:8]",),
        )
    )


@pytest.mark.parametrize("name", FORMATS)
def test_pictures_of_voc(name, voc, tmp_path):
    """Written in every format, they come back as TFDS has them, but for YOLO's difficult ones."""
    parts = {}
    for part, split in (("train", voc.train), ("val", voc.test)):
        parts[part] = []
        for row, each in enumerate(split.names):
            with Image.open(io.BytesIO(split.images[row])) as image:
                size = (image.height, image.width)
            count = int((split.labels[row] >= 0).sum())
            boxes = np.round(split.boxes_yxyx[row, :count] * (2 * size)).tolist()
            rows = zip(boxes, split.labels[row], split.difficult[row], strict=False)
            objects = [(*box, int(label), bool(hard)) for box, label, hard in rows]
            parts[part].append({"name": each, "content": split.images[row], "size": size, "objects": objects})
    WRITERS[name](tmp_path, parts, voc.classes)
    dataset = read(name, tmp_path)
    for ours, theirs in ((dataset.train, voc.train), (dataset.test, voc.test)):
        ours = ours.select(np.argsort(ours.names))
        theirs = theirs.select(np.argsort(theirs.names))
        assert [pathlib.Path(each).name for each in ours.names] == theirs.names.tolist()
        for row in range(len(theirs)):
            count = int((theirs.labels[row] >= 0).sum())
            names = [
                [classes[label] for label in split.labels[row, :count]]
                for classes, split in ((dataset.classes, ours), (voc.classes, theirs))
            ]
            assert names[0] == names[1]
            assert np.all(ours.labels[row, count:] == -1)
            boxes = ours.boxes_yxyx[row, :count]
            np.testing.assert_allclose(boxes, theirs.boxes_yxyx[row, :count], atol=1e-6)  # float32
            if name != "yolo":
                assert ours.difficult[row, :count].tolist() == theirs.difficult[row, :count].tolist()
