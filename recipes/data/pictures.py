"""Picture files in TensorFlow's graph, and finding those that cannot be decoded before the training does."""

import concurrent.futures
import functools
import itertools

import numpy as np
import PIL
import tensorflow as tf

from recipes.command import progress
from recipes.data import image_files, remembered
from recipes.errors import UserError

NAMED = 5
AT_ONCE = 4096  # pictures that wait for a thread: a million of them would take a gigabyte
PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins
# A JPEG's EXIF data are among its first segments; where a PNG's are is free.
_HEADER_BYTES = 16384
_MAY_BE_TURNED = rb"\C*(Exif|eXIf|profile type exif|:Orientation)\C*"
# Of libjpeg's two transforms the one that Pillow takes: its pixels are the same to the last bit.
_DCT = "INTEGER_ACCURATE"


def decode(content):
    """RGB pixels, uint8 (height, width, 3), from the bytes of a picture file, as it is meant to be seen.

    TensorFlow decodes JPEG and PNG. The others go through Pillow: TensorFlow knows fewer, takes the indices
    of a palette BMP for colors and the transparent parts of a GIF for black. The pixels are those of
    `recipes.data.image_files.read_rgb`. To be called in a graph: of a `tf.data.Dataset`, for example.
    """
    return tf.cond(
        tf.io.is_jpeg(content),
        lambda: _turned(tf.io.decode_jpeg(content, channels=3, dct_method=_DCT), orientation(content)),
        lambda: tf.cond(
            tf.strings.substr(content, 0, 8) == PNG,
            lambda: _turned(tf.io.decode_png(content, channels=3), orientation(content)),
            lambda: _by_pillow(content),
        ),
    )


def decode_window(content, window):
    """A part of what `decode` gives; of a JPEG that is upright only the part is decoded.

    Args:
        content: The bytes of a picture file.
        window: A function of the picture's height and width that gives top, left, height and width of the
            part, in pixels.

    Returns:
        A uint8 tensor (height, width, 3).
    """

    def of_jpeg():
        height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(content))
        return tf.io.decode_and_crop_jpeg(content, window(height, width), channels=3, dct_method=_DCT)

    is_upright = tf.io.is_jpeg(content) & (orientation(content) == 1)
    part = tf.cond(is_upright, of_jpeg, lambda: window_of(decode(content), window))
    return tf.ensure_shape(part, (None, None, 3))


def window_of(pixels, window):
    """The part of decoded pixels (height, width, 3) that a function, as of `decode_window`, says."""
    height, width, _ = tf.unstack(tf.shape(pixels))
    return tf.image.crop_to_bounding_box(pixels, *tf.unstack(window(height, width)))


def orientation(content):
    """The EXIF orientation of a JPEG or PNG file, a scalar; Pillow looks at those that may have one."""
    head = tf.cond(
        tf.io.is_jpeg(content), lambda: tf.strings.substr(content, 0, _HEADER_BYTES), lambda: content
    )

    def found():
        number = tf.numpy_function(lambda c: np.int32(image_files.orientation(c)), [content], tf.int32)
        return tf.ensure_shape(number, ())

    return tf.cond(tf.strings.regex_full_match(head, _MAY_BE_TURNED), found, lambda: tf.constant(1))


def _turned(pixels, orientation):
    pixels = tf.ensure_shape(pixels, (None, None, 3))

    def turn(number):
        transposed, *reversals = image_files.turns(number)
        turned = tf.transpose(pixels, (1, 0, 2)) if transposed else pixels
        return tf.reverse(turned, [axis for axis, is_reversed in enumerate(reversals) if is_reversed])

    return tf.switch_case(orientation - 1, [functools.partial(turn, number) for number in range(1, 9)])


def _by_pillow(content):
    def pixels(content):
        return np.asarray(image_files.read_rgb(content, "it"))

    return tf.ensure_shape(tf.numpy_function(pixels, [content], tf.uint8), (None, None, 3))


def decodable(split, skip_bad):
    """Decodes every picture once, as training will: a damaged one shows now, not in the last epoch.

    Those whose files are as they were when they were decoded before are not decoded again.

    Args:
        split: A `Split` whose pictures have `content`.
        skip_bad: Whether to leave damaged ones out, and say so, instead of giving up.

    Returns:
        A boolean array, whether each can be decoded.

    Raises:
        UserError: If one cannot, unless `skip_bad`.
    """

    in_graph = _decode_in_graph()

    def complaint(row):
        try:
            content = split.content(row)
            if content.startswith((b"\xff\xd8\xff", PNG)):
                in_graph(tf.constant(content))
            else:  # an error that passes through TensorFlow is logged with everything around it
                image_files.read_rgb(content, "it")
        except OSError as error:
            return f"{split.name(row)} ({error.strerror})"
        except (UserError, tf.errors.OpError):
            return f"{split.name(row)} ({_reason(content)})"
        return None

    decoder = f"TensorFlow {tf.__version__}, Pillow {PIL.__version__}"
    has_files = split.picture_files is not None
    keys = remembered.keys_of(split.picture_files) if has_files else np.zeros(len(split), "uint64")
    known = remembered.known(split.picture_files, decoder) if has_files else keys[:0]
    rows, complaints, good = np.flatnonzero(~np.isin(keys, known)), [], np.ones(len(split), bool)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        parts = (rows[begin : begin + AT_ONCE] for begin in range(0, len(rows), AT_ONCE))
        found = itertools.chain.from_iterable(pool.map(complaint, part) for part in parts)
        for row, text in zip(rows, progress(found, len(rows)), strict=True):
            if text:
                complaints.append(text)
                good[row] = False
    if has_files and len(rows):
        remembered.remember(split.picture_files, decoder, np.union1d(known, keys[good]))
    complain(complaints, skip_bad)
    return good


@functools.cache
def _decode_in_graph():
    """`decode` for a call outside of any graph; traced before threads call it."""
    signature = [tf.TensorSpec((), tf.string)]
    return tf.function(decode, input_signature=signature, autograph=False).get_concrete_function()


def _reason(content):
    """What is wrong with a picture, by Pillow, whose words are for people."""
    try:
        image_files.read_rgb(content, "it")
    except UserError as error:
        return str(error).removeprefix("cannot read it as a picture: ")
    return "TensorFlow cannot decode it"


def complain(bad, skip_bad, what="pictures that cannot be read"):
    """Says that something was skipped, or raises a `UserError` that names it; nothing if there is none.

    Args:
        bad: Complaints, each with the name of what it is about.
        skip_bad: Whether it was skipped.
        what: What it is.
    """
    if bad and not skip_bad:
        raise UserError(f"there are {what}: {listed(bad)}. --set data.skip_bad=true leaves them out")
    if bad:
        print(f"{len(bad)} {what} were skipped: {listed(bad)}")


def listed(bad):
    """The first of many complaints in one line, and how many more there are."""
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return f"{'; '.join(bad[:NAMED])}{more}"
