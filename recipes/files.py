"""Files that programs write: looked at before the work, whole after it."""

import contextlib
import csv
import errno
import math
import os
import pathlib

from recipes.errors import CannotWrite, UserError

TEMPORARY = "tmp-"


def check_new_file(path, overwrite=None):
    """Raises a `UserError` unless `path` is None or a file can be made there without losing another.

    Args:
        path: The path; None for no file.
        overwrite: Whether a file that is there is to be replaced; None where there is no such option.
    """
    if path is None:
        return
    path = pathlib.Path(path)
    if os.path.isdir(path):  # pathlib raises an error of its own where a name is too long
        raise UserError(f"{path} is a folder; give the name of a file")
    if os.path.lexists(path) and not overwrite:
        if overwrite is None:
            raise UserError(f"{path} exists already, and is left as it is; choose another name")
        raise UserError(f"{path} exists; --overwrite replaces it")
    if not os.path.isdir(path.parent):
        raise UserError(f"cannot write {path}: no such folder: {path.parent}")


def check_tflite(path, overwrite):
    """Raises a `UserError` unless a .tflite file can be made there; see `check_new_file`."""
    check_new_file(path, overwrite)
    if pathlib.Path(path).suffix != ".tflite":
        raise UserError(f"--out takes a name that ends in .tflite. Received: {path}")


def check_outputs(*files, overwrite=None, inputs=(), **pictures):
    """Raises a `UserError` unless files can be made at all of these paths; None stands for none.

    Args:
        *files: Paths of tables, for example.
        overwrite: As `check_new_file`.
        inputs: Files that are read, which no output may replace.
        **pictures: Paths of PNG files, by the option that names them: `plot=path` for `--plot`.
    """
    given = [path for path in (*files, *pictures.values()) if path is not None]
    for path in given:
        check_new_file(path, overwrite)
    for option, path in pictures.items():
        if path is not None and pathlib.Path(path).suffix != ".png":
            raise UserError(f"--{option} takes a name that ends in .png. Received: {path}")
    taken = [os.path.realpath(path) for path in (*given, *set(inputs))]
    if len(set(taken)) < len(taken):
        raise UserError(f"every file needs a name of its own. Received: {', '.join(map(str, given))}")


@contextlib.contextmanager
def replacing(path):
    """The temporary path of a file to write, which takes its place at the end if all went well.

    Raises:
        CannotWrite: If it cannot be written; `path` is as it was then.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()  # what there is of it takes room on a full disk
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(content, path):
    """Writes a file; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(text, path):
    """Writes a text file in UTF-8; see `replacing`."""
    write_bytes(text.encode(), path)


def write_csv(path, head, rows):
    """Writes a CSV file, in which a number that there is none of (NaN) is an empty cell; see `replacing`."""
    rows = [["" if _is_nan(cell) else cell for cell in row] for row in rows]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((head, *rows))


def _is_nan(cell):
    return isinstance(cell, float) and math.isnan(cell)


def distinct_labels(paths):
    """Shortens paths to as many trailing parts as tell them apart; a path given again is numbered.

    Example:

    ```python
    distinct_labels([pathlib.Path("runs/sb/model.tflite"), pathlib.Path("runs/se/model.tflite")])
    # ['sb/model.tflite', 'se/model.tflite']
    ```
    """
    paths = list(paths)
    for depth in range(1, 1 + max(len(path.parts) for path in paths)):
        labels = [str(pathlib.Path(*path.parts[-depth:])) for path in paths]
        if len(set(labels)) == len(set(paths)):
            break
    return [
        f"{label} ({labels[: index + 1].count(label)})" if label in labels[:index] else label
        for index, label in enumerate(labels)
    ]


def is_temporary(path):
    """Whether a file is what `replacing` left when a process was killed."""
    return path.name.startswith(TEMPORARY)


@contextlib.contextmanager
def full_disk_reported(directory):
    """Turns the error of a library that cannot write into `directory` into a `CannotWrite`."""
    try:
        yield
    except Exception as error:  # TensorFlow has its own for its event files
        reasons = map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO))
        reason = next((reason for reason in reasons if reason in str(error)), None)
        if reason is None or isinstance(error, UserError):
            raise
        raise CannotWrite(f"cannot write to {directory}: {reason}") from error
