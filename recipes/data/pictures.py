"""Picture files: decoding, and finding those that cannot be before the training does."""

import concurrent.futures
import re

import numpy as np
import tensorflow as tf

from recipes.errors import UserError

NAMED = 5


def decode(content):
    """RGB pixels, uint8 (height, width, 3), from the bytes of a JPEG, PNG, BMP or GIF file."""
    return tf.io.decode_image(content, channels=3, expand_animations=False)


def decodable(names, decode_row, skip_bad):
    """Decodes every picture once, as training will: a damaged one shows now, not in the last epoch.

    Args:
        names: What to call them.
        decode_row: A function of a picture's number that decodes it.
        skip_bad: Whether to leave damaged ones out, and say so, instead of giving up.

    Returns:
        A boolean array, whether each can be decoded.

    Raises:
        UserError: If one cannot, unless `skip_bad`.
    """

    def complaint(row):
        try:
            decode_row(row)
        except tf.errors.OpError as error:
            # Without the names of TensorFlow's operations around it.
            reason = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", error.message.splitlines()[0]).strip()
            return f"{names[row]} ({reason})"
        return None

    with concurrent.futures.ThreadPoolExecutor() as pool:
        complaints = list(pool.map(complaint, range(len(names))))
    complain(list(filter(None, complaints)), skip_bad)
    return np.array([complaint is None for complaint in complaints], bool)


def complain(bad, skip_bad):
    """Says that pictures were skipped, or raises a `UserError` that names them; nothing if there are none."""
    if not bad:
        return
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    listed = f"{'; '.join(bad[:NAMED])}{more}"
    if not skip_bad:
        raise UserError(f"cannot read these pictures: {listed}. --set data.skip_bad=true leaves them out")
    print(f"{len(bad)} pictures that cannot be read were skipped: {listed}")
