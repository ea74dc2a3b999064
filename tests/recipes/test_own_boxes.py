"""Own pictures with boxes: the same tensors whatever tool wrote them, and one line for what is wrong."""

import io
import os
import pathlib

import numpy as np
import pytest
from labelled import CLASSES, WRITERS, picture, read, splits, write_coco, write_voc_folder, write_yolo
from PIL import Image

from recipes.data import load
from recipes.data.image_files import turn_boxes
from recipes.errors import UserError
from recipes.settings import Data
from recipes.tasks.detection import Detection

pytestmark = pytest.mark.long

FORMATS = tuple(WRITERS)


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
    assert (
        "stick out of their pictures were cut off there: 1 of 2, by more than rounding 1: "
        "annotations/instances_train.json, annotation of id 1 (bbox [6, -10, 84, 30] of a.png)\n"
    ) in capsys.readouterr().out


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


def test_pictures_without_objects_are_counted(tmp_path):
    write_coco(tmp_path, splits(), CLASSES)
    assert Detection().describe(read("coco", tmp_path)) == (
        "3 classes, 3 training pictures with 3 objects (1 with none), 1 validation pictures with 1 objects, "
        "2 test pictures with 2 objects"
    )


def test_a_complaint_has_the_number_of_the_line(tmp_path):
    write_yolo(tmp_path, splits(), CLASSES)
    (tmp_path / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 0.1 0.1\n\n1 0.5 0.5 0 0.1\n")
    with pytest.raises(
        UserError, match=r"labels/train/a.txt, line 3 \(1 0.5 0.5 0 0.1\).* a width and a height"
    ):
        read("yolo", tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 0.34])
def test_classes_that_cannot_be_learned_are_named_once_all_is_held_out(tmp_path, capsys, fraction):
    train = [picture(name, [(4, 6, 20, 30, label, 0)]) for label, name in enumerate(("a.png", "bb.png"))]
    train.append(picture("ccc.png", [(1, 2, 30, 50, 0, 0)]))
    test = [picture("dddd.png", [(1, 2, 30, 50, 2, 0), (9, 9, 20, 20, 1, 0)])]
    write_coco(tmp_path, {"train": train, "val": test}, CLASSES)
    counts = read("coco", tmp_path, validation_fraction=fraction).train.counts(3)
    in_test = ("apple", "pear (1 in the test pictures)", "quince (1 in the test pictures)")
    absent = [text for text, count in zip(in_test, counts, strict=True) if not count]
    assert in_test[2] in absent
    assert f"cannot be learned, of {', '.join(absent)}\n" in capsys.readouterr().out


def test_what_no_list_and_no_picture_names_is_said(tmp_path, capsys):
    WRITERS["voc_folder"](tmp_path / "voc", splits(), CLASSES)
    (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt").write_text("a\nccc\n")
    assert len(read("voc_folder", tmp_path / "voc").train) == 2
    assert "1 in no list of a split (JPEGImages/bb.png)" in capsys.readouterr().out
    WRITERS["yolo"](tmp_path / "yolo", splits(), CLASSES)
    (tmp_path / "yolo" / "labels" / "train" / "gone.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    with pytest.raises(UserError, match=r"labels/train/gone.txt \(its picture is not there\)"):
        read("yolo", tmp_path / "yolo")
    read("yolo", tmp_path / "yolo", skip_bad=True)
    assert "skipped: labels/train/gone.txt" in capsys.readouterr().out
    (tmp_path / "yolo" / "labels" / "train" / "gone.txt").unlink()
    (tmp_path / "yolo" / "train.txt").write_text("images/train/a.png\nimages/train/ccc.png\n")
    edited = (tmp_path / "yolo" / "data.yaml").read_text().replace("train: images/train", "train: train.txt")
    (tmp_path / "yolo" / "data.yaml").write_text(edited)
    assert len(read("yolo", tmp_path / "yolo").train) == 2
    assert "1 labels of pictures that are in no list (labels/train/bb.txt)" in capsys.readouterr().out


def test_pictures_that_are_listed_twice(tmp_path, capsys):
    for name in ("voc_folder", "yolo"):
        WRITERS[name](tmp_path / name, splits(), CLASSES)
    lists = tmp_path / "voc_folder" / "ImageSets" / "Main"
    (lists / "train.txt").write_text("a\nccc\na\n")
    (lists / "val.txt").write_text("dddd\nccc\n")
    assert len(read("voc_folder", tmp_path / "voc_folder").train) == 2
    out = capsys.readouterr().out
    assert "train pictures that are listed more than once count once: JPEGImages/a.png\n" in out
    assert (
        "warning: 1 val pictures are trained with as well: JPEGImages/ccc.png\n".replace("val", "validation")
        in out
    )
    description = tmp_path / "yolo" / "data.yaml"
    description.write_text(
        description.read_text().replace("val: images/val", "val: [images/val, images/train]")
    )
    read("yolo", tmp_path / "yolo")
    assert "warning: 3 validation pictures are trained with as well" in capsys.readouterr().out


def test_a_rare_class_of_nearly_the_name_of_another_is_told(tmp_path, capsys):
    objects = [(4, 6, 20, 30, 0, 0)] * 20 + [(4, 6, 20, 30, 1, 0)] * 2 + [(4, 6, 20, 30, 2, 0)]
    pictures = {"train": [picture("a.png", objects)], "val": [picture("bb.png", objects[-1:])]}
    WRITERS["voc_folder"](tmp_path / "1", pictures, ("apple", "class2", "aple"))
    read("voc_folder", tmp_path / "1")
    told = "aple (1 in training) and apple (20) are different classes: is one misspelt?\n"
    assert told in capsys.readouterr().out
    WRITERS["voc_folder"](tmp_path / "2", pictures, ("class1", "pear", "class2"))
    read("voc_folder", tmp_path / "2")
    assert "misspelt" not in capsys.readouterr().out


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
            if name not in ("yolo", "csv"):
                assert ours.difficult[row, :count].tolist() == theirs.difficult[row, :count].tolist()
