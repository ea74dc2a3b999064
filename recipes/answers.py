"""What programs that look at pictures share: which pictures they are given, and how they answer.

Needs numpy and pillow only; videos and cameras need OpenCV as well.
"""

import contextlib
import json
import os
import pathlib
import sys
import time
import zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recipes.data import middle, normalized
from recipes.data.class_folders import LeftOut, pictures_in, printable
from recipes.data.image_files import check_picture, read_rgb
from recipes.errors import CannotWrite, UserError, check_in_range
from recipes.files import check_new_file

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
CAMERA = "camera:"
SECONDS = 1.0
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")


def add_arguments(parser):
    """The pictures, and where else the answers go."""
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="pictures and folders of them; with OpenCV also videos, or camera:0",
    )
    parser.add_argument(
        "--json", metavar="FILE.jsonl", help="also write a JSON object a picture, a line each"
    )
    parser.add_argument("--draw", metavar="FOLDER", help="also draw the answers on copies of the pictures")
    parser.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help=f"of a video or camera: a picture every … ({SECONDS:g})",
    )


def check_arguments(args):
    """Raises a `UserError` if pictures are missing or an output is there already."""
    check_new_file(args.json)
    if args.draw is not None and os.path.lexists(args.draw):
        raise UserError(f"{args.draw} exists already, and is left as it is; choose another name")
    moving = [name for name in args.pictures if _is_moving(name)]
    if args.every is not None:
        check_in_range("--every", args.every, above=0)
        if not moving:
            raise UserError("--every goes with a video or a camera")
    if moving:
        _opencv(moving[0])
    for name in args.pictures:
        if not name.startswith(CAMERA) and not os.path.exists(name):
            raise UserError(f"no such file or folder: {name}")
        if not _is_moving(name) and not os.path.isdir(name):
            check_picture(name)  # before the answers to others are written


def pictures(args):
    """Yields the name and the picture, a Pillow image, of all that are given.

    Damaged pictures of a folder are named on standard error; one that is given by its name is a `UserError`.
    """
    for name in args.pictures:
        if _is_moving(name):
            yield from _frames(name, args.every or SECONDS)
        elif pathlib.Path(name).is_dir():
            left_out = LeftOut(name)
            for path in pictures_in(name, left_out):
                try:
                    yield path, read_rgb(path)
                except UserError as error:
                    print(f"left out: {error}", file=sys.stderr)
            left_out.report()
        else:
            yield name, read_rgb(name)


def answer_all(args, answer, key):
    """Answers for every picture, on the terminal and where the arguments say.

    Args:
        args: Those of `add_arguments`.
        answer: A function from a picture to a list of dictionaries, what JSON holds.
        key: What they are, as JSON calls the list: `"classes"` or `"objects"`.

    Raises:
        UserError: If there is no picture.
    """
    draw, table = {"classes": (draw_class, classes_table), "objects": (draw_objects, objects_table)}[key]
    count = 0
    with contextlib.ExitStack() as stack:
        lines = None
        for name, picture in pictures(args):
            if args.json and not count:
                lines = stack.enter_context(_new_lines(args.json))
            found, name = answer(picture), printable(name)
            print(f"{name}\n{table(found)}" if _are_many(args) else table(found), flush=True)
            if lines:
                lines.write(json.dumps({"picture": name, key: found}, ensure_ascii=False) + "\n")
            if args.draw:
                _draw(picture, found, draw, pathlib.Path(args.draw), f"{count:04}-{pathlib.Path(name).stem}")
            count += 1
    if not count:
        raise UserError(f"there are no pictures in {', '.join(args.pictures)}")


def _new_lines(path):
    """A new file for lines."""
    try:
        return open(path, "x", encoding="utf-8")
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from error


def batch_of(picture, data):
    """A picture as a network takes it: a batch of one, stretched as test pictures are, normalized.

    Args:
        picture: A Pillow image of mode RGB.
        data: The recipe's `recipes.settings.Data`.
    """
    pixels = np.asarray(picture.resize((data.whole_size, data.whole_size), Image.Resampling.BILINEAR))
    return normalized(middle(pixels, data.image_size), data.mean, data.std)[None]


def classes(pairs):
    """Classes as JSON holds them, of pairs of name and probability."""
    return [{"class": name, "probability": round(probability, 6)} for name, probability in pairs]


def classes_table(rows):
    """The most probable classes, one a line."""
    return "\n".join(f"{row['probability']:7.2%}  {row['class']}" for row in rows)


def objects_table(rows):
    """The objects of a picture, one a line: score, class, and left, top, right and bottom in pixels."""
    lines = []
    for row in rows:
        top, left, bottom, right = row["box_yxyx"]
        sides = f"left {left:.0f} top {top:.0f} right {right:.0f} bottom {bottom:.0f}"
        lines.append(f"{row['score']:7.2%}  {row['class']}  {sides}")
    return "\n".join(lines) or "no objects"


def objects(boxes_yxyx, labels, scores, names, size, least):
    """Objects as JSON holds them, with boxes in pixels of the picture.

    Args:
        boxes_yxyx: Relative to the picture, (n, 4).
        labels: Numbers of the classes, from 0.
        scores: The scores.
        names: Names of the classes.
        size: Height and width of the picture in pixels.
        least: The least score to be shown.
    """
    return [
        {
            "class": names[int(label)] if int(label) < len(names) else f"class {int(label)}",
            "score": round(float(score), 4),
            "box_yxyx": [round(float(side), 1) for side in box * np.array([*size, *size])],
        }
        for box, label, score in zip(boxes_yxyx, labels, scores, strict=True)
        if score >= least
    ]


def draw_class(canvas, font, rows):
    """Writes the most probable class into the upper left corner."""
    _write(canvas, font, (0, 0), f"{rows[0]['class']} {rows[0]['probability']:.0%}", COLORS[0])


def draw_objects(canvas, font, rows):
    """Draws boxes, in a color that a class has on every picture."""
    for row in reversed(rows):  # the surest ones on top
        top, left, bottom, right = row["box_yxyx"]
        color = COLORS[zlib.crc32(row["class"].encode()) % len(COLORS)]
        canvas.rectangle((left, top, right, bottom), outline=color, width=max(2, font.size // 6))
        _write(canvas, font, (left, top), f"{row['class']} {row['score']:.0%}", color)


def _write(canvas, font, corner, text, color):
    canvas.rectangle(canvas.textbbox(corner, text, font=font), fill=color)
    canvas.text(corner, text, fill="white", font=font)


def _draw(picture, found, draw, folder, name):
    copy = picture.copy()
    if found:
        font = ImageFont.load_default(size=max(12, min(copy.size) // 25))
        draw(ImageDraw.Draw(copy), font, found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copy.save(folder / f"{name}.jpg", quality=90)
    except OSError as error:
        raise CannotWrite(f"cannot write to {folder}: {error.strerror or error}") from error


def _are_many(args):
    return len(args.pictures) > 1 or _is_moving(args.pictures[0]) or pathlib.Path(args.pictures[0]).is_dir()


def _is_moving(name):
    return name.startswith(CAMERA) or pathlib.Path(name).suffix.lower() in VIDEOS


def _opencv(name):
    try:
        import cv2
    except ImportError as error:
        raise UserError(f"{name} needs OpenCV: pip install opencv-python-headless") from error
    return cv2


def _frames(name, seconds):
    """Pictures of a video or a camera, one every so many seconds."""
    cv2 = _opencv(name)
    is_camera = name.startswith(CAMERA)
    if is_camera and not name.removeprefix(CAMERA).isdigit():
        raise UserError(f"a camera is camera: and a number. Received: {name}")
    video = cv2.VideoCapture(int(name.removeprefix(CAMERA)) if is_camera else name)
    if not video.isOpened():
        raise UserError(f"OpenCV cannot open {name}")
    start, shown = time.monotonic(), -np.inf
    try:
        while video.grab():
            now = time.monotonic() - start if is_camera else video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if now - shown < seconds:
                continue
            shown, (whole, pixels) = now, video.retrieve()
            if whole:
                yield f"{name} {now:.1f} s", Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    finally:
        video.release()
