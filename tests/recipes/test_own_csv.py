"""Boxes in CSV files: of TFLite Model Maker, of TensorFlow's Object Detection API, and mistakes in them."""

import pathlib

import pytest
from labelled import CLASSES, picture, read, splits, write_csv, write_picture

from recipes.errors import UserError

PICTURES = [picture(f"{'x' * n}.png", []) for n in range(1, 7)]
SIX = ("train", "test", "valid", "VAL", "Training", "unassigned")
HEAD = "filename,width,height,class,xmin,ymin,xmax,ymax"


def folder(root, text, name="boxes.csv"):
    for each in PICTURES:
        write_picture(root / "photos", each)
    (root / name).write_text(text, encoding="utf-8")


def objects(split, classes):
    """Class and box of every object, by the names of the pictures."""
    return {
        pathlib.Path(name).stem: [
            (classes[label], *box.astype("float64").round(4).tolist())
            for label, box in zip(labels, boxes, strict=True)
            if label >= 0
        ]
        for name, labels, boxes in zip(split.names, split.labels, split.boxes_yxyx, strict=True)
    }


def test_model_maker(tmp_path):
    """The lines are those of AutoML's documentation, but for the names of the pictures."""
    text = """TRAIN,gs://folder/x.png,car,0.1,0.1,,,0.3,0.3,,
TRAIN,gs://folder/x.png,bike,.7,.6,,,.8,.9,,
TRAINING,gs://folder/xx.png,,,,,,,,,
UNASSIGNED,gs://folder/xxx.png,car,0.1,0.1,0.2,0.1,0.2,0.3,0.1,0.3
VALIDATION,/home/me/xxxx.png,car,0.3,0.4,,,0.1,0.2,,
TEST,photos/xxxxx.png,"bike",0,0,,,1,0.5,,
"""
    folder(tmp_path, text)
    data = read("csv", tmp_path)
    assert data.classes == ("bike", "car")
    assert objects(data.train, data.classes) == {
        "x": [("car", 0.1, 0.1, 0.3, 0.3), ("bike", 0.6, 0.7, 0.9, 0.8)],
        "xx": [],
        "xxx": [("car", 0.1, 0.1, 0.3, 0.2)],
    }
    assert objects(data.validation, data.classes) == {"xxxx": [("car", 0.2, 0.1, 0.4, 0.3)]}
    assert objects(data.test, data.classes) == {"xxxxx": [("bike", 0, 0, 0.5, 1)]}


@pytest.mark.parametrize("names", [("train/_annotations.csv", "valid/_annotations.csv"), ("all.csv",)])
def test_columns(tmp_path, names, capsys):
    """Roboflow's folders; and one file, of which a share is held out."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    rows = [f"{each['name']},60,40,pear,6,4,30,20" for each in PICTURES]
    folder(tmp_path, "\ufeff" + "\r\n".join([HEAD, *rows[:5]]) + "\r\n", names[0])
    if len(names) == 2:
        (tmp_path / names[1]).write_text(f"{HEAD}\n{rows[5]}\n")
    data = read("csv", tmp_path)
    assert (len(data.train), len(data.test)) == ((5, 1) if len(names) == 2 else (4, 1))
    assert objects(data.train, data.classes)["x"] == [("pear", 0.1, 0.1, 0.5, 0.5)]
    assert ("1 in no line of a CSV file (photos/xxxxxx.png)" in capsys.readouterr().out) == (len(names) == 1)


def test_other_columns_and_semicolons(tmp_path):
    """Without sizes, with a column more, in another order, as a spreadsheet of some countries writes them."""
    folder(
        tmp_path, "XMIN;ymin;xmax;ymax;note;class;filename\n6;4;30;20;;pear;x.png\n6;4;30;20;;pear;xx.png\n"
    )
    data = read("csv", tmp_path)
    found = objects(data.train, data.classes) | objects(data.test, data.classes)
    assert found == {name: [("pear", 0.1, 0.1, 0.5, 0.5)] for name in ("x", "xx")}


def test_columns_without_names(tmp_path):
    """Of keras-retinanet."""
    folder(tmp_path, "x.png,6,4,30,20,pear\nphotos/xx.png,6,4,30,20,pear\nxxx.png,,,,,\n")
    data = read("csv", tmp_path)
    found = objects(data.train, data.classes) | objects(data.test, data.classes)
    assert found == {**{name: [("pear", 0.1, 0.1, 0.5, 0.5)] for name in ("x", "xx")}, "xxx": []}


def test_a_file_of_all_beside_those_of_splits(tmp_path, capsys):
    write_csv(tmp_path, splits(), CLASSES)
    (tmp_path / "all_labels.csv").write_text((tmp_path / "train_labels.csv").read_text())
    (tmp_path / "prices.csv").write_text("apple,3\npear,4\n")
    assert len(read("csv", tmp_path).train) == 3
    out = capsys.readouterr().out
    assert "1 CSV that tells no split, beside one that does (all_labels.csv)" in out
    assert "1 CSV of another form (prices.csv)" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b\n1,2\n",
            r"no CSV file with the columns filename, class, ymin, .* a split or a picture first\.$",
        ),
        ("TRAIN,x.png,car\n", r"no CSV file with the columns"),
        (
            f"{HEAD}\nx.png,60,40,pear,6,4,30,\n",
            r"boxes\.csv, line 2 \(pear: 4, 6, , 30\): .* must be finite",
        ),
        (
            f"{HEAD}\nx.png,60,40,,6,4,30,20\n",
            r"boxes\.csv, line 2: must have a class of one line. Received: ''",
        ),
        (f"{HEAD}\n,60,40,pear,6,4,30,20\n", r"line 2: must have a split and a picture. Received: None, ''"),
        (
            f"{HEAD}\nx.png,60,40,pear,6,4,30,20\nx.png,6,4,pear,6,4,30,20\n",
            r"line 3: x\.png must be of one size. Received: \(40\.0, 60\.0\) and \(4\.0, 6\.0\)",
        ),
        (
            f"{HEAD}\nx.png,60,40,pear,6,4,30,20\nz.png,60,40,pear,6,4,30,20\n",
            r"pictures that are not there: 1 of 2 in .*boxes\.csv, with 1 objects: z\.png\. --set data\.skip",
        ),
        (f"{HEAD}\nz.png,60,40,pear,6,4,30,20\n", r"none of the pictures is there: 1 of 1 in .*, with 1 obj"),
        ("TRAIN,x.png,car,0.1,0.1,,,0.3,,,\n", r"line 1 \(car: 0\.1,0\.1,0\.3, .*: .* must be finite"),
        ("NEVER,x.png,car,0.1,0.1,,,0.3,,,\n", r"no CSV file with the columns"),
        (
            "TEST,x.png,car,0.1,0.1,,,0.3,0.3,,\nNEVER,x.png,car,0.1,0.1,,,0.3,,,\n",
            r"line 2: must have a split and a picture. Received: 'NEVER', 'x\.png'",
        ),
        (f"{HEAD}\nx.png,60,40,big, cat,6,4,30,20\n", r"line 2: must have no more than the .* besides: 20"),
        (
            f"{HEAD}\nx.png,1,1,pear,0.1,0.1,0.5,0.5\n",
            r"must have corners in pixels. Received: none above 0\.5",
        ),
        (
            f"{HEAD}\nphotos/x.png,60,40,pear,6,4,30,20\nother/x.png,60,40,apple,6,4,30,20\n",
            r"line 3: other/x\.png and photos/x\.png must be two pictures. Received: one",
        ),
        ("TEST,x.png,car,0.1,0.1,,,0.3,0.3,,\n", r"has no lines of training pictures, only of test"),
        (
            f'{HEAD}\nx.png,60,40,"pe\nar",6,4,30,20\n',
            r"line 3: must have a class of one line. Received: 'pe\\nar'",
        ),
    ],
)
def test_mistakes(tmp_path, text, message):
    folder(tmp_path, text)
    with pytest.raises(UserError, match=message):
        read("csv", tmp_path)


def test_a_column_of_splits(tmp_path):
    """Its name was not read, so that what is for testing was trained with."""
    rows = [f"{each['name']},{split},pear,6,4,30,20" for each, split in zip(PICTURES, SIX, strict=True)]
    folder(tmp_path, "\n".join(["filename,split,class,xmin,ymin,xmax,ymax", *rows]))
    data = read("csv", tmp_path)
    found = {
        name: sorted(objects(getattr(data, name), data.classes)) for name in ("train", "validation", "test")
    }
    assert found == {"train": ["x", "xxxxx", "xxxxxx"], "validation": ["xxx", "xxxx"], "test": ["xx"]}


def test_a_file_beside_one_of_validation(tmp_path):
    """keras-retinanet's usual two; the one without a word is of training, where no other is."""
    write_csv(tmp_path, splits(), CLASSES)
    (tmp_path / "train_labels.csv").rename(tmp_path / "annotations.csv")
    assert len(read("csv", tmp_path).train) == 3


def test_lines_that_stand_twice(tmp_path, capsys):
    row = "x.png,60,40,pear,6,4,30,20"
    folder(tmp_path, "\n".join([HEAD, row, row, "xx.png,60,40,pear,6,4,30,20"]))
    data = read("csv", tmp_path)
    found = objects(data.train, data.classes) | objects(data.test, data.classes)
    assert found == {name: [("pear", 0.1, 0.1, 0.5, 0.5)] for name in ("x", "xx")}
    assert "lines of boxes.csv that stand there twice count once: 1" in capsys.readouterr().out


def test_two_files_of_a_split(tmp_path):
    write_csv(tmp_path, splits(), CLASSES)
    (tmp_path / "training.csv").write_text((tmp_path / "train_labels.csv").read_text())
    message = r"one CSV file of train pictures. Received: train_labels\.csv, training\.csv"
    with pytest.raises(UserError, match=message):
        read("csv", tmp_path)


def test_other_loaders_hint_at_it(tmp_path):
    write_csv(tmp_path, splits(), CLASSES)
    for name in ("coco", "yolo", "voc_folder"):
        with pytest.raises(UserError, match=r"It looks like csv: --set data\.name=csv"):
            read(name, tmp_path)


def test_what_cannot_be_used_is_left_out(tmp_path, capsys):
    rows = [f"{each['name']},60,40,pear,6,4,30,20" for each in PICTURES[:3]]
    folder(tmp_path, "\n".join([HEAD, *rows, "z.png,60,40,pear,6,4,30,20", "x.png,60,40,pear,6,4,30,"]))
    data = read("csv", tmp_path, skip_bad=True)
    found = objects(data.train, data.classes) | objects(data.test, data.classes)
    assert found == {each["name"][:-4]: [("pear", 0.1, 0.1, 0.5, 0.5)] for each in PICTURES[:3]}
    out = capsys.readouterr().out
    assert "1 pictures that are not there were skipped: 1 of 4 in" in out
    assert "objects with wrong boxes or labels were left out, 1: boxes.csv, line 6" in out
