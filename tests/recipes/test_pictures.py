"""Every decoder gives what Pillow gives: pixels as they are meant to be seen."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from orientations import ORIENTATIONS
from PIL import Image

from recipes.data import image_files, pictures
from recipes.data.augmentation import random_resized_crop
from recipes.errors import UserError

pytestmark = pytest.mark.long

decode = tf.function(pictures.decode, input_signature=[tf.TensorSpec((), tf.string)])
decode_window = tf.function(pictures.decode_window)
ROWS, COLUMNS = np.mgrid[0:40, 0:60]
SMOOTH = np.stack(
    [
        127 + 120 * np.sin(COLUMNS / 9),
        127 + 120 * np.cos(ROWS / 7),
        127 + 120 * np.sin((ROWS + COLUMNS) / 11),
    ],
    axis=-1,
).astype("uint8")
ALPHA = np.dstack([SMOOTH, 4 * COLUMNS.astype("uint8")])


class Stored:
    """A split as far as `decodable` looks."""

    def __init__(self, names, picture_files, content):
        self.names, self.picture_files, self.content = names, picture_files, content

    def __len__(self):
        return len(self.names)

    def name(self, number):
        return self.names[number]


def encoded(pixels, file_format, mode=None, **options):
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def with_orientation(pixels, orientation, file_format, **options):
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(pixels, file_format, exif=exif, **options)


KINDS = {
    "jpeg": encoded(SMOOTH, "JPEG"),
    "progressive jpeg": encoded(SMOOTH, "JPEG", quality=95, progressive=True),
    "grey jpeg": encoded(SMOOTH, "JPEG", "L"),
    "cmyk jpeg": encoded(SMOOTH, "JPEG", "CMYK"),
    **{f"png {mode}": encoded(SMOOTH, "PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "transparent png": encoded(ALPHA, "PNG"),
    "png of 16 bits": encoded(257 * SMOOTH[..., 0].astype("uint16"), "PNG"),
    **{f"bmp {mode}": encoded(SMOOTH, "BMP", mode) for mode in ("1", "L", "P", "RGB")},
    "gif": encoded(SMOOTH, "GIF"),
    "transparent gif": encoded(SMOOTH, "GIF", "P", transparency=0),
    "webp": encoded(SMOOTH, "WEBP"),
    "tiff": encoded(SMOOTH, "TIFF"),
    "avif": encoded(SMOOTH, "AVIF"),
    "tiff of 16 bits": encoded(257 * SMOOTH[..., 0].astype("uint16"), "TIFF"),
    "ppm": encoded(SMOOTH, "PPM"),
    "pgm of 16 bits": b"P5 60 40 65535\n" + (257 * SMOOTH[..., 0].astype(">u2")).tobytes(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_decode_is_pillow(kind):
    """To the last bit: Pillow and TensorFlow use the same libraries."""
    with Image.open(io.BytesIO(KINDS[kind])) as image:
        expected = np.asarray(image)
        if image.mode not in ("I;16", "I"):
            expected = np.asarray(image.convert("RGB"))
    if expected.ndim == 2:  # of 16 bits the upper ones
        expected = (expected >> 8)[..., None].repeat(3, -1)
    np.testing.assert_array_equal(decode(KINDS[kind]), expected)
    np.testing.assert_array_equal(image_files.read_rgb(KINDS[kind]), expected)


@pytest.mark.parametrize("kind", ["int32", "float32"])
@pytest.mark.parametrize("factor", [1 / 255, -1, 16])
def test_pixels_of_32_bits_are_those_of_bytes(kind, factor):
    """Or nothing says what is white: those from 0 to 1 would be black, others white, in silence."""
    grey = SMOOTH[..., 0]
    good = image_files.read_rgb(encoded(grey.astype(kind), "TIFF"))
    np.testing.assert_array_equal(np.asarray(good)[..., 1], grey)
    with pytest.raises(
        UserError, match=r"its pixels are from \S+ to \S+; expected 0 to 255, or 8 or 16 bits"
    ):
        image_files.read_rgb(encoded((factor * grey.astype(float)).astype(kind), "TIFF"))
    grey_map = b"Pf 60 40 -1.0\n" + (SMOOTH[..., 0] / 255).astype("<f4").tobytes()
    with pytest.raises(UserError, match="its pixels are from"):
        image_files.read_rgb(grey_map)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("file_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]
)
def test_orientation(orientation, file_format, options):
    content = with_orientation(SMOOTH, orientation, file_format, **options)
    np.testing.assert_array_equal(decode(content), ORIENTATIONS[orientation](SMOOTH))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_of_a_jpeg(orientation):
    content = with_orientation(SMOOTH, orientation, "JPEG")
    expected = ORIENTATIONS[orientation](decode(encoded(SMOOTH, "JPEG")).numpy())
    np.testing.assert_array_equal(decode(content), expected)
    window = decode_window(content, lambda height, width: (8, 16, height - 16, width - 24))
    # Where only a part is decoded, libjpeg has no color beyond its edges to interpolate with.
    np.testing.assert_array_equal(window[2:-2, 2:-2], expected[10:-10, 18:-10])


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_is_none(orientation):
    content = with_orientation(SMOOTH, orientation, "PNG")
    np.testing.assert_array_equal(decode(content), SMOOTH)
    assert image_files.orientation(content) == 1


def test_orientation_in_xmp():
    """Where there are no EXIF data, Pillow reads Adobe's."""
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    content = encoded(SMOOTH, "JPEG", xmp=xmp)
    assert decode(content).shape == (60, 40, 3)


def test_training_sees_upright_pictures():
    """The upper half is bright: a part of it, then, is bright above and dark below, and never beside."""
    upright = np.zeros((64, 64, 3), "uint8")
    upright[:32] = 200
    content = with_orientation(ORIENTATIONS[8](upright), 6, "JPEG", quality=95)
    crop = tf.function(random_resized_crop, reduce_retracing=True)
    for seed in range(10):
        image = crop(content, (0, seed), 32, area=(0.6, 1.0)).numpy()
        assert image[:4].mean() > 150 > 50 > image[-4:].mean()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_turn_with_their_pictures(orientation):
    """The box of the bright part, found in the pixels, before and after."""
    stored = np.zeros((40, 60, 3), "uint8")
    stored[4:16, 30:54] = 255
    content = with_orientation(stored, orientation, "PNG")
    box = np.array([(4 / 40, 30 / 60, 16 / 40, 54 / 60)])
    turned = image_files.turn_boxes(box, image_files.orientation(content))
    shown = decode(content).numpy()[..., 0]
    rows, columns = np.flatnonzero(shown.max(axis=1)), np.flatnonzero(shown.max(axis=0))
    height, width = shown.shape
    expected = (rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width)
    np.testing.assert_allclose(turned[0], expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no picture that Pillow knows$"),
        (b"text", "no picture that Pillow knows$"),
        (
            b"\0\0\0\x18ftypheic" + bytes(99),
            "no picture that Pillow knows; HEIC needs `pip install pillow-heif`",
        ),
        (KINDS["jpeg"][:-200], "image file is truncated"),
    ],
)
def test_what_cannot_be_decoded(content, message):
    with pytest.raises(tf.errors.OpError):
        decode(content)
    with pytest.raises(UserError, match=f"^cannot read a.jpg as a picture: .*{message}"):
        image_files.read_rgb(content, "a.jpg")
    expected = rf"there are pictures that cannot be read: a.jpg \(.*{message.rstrip('$')}"
    with pytest.raises(UserError, match=expected):
        pictures.decodable(Stored(["a.jpg"], None, lambda row: content), skip_bad=False)


def test_files_that_were_decoded_are_not_decoded_again(tmp_path, monkeypatch):
    """Unless they have changed; damaged ones are named each time."""
    decoded = []

    def decodable():
        paths = sorted(map(str, tmp_path.iterdir()))

        def content_of(row):
            decoded.append(pathlib.Path(paths[row]).name)
            return pathlib.Path(paths[row]).read_bytes()

        good = pictures.decodable(Stored(paths, paths, content_of), skip_bad=True).tolist()
        seen = sorted(decoded)
        decoded.clear()
        return good, seen

    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    assert decodable() == ([True, True], ["a.png", "b.png"])
    (tmp_path / "c.png").write_bytes(b"none")
    assert decodable() == ([True, True, False], ["c.png"])
    Image.new("RGB", (9, 9)).save(tmp_path / "b.png")
    assert decodable() == ([True, True, False], ["b.png", "c.png"])
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert decodable() == ([True, True, False], ["a.png", "b.png", "c.png"])
