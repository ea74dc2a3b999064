"""Picture files through Pillow: what a file shows, turned as it is meant to be seen. Without TensorFlow."""

import contextlib
import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from recipes.errors import UserError

with contextlib.suppress(ImportError):
    import pillow_heif  # pyright: ignore[reportMissingImports] (optional: phones' HEIC files)

    pillow_heif.register_heif_opener()

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".ppm", ".pgm"),
)
ORIENTATION = 0x0112  # the EXIF tag: from 1, upright, to 8
# What Pillow raises on files that are no pictures, or damaged ones, and on huge ones.
_NOT_READABLE = (OSError, RuntimeError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_rgb(file, name=None):
    """Reads a picture file as it is meant to be seen.

    It is turned as its EXIF data say, a transparent one loses its transparency, of an animation the first
    picture counts, and of 16 bits the upper 8.

    Args:
        file: Path of a picture in any format that Pillow reads, or its bytes.
        name: What to call it in an error; by default its path.

    Returns:
        A Pillow image of mode RGB.

    Raises:
        UserError: If it is no picture, or damaged.

    Example:

    ```python
    width, height = read_rgb("photo.jpg").size
    ```
    """
    try:
        with warnings.catch_warnings(action="ignore"), _open(file) as image:  # Pillow's: corrupt EXIF, …
            # What Pillow opens as 32 bits has 16 in these, and may be anything in others.
            has_16 = image.mode == "I" and image.format in ("PPM", "PNG")
            image = ImageOps.exif_transpose(image)
            if image.mode in ("I", "F") and not has_16:
                return _of_bytes(image).convert("RGB")
            if image.mode.startswith("I"):  # of which `convert` would cut off all that is above 255
                image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
            return image.convert("RGB")
    except _NOT_READABLE as error:
        raise UserError(f"cannot read {name or file} as a picture: {_reason(error, file)}") from error


def _of_bytes(image):
    """An image of wide pixels whose values are those of bytes; a `ValueError` if they are others."""
    low, high = image.getextrema()
    if low < 0 or not 1 < high <= 255:  # from 0 to 1 it would be black, above 255 white
        raise ValueError(f"its pixels are from {low:g} to {high:g}; expected 0 to 255, or 8 or 16 bits each")
    return image.convert("L")


def check_picture(file):
    """Raises a `UserError` if a file is no picture; what is damaged behind its first bytes shows later."""
    try:
        stored_size(file)
    except UserError as error:
        raise UserError(f"cannot read {file} as a picture: {error}") from error


def orientation(content):
    """The EXIF orientation of an encoded picture, from 1 (upright) to 8; 1 where it has none that is valid.

    Args:
        content: The bytes of the file.
    """
    try:
        _, found = stored_size(content)
    except UserError:
        return 1
    return found


def stored_size(file):
    """Height and width of a picture as it is stored, and its EXIF orientation, from 1 (upright) to 8.

    Args:
        file: Its path, or its bytes.

    Raises:
        UserError: If it is no picture.
    """
    try:
        with warnings.catch_warnings(action="ignore"), _open(file) as image:
            found = image.getexif().get(ORIENTATION, 1)
            return (image.height, image.width), found if found in range(1, 9) else 1
    except _NOT_READABLE as error:
        raise UserError(_reason(error, file)) from error


def size(content):
    """Width and height of an encoded picture as it is meant to be seen; None if Pillow cannot read it.

    Args:
        content: The bytes of the file.
    """
    try:
        height, width = shown_size(*stored_size(content))
    except UserError:
        return None
    return width, height


def shown_size(size, orientation):
    """Height and width of a picture as it is meant to be seen, of its stored ones and its orientation."""
    is_transposed, *_ = turns(orientation)
    return size[::-1] if is_transposed else size


def turns(orientation):
    """How to make a picture upright.

    Args:
        orientation: Its EXIF orientation, from 1 to 8.

    Returns:
        Whether to exchange rows and columns; whether, then, to reverse the rows; and the columns.
    """
    return orientation >= 5, orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)


def turn_boxes(boxes_yxyx, orientation):
    """Where objects are once their picture is upright.

    Args:
        boxes_yxyx: Array (n, 4) of ymin, xmin, ymax and xmax in the picture as it is stored, relative to it.
        orientation: Its EXIF orientation, from 1 to 8.

    Returns:
        An array of the same shape.
    """
    transposed, *reversals = turns(orientation)
    low, high = boxes_yxyx[:, :2], boxes_yxyx[:, 2:]
    if transposed:
        low, high = low[:, ::-1], high[:, ::-1]
    low, high = (np.where(reversals, 1 - a, b) for a, b in ((high, low), (low, high)))
    return np.concatenate([low, high], axis=1)


def _open(file):
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)


def _reason(error, file):
    reason = getattr(error, "strerror", None) or str(error)
    if "cannot identify" in reason:  # what follows are Python's names of the file
        return "no picture that Pillow knows" + _advice(file)
    return reason


def _advice(file):
    """For a phone's HEIC file: its format stands at the fifth byte, in a box called ftyp."""
    if isinstance(file, bytes):
        head = file[:12]
    else:
        with open(file, "rb") as opened:
            head = opened.read(12)
    is_heic = head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif")
    return "; HEIC needs `pip install pillow-heif`" if is_heic else ""
