"""Own pictures with boxes in CSV files: of TFLite Model Maker, TensorFlow's detection API, keras-retinanet.

In the first form (AutoML's) every line has a split, a picture, a class and corners, relative to the picture:
`TRAIN,a.jpg,cat,0.1,0.1,,,0.3,0.3,,`. The second begins with the names of its columns, among them filename,
class, xmin, ymin, xmax and ymax, in pixels; the third, without names, is `a.jpg,10,10,30,30,cat`. Of these
the split is told by a column `split` or `set`, by the file's name (`train_labels.csv`) or that of its folder
(Roboflow's `valid/_annotations.csv`). A line without class and corners is a picture without objects.
"""

import collections
import csv
import io
import itertools
import math
import pathlib

from recipes.data import annotations, split_lists
from recipes.data.annotations import CORNERS, Annotated, number_in
from recipes.data.class_folders import LeftOut, files_in, is_picture, printable, read_text, split_named
from recipes.data.pictures import complain
from recipes.errors import UserError

COLUMNS = ("filename", "class", *CORNERS)
UNNAMED = ("filename", "xmin", "ymin", "xmax", "ymax", "class")
# How AutoML calls the splits besides; what is unassigned is divided by whoever reads it.
SETS = {"unassigned": "train", "validate": "validation"}


def load_csv(data):
    """Loads the pictures that the CSV files in `data.directory` are about."""
    root, left_out = pathlib.Path(data.directory), LeftOut(data.directory)
    files = sorted(files_in(root, left_out))
    tables = {}
    for path in files:
        if path.lower().endswith(".csv"):
            rows = _rows(path)
            if rows:
                tables[path] = rows
            else:
                left_out.add("CSV of another form" if rows is None else "CSV without a line", path)
        elif not is_picture(path):
            left_out.add("neither pictures nor CSV", path)
    if not tables:
        message = (
            f"{root} has no CSV file with the columns {', '.join(COLUMNS)}, or a split or a picture first."
        )
        raise UserError(message + annotations.hint(root, "csv"))
    pictures = annotations.by_name(files)
    found, bad = collections.defaultdict(dict), []
    for path, split in _splits(root, tables, left_out).items():
        _read(root, path, split, tables[path], pictures, found, bad, data.skip_bad)
    complain(bad, data.skip_bad, annotations.UNUSABLE)
    if "train" not in found:
        raise UserError(f"{root} has no lines of training pictures, only of {' and '.join(found) or 'none'}")
    kept = {path for some in found.values() for path in some}
    for path in filter(is_picture, files):
        if path not in kept:
            left_out.add("in no line of a CSV file", path)
    splits = {split: list(some.values()) for split, some in found.items()}
    names = annotations.number_names(itertools.chain(*splits.values()))
    return annotations.dataset(root, names, splits, left_out, data.skip_bad)


def _rows(path):
    """The lines of a file, `(number, {column: text})`; None if it is of no form.

    Where lines have a split, it is in a column `set`; AutoML's have a column `relative`. A line of more cells
    than there are columns has those in a column None.
    """
    text = read_text(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",")
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise UserError(f"{path} is no CSV that can be read: {error}") from error
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    if set(COLUMNS) <= set(header):
        return _in_pixels(path, ["set" if name == "split" else name for name in header], rows[1:])
    if header and is_picture(header[0]) and len(header) == len(UNNAMED):
        return _in_pixels(path, UNNAMED, rows)
    if header and _split_called(header[0]) and len(header) > 8:
        return [(number, _by_vertices(row)) for number, row in rows]
    return None


def _split_called(text):
    return SETS.get(text.lower()) or split_named(text)


def _in_pixels(path, columns, rows):
    found, most = [], 0
    for number, row in rows:
        cells = dict(itertools.zip_longest(columns, row[: len(columns)], fillvalue=""))
        found.append((number, cells | {None: ",".join(filter(None, row[len(columns) :]))}))
        most = max([most, *(x for corner in CORNERS if math.isfinite(x := number_in(cells[corner])))])
    if 0 < most <= 1:
        raise UserError(f"{printable(path)} must have corners in pixels. Received: none above {most:g}")
    return found


def _by_vertices(row):
    """The columns of AutoML's form, whose boxes have two or four vertices x, y; the others are empty."""
    numbers = [cell for cell in row[3:11] if cell]
    columns = {"set": row[0], "filename": "".join(row[1:2]), "class": "".join(row[2:3]), "relative": "yes"}
    if len(numbers) in (4, 8):
        x, y = [number_in(cell) for cell in numbers[::2]], [number_in(cell) for cell in numbers[1::2]]
        corners = (min(y), min(x), max(y), max(x)) if all(map(math.isfinite, x + y)) else (math.nan,) * 4
        return columns | dict(zip(CORNERS, map(str, corners), strict=True))
    return columns | dict.fromkeys(CORNERS, ",".join(numbers))  # of another count: no number


def _splits(root, tables, left_out):
    """The split of every file; None where its lines have one each."""
    splits = {
        path: split_lists.split_told(path, root) for path, rows in tables.items() if not _has_sets(rows)
    }
    if "train" in splits.values():  # else a file that tells none is of training
        for path in [path for path, split in splits.items() if not split]:
            left_out.add("CSV that tells no split, beside one that does", path)
            del splits[path]
    told = collections.defaultdict(list)
    for path, split in splits.items():
        told[split or "train"].append(path)
    for split, paths in told.items():
        if len(paths) > 1:
            received = ", ".join(annotations.name_in(root, path) for path in paths[:3])
            raise UserError(f"{root} must have one CSV file of {split} pictures. Received: {received}")
    named = {path: split for split, (path,) in told.items()}
    return named | {path: None for path, rows in tables.items() if _has_sets(rows)}


def _has_sets(rows):
    return "set" in rows[0][1]


def _read(root, path, split, rows, pictures, found, bad, skip_bad):
    """Adds a file's pictures to those found, by split and path, and what is wrong to the complaints."""
    names, absent = {row["filename"] for _, row in rows}, collections.Counter()
    called, seen, twice = {}, set(), 0
    for number, row in rows:
        place = f"line {number}"
        try:
            its_split, name = split or _split_called(row["set"]), row["filename"]
            if not its_split or not name:
                raise UserError(f"must have a split and a picture. Received: {row.get('set')!r}, {name!r}")
            if row.get(None):
                raise UserError(f"must have no more than the columns. Received besides: {row[None]}")
            picture = annotations.nearest(root, path, its_split, pictures, name)
            label, corners = row["class"], [row[corner] for corner in CORNERS]
            if picture is None:
                absent[name] += any(corners)
                continue
            if (other := called.setdefault(picture, name)) != name:  # one of them is not there
                raise UserError(f"{name} and {other} must be two pictures. Received: one")
            size = None if row.get("relative") else (_side(row, "height"), _side(row, "width"))
            entry = found[its_split].setdefault(picture, Annotated(picture, file=path, size=size))
            if entry.file != path:
                other = annotations.name_in(root, entry.file)
                raise UserError(f"{name} must be in one file. Received: {other} as well")
            if entry.size != size:
                raise UserError(f"{name} must be of one size. Received: {entry.size} and {size}")
            twice += (line := (its_split, picture, label, *corners)) in seen
            if line in seen:
                continue
            seen.add(line)
            if label or any(corners):
                if label.splitlines() != [label]:
                    raise UserError(f"must have a class of one line. Received: {label!r}")
                entry.labels.append(label)
                entry.boxes_yxyx.append([number_in(corner) for corner in corners])
                entry.ignored.append(False)
                entry.sources.append(f"{place} ({label}: {', '.join(corners)})")
        except UserError as error:
            bad.append(f"{annotations.name_in(root, path)}, {place}: {error}")
    if twice:
        print(f"lines of {annotations.name_in(root, path)} that stand there twice count once: {twice}")
    annotations.complain_absent(path, list(absent), len(names), sum(absent.values()), skip_bad)


def _side(row, column):
    """A picture's height or width; 0 where the file does not say."""
    side = number_in(row.get(column) or "0")
    return side if side > 0 else 0
