"""YOLO's and COCO's folders as strangers have them, which were refused, or lost labels in silence."""

import json
import pathlib
import shutil

import pytest
from labelled import CLASSES, picture, read, splits, write_coco, write_yolo
from PIL import Image

from recipes.data import class_folders
from recipes.errors import UserError

TRAIN = [picture(f"{'x' * n}.png", [(4, 6, 20, 30, 1, 0)]) for n in range(1, 6)]
VAL = [picture("y.png", [(4, 6, 20, 30, 1, 0)]), picture("yy.png", [(1, 1, 9, 9, 0, 0)])]


def yolo(root, names="classes.txt"):
    """`images` and `labels` with folders train and val, and a file with the names of the classes."""
    write_yolo(root, {"train": TRAIN, "val": VAL}, CLASSES)
    (root / "data.yaml").unlink()
    (root / names).write_text("\n".join(CLASSES))


def sizes(data):
    return len(data.train), len(data.test)


@pytest.mark.parametrize("names", ["classes.txt", "labels/classes.txt", "obj.names"])
def test_folders_of_splits_without_a_yaml_file(tmp_path, names):
    """They were mixed, and a share held out of all."""
    yolo(tmp_path, names)
    data = read("yolo", tmp_path)
    assert sizes(data) == (5, 2)
    assert data.classes == CLASSES
    assert {pathlib.Path(name).stem for name in data.test.names} == {"y", "yy"}


def test_darknet(tmp_path):
    """CVAT's export: paths in the lists are relative to a folder that is not there."""
    yolo(tmp_path, "obj.names")
    for split in ("train", "val"):
        names = (
            f"data/obj_train_data/{split}/{each['name']}" for each in (TRAIN if split == "train" else VAL)
        )
        (tmp_path / f"{'valid' if split == 'val' else split}.txt").write_text("\n".join(names))
        for kind in ("images", "labels"):
            shutil.copytree(tmp_path / kind / split, tmp_path / "obj_train_data" / split, dirs_exist_ok=True)
            shutil.rmtree(tmp_path / kind / split)
    data = read("yolo", tmp_path)
    assert sizes(data) == (5, 2)
    assert data.train.labels.tolist() == [[1]] * 5


def test_labels_of_a_picture_called_test(tmp_path):
    yolo(tmp_path)
    for path in (*tmp_path.glob("*/train/*"), *tmp_path.glob("*/val/*")):
        path.rename(tmp_path / f"{'test' if path.stem == 'y' else path.stem}{path.suffix}")
    data = read("yolo", tmp_path)
    assert len(data.train) + len(data.test) == 7


def test_labels_beside_a_folder_of_another_name(tmp_path, capsys):
    write_yolo(tmp_path, {"train": TRAIN, "val": VAL}, CLASSES)
    for split in ("train", "val"):
        for kind, name in (("images", "image"), ("labels", "labels")):
            (tmp_path / split).mkdir(exist_ok=True)
            (tmp_path / kind / split).rename(tmp_path / split / name)
    yaml = tmp_path / "data.yaml"
    yaml.write_text(
        yaml.read_text().replace("images/train", "train/image").replace("images/val", "val/image")
    )
    assert read("yolo", tmp_path).train.labels.tolist() == [[1]] * 5
    assert "without a file of labels" not in capsys.readouterr().out
    (tmp_path / "val" / "labels").rename(tmp_path / "val" / "marks")
    message = (
        r"none of the 2 validation pictures has a file of labels; that of val/image/y.png should be val/im"
    )
    with pytest.raises(UserError, match=message):
        read("yolo", tmp_path)


def test_labels_are_of_one_picture(tmp_path, capsys):
    """What was drawn for a look, beside `images`; and two folders beside one of labels."""
    yolo(tmp_path)
    shutil.copytree(tmp_path / "images" / "val", tmp_path / "drawn")
    shutil.copytree(tmp_path / "labels" / "val", tmp_path / "labels", dirs_exist_ok=True)
    data = read("yolo", tmp_path, skip_bad=True)
    assert (
        "2 pictures without a file of labels teach what is no object: drawn/y.png" in capsys.readouterr().out
    )
    assert sum((part.labels >= 0).sum() for part in (data.train, data.test)) == 7
    shutil.rmtree(tmp_path / "images")
    shutil.copytree(tmp_path / "drawn", tmp_path / "raw")
    with pytest.raises(
        UserError, match=r"labels/y\.txt must be of one picture. Received: drawn/y.* and raw/y"
    ):
        read("yolo", tmp_path, skip_bad=True)


def test_notes_and_lists_of_windows(tmp_path, capsys):
    yolo(tmp_path)
    (tmp_path / "test.txt").write_text("some note\n")
    assert sizes(read("yolo", tmp_path)) == (5, 2)
    names = "".join(f"data\\images\\train\\{each['name']}\r\n" for each in TRAIN)
    (tmp_path / "train.txt").write_text(names)
    (tmp_path / "valid.txt").write_text("images/val/y.png\n")
    assert sizes(read("yolo", tmp_path)) == (5, 1)
    (tmp_path / "valid.txt").write_text("images/val/y.png\nimages/val/x.png\n")  # not that of another folder
    shutil.copy(tmp_path / "images" / "train" / "x.png", tmp_path / "x.png")
    with pytest.raises(UserError, match=r"valid\.txt names pictures that are not there: images/val/x\.png"):
        read("yolo", tmp_path)


def test_pictures_without_labels_are_named(tmp_path, capsys):
    write_yolo(tmp_path, {"train": TRAIN, "val": VAL}, CLASSES)
    (tmp_path / "labels" / "train" / "xx.txt").unlink()
    read("yolo", tmp_path)
    message = "1 pictures without a file of labels teach what is no object: images/train/xx.png\n"
    assert message in capsys.readouterr().out


def test_a_test_that_is_not_there(tmp_path, capsys):
    """Roboflow names one in any case; Ultralytics does without."""
    write_yolo(tmp_path, {"train": TRAIN, "val": VAL}, CLASSES)
    yaml = tmp_path / "data.yaml"
    yaml.write_text(f"{yaml.read_text()}test: ../test/images\n")
    assert sizes(read("yolo", tmp_path)) == (5, 2)
    out = capsys.readouterr().out
    assert (
        "test must be a folder or a list of pictures. Received: ../test/images, which does not exist" in out
    )
    assert "The validation pictures are the test" in out
    yaml.write_text(yaml.read_text().replace("val: images/val\n", ""))
    with pytest.raises(UserError, match=r"test must be a folder .* looked for /"):
        read("yolo", tmp_path)


@pytest.mark.parametrize("name", ["data.yaml", "coco8.yaml"])
def test_other_yaml_files(tmp_path, name):
    write_yolo(tmp_path, {"train": TRAIN, "val": VAL}, CLASSES)
    (tmp_path / "data.yaml").rename(tmp_path / name)
    (tmp_path / "args.yaml").write_text("task: detect\nepochs: 100\n")
    (tmp_path / "environment.yml").write_text("- a\n- b\n")
    assert sizes(read("yolo", tmp_path)) == (5, 2)


def test_two_yaml_files_with_names(tmp_path):
    write_yolo(tmp_path, {"train": TRAIN, "val": VAL}, CLASSES)
    shutil.copy(tmp_path / "data.yaml", tmp_path / "b.yaml")
    assert sizes(read("yolo", tmp_path)) == (5, 2)
    (tmp_path / "data.yaml").rename(tmp_path / "a.yaml")
    with pytest.raises(UserError, match=r"one yaml file with names.* Received: a\.yaml, b\.yaml"):
        read("yolo", tmp_path)


def test_which_folder(tmp_path):
    write_yolo(tmp_path, {"train": TRAIN, "val": VAL}, CLASSES)
    with pytest.raises(UserError, match=rf"must have a data\.yaml .* There is one in {tmp_path}"):
        read("yolo", tmp_path / "images")
    with pytest.raises(UserError, match=r"must be a folder; give that of .*data\.yaml"):
        read("yolo", tmp_path / "data.yaml")


# COCO


def test_pictures_that_are_not_there_and_their_objects(tmp_path, capsys):
    write_coco(tmp_path, splits(), CLASSES)
    (tmp_path / "train" / "a.png").unlink()
    path = tmp_path / "annotations" / "instances_train.json"
    text = rf"1 of 3 in {path}, with 2 objects: a\.png"
    with pytest.raises(UserError, match=f"pictures that are not there: {text}"):
        read("coco", tmp_path)
    assert len(read("coco", tmp_path, skip_bad=True).train) == 2
    assert "1 pictures that are not there were skipped" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(UserError, match=r"none of the pictures is there: 3 of 3 in "):
        read("coco", tmp_path, skip_bad=True)


def test_copies_in_another_folder(tmp_path):
    """CVAT has `images` beside `annotations`; someone looked at some in the root."""
    write_coco(tmp_path, {"train": TRAIN}, CLASSES)
    (tmp_path / "train").rename(tmp_path / "images")
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "annotations" / "a.json")
    Image.new("RGB", (60, 40)).save(tmp_path / "x.png")
    data = read("coco", tmp_path)
    assert {pathlib.Path(name).parent.name for part in (data.train, data.test) for name in part.names} == {
        "images"
    }
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(
        UserError, match=r"x\.png: there must be one .* Received: (photos/)?x\.png and (photos/)?x"
    ):
        read("coco", tmp_path)


def test_cvats_default_beside_train(tmp_path):
    write_coco(tmp_path, {"Train": TRAIN, "default": VAL}, CLASSES)
    with pytest.raises(UserError, match=r"in its name \(by none, it is of train\). Received: "):
        read("coco", tmp_path)
    content = json.loads((tmp_path / "annotations" / "instances_default.json").read_text())
    assert len(content["images"]) == 2


# Class folders


def pictures_in(*folders):
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for copy in range(4):
            Image.new("RGB", (8, 8), (number, copy, 0)).save(folder / f"{copy}.png")


def test_splits_without_folders_of_classes(tmp_path):
    """Roboflow's table is beside the pictures; train, valid and test were the classes."""
    pictures_in(*(tmp_path / name for name in ("train", "valid", "test")))
    with pytest.raises(UserError, match=r"Received: pictures in test, train, valid themselves$"):
        read("image_folder", tmp_path)
    (tmp_path / "train" / "_classes.csv").write_text("filename, a, b\n0.png, 1, 0\n")
    for folder in (tmp_path, tmp_path / "train"):
        with pytest.raises(UserError, match=r"_classes\.csv is not read; Roboflow exports a folder a class"):
            read("image_folder", folder)


def test_pictures_of_trains(tmp_path):
    pictures_in(tmp_path / "train", tmp_path / "bus")
    assert read("image_folder", tmp_path).classes == ("bus", "train")


def test_a_folder_too_far_up(tmp_path, capsys):
    pictures_in(*(tmp_path / "Dataset" / name for name in "abcd"))
    with pytest.raises(UserError, match=r"Received: Dataset; is it .*Dataset, with a, b, c, …\?"):
        read("image_folder", tmp_path)
    pictures_in(tmp_path / "Examples")
    class_folders.tell_inner_folders(tmp_path, ("Dataset", "Examples"))
    assert "class Dataset has 4 folders, of which all pictures are its: a, b, c, …" in capsys.readouterr().out
    (tmp_path / "css").mkdir()
    with pytest.raises(UserError, match=r"css has no pictures .*; the folders in .* are the classes"):
        read("image_folder", tmp_path)


def test_a_class_of_copies(tmp_path):
    pictures_in(tmp_path / "a", tmp_path / "b")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    with pytest.raises(UserError, match=r"class 'c' has too few images that are no copies \(0\)"):
        read("image_folder", tmp_path)
