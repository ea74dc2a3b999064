"""Boxes of strangers' files that were once read wrong, or ended in a traceback."""

import json
import os

import numpy as np
import pytest
import yaml
from labelled import CLASSES, picture, read, splits, write_coco, write_picture, write_voc_folder, write_yolo
from PIL import Image

from recipes.errors import UserError

ONE = {"train": [picture(f"{'x' * n}.png", [(4, 6, 20, 30, 1, 0)]) for n in range(1, 6)]}


def objects(split):
    """Names of the pictures, and labels and boxes of their objects."""
    return {
        os.path.basename(name): (labels[labels >= 0].tolist(), boxes[labels >= 0])
        for name, labels, boxes in zip(split.names, split.labels, split.boxes_yxyx, strict=True)
    }


# PASCAL VOC


def voc(root, pictures):
    write_voc_folder(root, {"train": pictures}, CLASSES)
    for path in root.glob("ImageSets/Main/*"):
        path.unlink()


def test_a_file_whose_picture_is_gone_takes_no_other_files_picture(tmp_path):
    """Its inner name is that of another one: the annotations of a copy that was renamed."""
    voc(tmp_path, splits()["train"])
    text = (tmp_path / "Annotations" / "ccc.xml").read_text()
    (tmp_path / "Annotations" / "e.xml").write_text(text)
    with pytest.raises(UserError, match=r"Annotations/e\.xml \(there must be one picture of .* none\)"):
        read("voc_folder", tmp_path)
    (tmp_path / "Annotations" / "ccc.xml").unlink()  # nobody else's now
    assert "ccc.png" in objects(read("voc_folder", tmp_path).train) | objects(
        read("voc_folder", tmp_path).test
    )


def test_two_files_of_one_picture(tmp_path):
    voc(tmp_path, splits()["train"])
    (tmp_path / "Annotations_old").mkdir()
    text = (tmp_path / "Annotations" / "ccc.xml").read_text().replace("quince", "apple")
    (tmp_path / "Annotations_old" / "ccc.xml").write_text(text)
    message = r"Annotations_old/ccc\.xml \(JPEGImages/ccc\.png has Annotations/ccc\.xml already\)"
    with pytest.raises(UserError, match=message):
        read("voc_folder", tmp_path)
    kept = read("voc_folder", tmp_path, skip_bad=True)
    assert kept.classes == CLASSES


def test_lists_that_name_no_split(tmp_path):
    """CVAT's `default.txt`."""
    voc(tmp_path, ONE["train"])
    (tmp_path / "ImageSets" / "Main" / "default.txt").write_text("x\nxx\n")
    data = read("voc_folder", tmp_path)
    assert (len(data.train), len(data.test)) == (4, 1)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"val": "x"}, r"has no training pictures, only validation"),
        ({"train": "x", "val": ""}, r"val\.txt must name validation pictures that are there. Received: none"),
        ({"training": "x", "train_set": "xx"}, r"one list of train pictures. Received: train_set.txt and tr"),
        ({"train": "x", "val": "xx extra"}, r"cannot be found: xx extra \("),
    ],
)
def test_wrong_lists(tmp_path, lists, message):
    voc(tmp_path, ONE["train"])
    for name, text in lists.items():
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read("voc_folder", tmp_path)


def test_a_list_names_one_of_two_pictures(tmp_path):
    for folder in ("a", "b"):
        voc(tmp_path / folder, ONE["train"])
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("x\n")
    with pytest.raises(UserError, match=r"one picture called x. Received: .*a/JPEG.* and .*b/JPEG"):
        read("voc_folder", tmp_path)


@pytest.mark.parametrize("classes", [("0", "1"), ("猫", "犬"), ("set",)])
def test_lists_of_single_classes(tmp_path, classes):
    """VOC has `aeroplane_train.txt` for every class; those of splits are called as they are."""
    voc(tmp_path, ONE["train"])
    lists = tmp_path / "ImageSets" / "Main"
    for split, text in (("train", "x\nxx"), ("val", "xxx")):
        (lists / f"{split}.txt").write_text(text)
        for name in classes:
            (lists / f"{name}_{split}.txt").write_text("xxxx")
    data = read("voc_folder", tmp_path)
    assert (len(data.train), len(data.test)) == (2, 1)


def test_the_name_of_a_json_file_counts_more_than_its_folders(tmp_path):
    write_coco(tmp_path / "coco", ONE, CLASSES)
    (tmp_path / "coco" / "annotations").rename(tmp_path / "coco" / "test_data")
    assert len(read("coco", tmp_path / "coco").train) == 4


@pytest.mark.parametrize("name", ["train_images", "Training-Set", "train2017", "seg_train"])
def test_folders_of_splits(tmp_path, name):
    for folder, number in ((name, 3), ("val_images", 2)):
        for each in ONE["train"][:number]:
            each = {**each, "name": f"{folder}-{each['name']}"}
            voc(tmp_path / folder, [each])
    data = read("voc_folder", tmp_path)
    assert (len(data.train), len(data.test)) == (3, 2)


def test_links_to_nothing(tmp_path):
    voc(tmp_path, ONE["train"])
    (tmp_path / "Annotations" / "y.xml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"Annotations/y\.xml \(No such file"):
        read("voc_folder", tmp_path)
    write_coco(tmp_path / "coco", ONE, CLASSES)
    (tmp_path / "coco" / "y.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"cannot read .*y\.json: No such file"):
        read("coco", tmp_path / "coco")


# YOLO


def described(root, **changes):
    content = yaml.safe_load((root / "data.yaml").read_text())
    content = {key: value for key, value in {**content, **changes}.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("shape", [[3, 2], [4, 3]])
def test_key_points_are_no_polygon(tmp_path, shape):
    """Ultralytics' poses: the box, then x and y of each point, and whether it is seen."""
    write_yolo(tmp_path, ONE, CLASSES)
    path, points = tmp_path / "labels" / "train" / "x.txt", np.linspace(0.1, 0.9, shape[0] * shape[1])
    path.write_text(f"{path.read_text().strip()} {' '.join(map(str, points))}\n")
    described(tmp_path, kpt_shape=shape)
    data = read("yolo", tmp_path)
    both = objects(data.train) | objects(data.test)
    labels, boxes = both["x.png"]
    assert labels == [1]
    np.testing.assert_allclose(boxes, [[4 / 40, 6 / 60, 20 / 40, 30 / 60]], atol=1e-6)
    described(tmp_path, kpt_shape=[9, 2])
    with pytest.raises(UserError, match=r"a class and 4 numbers, with those of keypoints 22\. Received"):
        read("yolo", tmp_path)
    described(tmp_path, kpt_shape="17")
    with pytest.raises(UserError, match=r"kpt_shape must be two whole numbers\. Received: 17"):
        read("yolo", tmp_path)


def test_poses_that_nothing_tells_are_no_polygons(tmp_path):
    """Whether a point is seen, 2, is no corner."""
    write_yolo(tmp_path, ONE, CLASSES)
    (tmp_path / "labels" / "train" / "x.txt").write_text("1 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 1\n")
    with pytest.raises(
        UserError, match=r"from 0 to 1 \(of poses, data.yaml must have kpt_shape\). Received: 2"
    ):
        read("yolo", tmp_path)


@pytest.mark.parametrize("number", range(6))
def test_held_out_pictures_have_objects(tmp_path, number):
    """Of few pictures the one that is drawn may have none, and nothing could be tested."""
    pictures = [picture(f"{'x' * n}.png", [(4, 6, 20, 30, 1, 0)] if n == number else []) for n in range(1, 6)]
    pictures.append(picture("xxxxxxx.png", [(1, 2, 9, 9, 1, 0)]))
    write_yolo(tmp_path, {"train": pictures}, CLASSES)
    if number:
        data = read("yolo", tmp_path)
        assert (len(data.train), len(data.test)) == (5, 1)
        assert [len(labels) for labels, _ in objects(data.test).values()] == [1]
    else:  # one object cannot be both
        with pytest.raises(UserError, match="must have objects"):
            read("yolo", tmp_path)


def test_the_key_validation(tmp_path):
    write_yolo(tmp_path, {"train": ONE["train"][:3], "valid": ONE["train"][3:]}, CLASSES)
    described(tmp_path, validation="images/valid", valid=None)
    data = read("yolo", tmp_path)
    assert (len(data.train), len(data.test)) == (3, 2)
    described(tmp_path, val="images/valid")
    with pytest.raises(UserError, match=r"say once where the validation pictures are. Received: validation"):
        read("yolo", tmp_path)


def test_names_are_text(tmp_path):
    """YAML takes `no` for False, and 010 for 8; a date that is none is an error of Python's."""
    write_yolo(tmp_path, ONE, CLASSES)
    described(tmp_path, names=None)
    file = tmp_path / "data.yaml"
    text = file.read_text()
    file.write_text(f"{text}names: [no, 010, 12:30]\nnc: 3\ntest:\nval: null\ndate: 2024-13-45\n")
    assert read("yolo", tmp_path).classes == ("no", "010", "12:30")
    file.write_text(f"{text}names: {{'1': b, '0': a, 2: c}}\n")
    assert read("yolo", tmp_path).classes == ("a", "b", "c")
    for names, message in (
        ('["a\\nb", c]', "must be one line of text"),
        ("[[a], c]", "must have names"),
        ("{0: a, x: b}", "must be numbered from 0. Received: 0, x"),
    ):
        file.write_text(f"{text}names: {names}\n")
        with pytest.raises(UserError, match=message):
            read("yolo", tmp_path)


def test_an_empty_line_among_names(tmp_path):
    write_yolo(tmp_path, ONE, CLASSES)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("apple\n\npear\n\n")
    with pytest.raises(UserError, match=r"name of a class must be one line of text\. Received: ''"):
        read("yolo", tmp_path)


def test_labels_of_a_relative_folder(tmp_path, monkeypatch):
    write_yolo(tmp_path / "set", ONE, CLASSES)
    monkeypatch.chdir(tmp_path / "set")
    assert read("yolo", ".").train.labels.max() == 1
    monkeypatch.chdir(tmp_path)
    assert read("yolo", "set").train.labels.max() == 1


@pytest.mark.parametrize("folder", ["images/mine", "images"])
def test_labels_beside_pictures_below_a_folder_called_images(tmp_path, folder):
    """LabelImg writes them there; others in a folder labels further up are of something else."""
    root = tmp_path / folder
    for each in ONE["train"]:
        write_picture(root, each)
        (root / each["name"]).with_suffix(".txt").write_text("1 0.5 0.5 0.2 0.2\n")
    (root / "classes.txt").write_text("apple\npear\n")
    stale = tmp_path / folder.replace("images", "labels")
    stale.mkdir(parents=True)
    (stale / "x.txt").write_text("0 0.1 0.1 0.1 0.1\n")
    data = read("yolo", root)
    both = objects(data.train) | objects(data.test)
    assert [labels for labels, _ in both.values()] == [[1]] * 5
    np.testing.assert_allclose(both["x.png"][1], [[0.4, 0.4, 0.6, 0.6]], atol=1e-6)


# COCO


def coco(root, change):
    write_coco(root, {"train": splits()["train"]}, CLASSES)
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


WRONG = {
    "another image": (lambda c: c["annotations"][0].update(image_id="0"), "image that is there.*id '0'"),
    "another category": (lambda c: c["annotations"][0].update(category_id=99), "of a category.*id 99"),
    "no box": (lambda c: c["annotations"][0].update(bbox=[]), r"a bbox of four numbers. Received: \[\]"),
    "a text": (lambda c: c["annotations"][0].update(bbox="1234"), "a bbox of four numbers"),
    "crowd": (lambda c: c["annotations"][0].update(iscrowd="0"), "iscrowd of 0 or 1. Received: '0'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_objects_are_left_out_if_asked_to(tmp_path, case, capsys):
    change, message = WRONG[case]
    coco(tmp_path, change)
    with pytest.raises(UserError, match=message):
        read("coco", tmp_path)
    data = read("coco", tmp_path, skip_bad=True)
    assert (data.train.labels >= 0).sum() + (data.test.labels >= 0).sum() == 2
    assert "annotations that cannot be used were skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][0].update(file_name=""), "images, number 1, must have id, file_name"),
        (lambda c: c["images"][0].update(id=[0]), r"id must be a number or a text. Received: \[0\]"),
        (lambda c: c["categories"][0].update(id="7"), "ids of categories of one kind"),
    ],
)
def test_wrong_ids(tmp_path, change, message):
    coco(tmp_path, change)
    with pytest.raises(UserError, match=message):
        read("coco", tmp_path)


def test_a_huge_picture_says_so(tmp_path, monkeypatch):
    coco(tmp_path, lambda content: None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UserError, match="exceeds limit"):
        read("coco", tmp_path)
