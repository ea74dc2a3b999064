"""Splits of strangers' files that were once passed over in silence, and copies that were on both sides."""

import pathlib
import shutil

import numpy as np
import pytest
from labelled import CLASSES, picture, read, write_voc_folder
from PIL import Image

from recipes.data.image_folder import Files
from recipes.data.overview import overview
from recipes.errors import UserError

PICTURES = [picture(f"{'x' * n}.png", [(4, 6, 20, 30, 1, 0)]) for n in range(1, 7)]
TRAIN, TEST = ("x", "xxx", "xxxx", "xxxxx"), ("xx", "xxxxxx")


def voc(root, **lists):
    """Six pictures with `Annotations`, and files of text by their paths."""
    write_voc_folder(root, {"train": PICTURES}, CLASSES)
    shutil.rmtree(root / "ImageSets")
    for name, text in lists.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def stems(split):
    return tuple(sorted(pathlib.Path(name).stem for name in split.names))


def lines(names, form="{}"):
    return "".join(f"{form.format(name)}\n" for name in names)


@pytest.mark.parametrize("folder", ["ImageSets/Main/", "ImageSets/", "Main/", ""])
def test_where_lists_are(tmp_path, folder):
    voc(tmp_path, **{f"{folder}train.txt": lines(TRAIN), f"{folder}test.txt": lines(TEST)})
    data = read("voc_folder", tmp_path)
    assert (stems(data.train), stems(data.test)) == (TRAIN, TEST)


def test_a_folder_above(tmp_path, capsys):
    """Of a cloned repository; `ImageSets/Layout` has lists for another purpose."""
    lists = {"Main/train.txt": TRAIN, "Main/test.txt": TEST, "Layout/train.txt": TEST[:1]}
    voc(tmp_path / "VOC", **{f"ImageSets/{name}": lines(names) for name, names in lists.items()})
    data = read("voc_folder", tmp_path)
    assert (stems(data.train), stems(data.test)) == (TRAIN, TEST)
    assert "left out" not in capsys.readouterr().out


def test_two_folders_of_lists(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        voc(tmp_path / year, **{"ImageSets/Main/train.txt": lines(TRAIN)})
    message = r"one folder of lists of splits.*VOC2007/ImageSets/Main and VOC2012/ImageSets/Main"
    with pytest.raises(UserError, match=message):
        read("voc_folder", tmp_path)


@pytest.mark.parametrize(
    "form",
    ["{}.png", "JPEGImages/{}.png", "JPEGImages\\{}.png Annotations\\{0}.xml", "/content/data/{}.png 1"],
)
def test_how_lists_name_pictures(tmp_path, form):
    form = form.replace("{}", "{0}")
    voc(tmp_path, **{"train.txt": lines(TRAIN, form), "val.txt": lines(TEST, form)})
    data = read("voc_folder", tmp_path)
    assert (stems(data.train), stems(data.test)) == (TRAIN, TEST)


def test_lists_of_vott(tmp_path, capsys):
    """One of every class and split, each of which names all pictures of the split."""
    lists = {
        f"ImageSets/Main/{name}_{split}.txt": lines(names, "{}.png " + sign)
        for name, sign in (("apple", "-1"), ("pear", "1"))
        for split, names in (("train", TRAIN), ("val", TEST))
    }
    voc(tmp_path, **lists)
    data = read("voc_folder", tmp_path)
    assert (stems(data.train), stems(data.test)) == (TRAIN, TEST)
    assert "more than once" not in capsys.readouterr().out


def test_texts_that_are_no_lists(tmp_path, capsys):
    """A note, an empty file, and lists with numbers in their names, which may be labels."""
    texts = {"test.txt": "some note\n", "val.txt": "", "train2012.txt": "x\n"}
    voc(tmp_path, **texts)
    data = read("voc_folder", tmp_path)
    assert (len(data.train), len(data.test)) == (5, 1)
    assert "3 called as lists of splits are, and not read (" in capsys.readouterr().out


def test_lists_of_the_folder_itself(tmp_path, monkeypatch, capsys):
    voc(tmp_path, **{"train.txt": lines(TRAIN), "test.txt": lines(TEST)})
    monkeypatch.chdir(tmp_path)
    data = read("voc_folder", ".")
    assert (stems(data.train), stems(data.test)) == (TRAIN, TEST)
    assert "left out" not in capsys.readouterr().out


def test_the_own_lists_count_more_than_those_of_a_backup(tmp_path):
    voc(tmp_path, **{"ImageSets/Main/train.txt": lines(TRAIN), "ImageSets/Main/test.txt": lines(TEST)})
    shutil.copytree(tmp_path / "ImageSets", tmp_path / "backup" / "ImageSets")
    data = read("voc_folder", tmp_path)
    assert (stems(data.train), stems(data.test)) == (TRAIN, TEST)


def test_folders_of_splits_with_lists_of_their_own(tmp_path):
    """VOC2007's two archives side by side, renamed."""
    for split, names in (("train", TRAIN), ("test", TEST)):
        kept = [each for each in PICTURES if each["name"][:-4] in names]
        write_voc_folder(tmp_path / split, {"train": kept}, CLASSES)
    data = read("voc_folder", tmp_path)
    assert (stems(data.train), stems(data.test)) == (TRAIN, TEST)


def test_lists_that_tell_two_pictures_of_a_name_apart(tmp_path):
    for split in ("train", "valid"):
        write_voc_folder(tmp_path / split, {"train": PICTURES[:3]}, CLASSES)
        shutil.rmtree(tmp_path / split / "ImageSets")
    for name, split in (("train", "train"), ("val", "valid")):
        (tmp_path / f"{name}.txt").write_text(lines(("x", "xx"), f"{split}/JPEGImages/{{}}.png"))
    data = read("voc_folder", tmp_path)
    assert [sorted(part.names) for part in (data.train, data.test)] == [
        [f"{split}/JPEGImages/{name}.png" for name in ("x", "xx")] for split in ("train", "valid")
    ]


def test_lists_that_are_not_read_are_named(tmp_path, capsys):
    """As the guides to TensorFlow's Object Detection API have them."""
    voc(tmp_path, **{"README.md": "", "data/train_labels.csv": "filename,width\n", "notes/test.txt": "xx\n"})
    assert len(read("voc_folder", tmp_path).train) == 5
    out = capsys.readouterr().out
    assert "1 neither pictures nor XML (README.md)" in out
    assert (
        "2 called as lists of splits are, and not read (data/train_labels.csv, notes/test.txt)" in out
        or "2 called as lists of splits are, and not read (notes/test.txt, data/train_labels.csv)" in out
    )


def test_xml_without_pictures(tmp_path):
    voc(tmp_path)
    with pytest.raises(UserError, match=r"Annotations has 6 XML files and no pictures"):
        read("voc_folder", tmp_path / "Annotations")
    (tmp_path / "Annotations" / "x.xml").write_text("")
    with pytest.raises(UserError, match=r"Annotations/x\.xml \(the file is empty\)"):
        read("voc_folder", tmp_path)


def test_a_hint_names_another_form(tmp_path):
    (tmp_path / "a.xml").write_text("<project/>")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"of PASCAL VOC's form\.$"):
        read("voc_folder", tmp_path, skip_bad=True)


# Copies


def test_first_copies(tmp_path):
    contents = [b"a" * 5000, b"b" * 10, b"a" * 5000, b"a" * 4999 + b"c", b"b" * 10, b"c" * 10, b"a" * 5000]
    paths = [tmp_path / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    split = Files(np.array([bytes(path) for path in paths]), np.zeros(len(paths), "int32"))
    assert split.first_copies().tolist() == [0, 1, 0, 3, 1, 5, 0]


def test_copies_stay_on_one_side(tmp_path):
    """Three of every picture; what is held out is as it is without."""
    alone = []
    for copies in (1, 3):
        root = tmp_path / str(copies)
        for label in ("a", "b"):
            (root / label).mkdir(parents=True)
            for number in range(20):
                pixels = np.random.default_rng((ord(label), number)).integers(0, 256, (8, 8, 3), "uint8")
                for copy in range(copies):
                    Image.fromarray(pixels).save(root / label / f"{copy}-{number:02}.png")
        data = read("image_folder", root, image_size=32)
        sides = [
            {
                pathlib.Path(part.name(n)).name.partition("-")[2] + str(part.labels[n])
                for n in range(len(part))
            }
            for part in (data.train, data.test)
        ]
        assert not sides[0] & sides[1]
        assert [len(data.train), len(data.test)] == [32 * copies, 8 * copies]
        alone.append(sides)
    assert alone[0] == alone[1]


def test_copies_of_pictures_with_boxes_stay_on_one_side(tmp_path):
    copies = [{**each, "name": f"copy-of-{each['name']}"} for each in PICTURES]
    write_voc_folder(tmp_path, {"train": PICTURES + copies}, CLASSES)
    shutil.rmtree(tmp_path / "ImageSets")
    data = read("voc_folder", tmp_path)
    sides = [{stem.removeprefix("copy-of-") for stem in stems(part)} for part in (data.train, data.test)]
    assert not sides[0] & sides[1]
    assert (len(data.train), len(data.test)) == (10, 2)


def test_many_pictures_that_were_uploaded_under_one_name(tmp_path):
    """They are not made of one; and a picture with more copies than are to be held out stays in training."""
    same = [{**each, "name": f"image_jpg.rf.{number:x}.png"} for number, each in enumerate(PICTURES)]
    write_voc_folder(tmp_path / "same", {"train": same}, CLASSES)
    copies = [{**PICTURES[0], "name": f"{number}.png"} for number in range(30)]
    write_voc_folder(tmp_path / "copies", {"train": [*copies, *PICTURES[1:]]}, CLASSES)
    for name, sizes in (("same", (5, 1)), ("copies", (30, 5))):
        shutil.rmtree(tmp_path / name / "ImageSets")
        data = read("voc_folder", tmp_path / name)
        assert (len(data.train), len(data.test)) == sizes


def test_the_order_of_objects_is_no_contradiction(tmp_path):
    objects = [(4, 6, 20, 30, 1, 0), (0, 0, 40, 60, 0, 0)]
    one = picture("a.png", objects)
    pictures = [
        one,
        {**one, "name": "b.png", "objects": objects[::-1]},
        {**one, "name": "c.png", "objects": []},
    ]
    write_voc_folder(tmp_path, {"train": pictures[:2], "val": PICTURES[:1]}, CLASSES)
    assert overview(read("voc_folder", tmp_path)).contradictory == []
    write_voc_folder(tmp_path, {"train": pictures, "val": PICTURES[:1]}, CLASSES)
    assert [len(same) for same in overview(read("voc_folder", tmp_path)).contradictory] == [3]


def test_pictures_that_roboflow_made_of_one_stay_on_one_side(tmp_path):
    made = [
        {**each, "name": f"{each['name'][:-4]}_png.rf.{'0f'[n]}.png"} for each in PICTURES for n in (0, 1)
    ]
    made[0]["content"] = made[3]["content"]  # and one is a copy of one of another
    write_voc_folder(tmp_path, {"train": made}, CLASSES)
    shutil.rmtree(tmp_path / "ImageSets")
    data = read("voc_folder", tmp_path)
    sides = [{stem.partition("_")[0] for stem in stems(part)} for part in (data.train, data.test)]
    assert not sides[0] & sides[1]
    assert ("x" in sides[0]) == ("xx" in sides[0])
    assert len(data.train) + len(data.test) == 12
