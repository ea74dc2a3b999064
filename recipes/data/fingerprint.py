"""Which pictures a training was begun with: one that is trained with must not be tested later."""

import hashlib
import json
import os
import sys

from recipes.errors import UserError
from recipes.files import write_text


def keep(dataset, directory, file):
    """Writes down as JSON how many pictures each part of a data set has, and a digest of their files' names.

    Args:
        dataset: The `recipes.data.Dataset`.
        directory: The folder that the pictures are in, which may be moved; None for none.
        file: Path of the file.
    """
    write_text(json.dumps(_fingerprint(dataset, directory), indent=2) + "\n", file)


def tell_changes(dataset, directory, file):
    """Warns if the pictures are others than those of `keep`, which earlier versions did not write.

    Without folders of their own, test pictures are a share of all: one picture more, and others are held out.
    """
    if not file.is_file():
        return
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        then = _counts(kept)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
    found = _fingerprint(dataset, directory)
    if kept != found:
        tested = [name for name, part in found.items() if name != "training" and part != kept.get(name)]
        danger = f": some of the {' and '.join(tested)} pictures may have been trained with" if tested else ""
        counts = f"{then}; now {_counts(found)}"
        print(
            f"warning: the pictures are not those that {file.parent} was begun with ({counts}){danger}",
            file=sys.stderr,
        )


def _counts(parts):
    return ", ".join(f"{part['pictures']} {name}" for name, part in parts.items())


def _fingerprint(dataset, directory):
    return {
        name: {"pictures": len(split), "digest": _digest(split, directory)}
        for name, split in dataset.parts.items()
    }


def _digest(split, directory):
    """A number for the names of a split's files, in the folder that they are in; None without files."""
    if split.picture_files is None:
        return None
    digest, folder = hashlib.blake2b(digest_size=16), os.path.abspath(os.fsencode(directory or ""))
    for path in split.picture_files:
        digest.update(os.path.abspath(os.fsencode(path)).removeprefix(folder) + b"\0")
    return digest.hexdigest()
