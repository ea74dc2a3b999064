"""Which picture files could be decoded before: they are not decoded again before each training.

A file is known by its path, size and date. What is kept, eight bytes a file, is below `XDG_CACHE_HOME` or
`~/.cache`, and may be deleted at any time.
"""

import contextlib
import hashlib
import os
import pathlib

import numpy as np

from recipes.errors import CannotWrite
from recipes.files import replacing


def keys_of(paths):
    """What stands for files as they are now: uint64, 0 for one that cannot be looked at."""
    return np.array([_key(path) for path in paths], "uint64")


def known(paths, decoder):
    """The keys of files near these that were decoded.

    Args:
        paths: Paths of files.
        decoder: What decodes them, with its version: another may know less.
    """
    try:
        return np.load(_file(paths, decoder))
    except (OSError, ValueError, EOFError):  # there is none, or it is damaged
        return np.empty(0, "uint64")


def remember(paths, decoder, keys):
    """Keeps keys in place of those that were known; where that cannot be written, nothing is kept."""
    file = _file(paths, decoder)
    with contextlib.suppress(OSError, CannotWrite):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, temporary.open("wb") as opened:
            np.save(opened, keys[keys != 0])


def _key(path):
    try:
        status = os.stat(path)
    except OSError:
        return 0
    text = f"{status.st_size} {status.st_mtime_ns} ".encode() + os.fsencode(os.path.abspath(path))
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _file(paths, decoder):
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    name = hashlib.blake2b(os.fsencode(folder) + decoder.encode(), digest_size=8).hexdigest()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(cache, "sb_keras", f"decoded-{name}.npy")
