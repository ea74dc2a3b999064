"""Nested dataclasses from text: single fields as `--set` spells them, whole ones as JSON holds them."""

import contextlib
import dataclasses
import types
import typing

from recipes.errors import UserError

_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text that is not empty",
    type(None): "null",
}


def flat_items(node, prefix=""):
    """Every dotted key of a nested dataclass, with its value."""
    for field in dataclasses.fields(node):
        value, key = getattr(node, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from flat_items(value, f"{key}.")
        else:
            yield key, value


def replace(node, key, text):
    """A copy of a dataclass in which the field `key` (dotted if nested) has the value that `text` spells.

    Raises:
        UserError: If the key is unknown, or the value of a wrong type or out of range.
    """
    known = [known_key for known_key, _ in flat_items(node)]
    if key not in known:
        raise UserError(f"unknown key {key!r} in --set. Known keys: {', '.join(known)}")
    return _replace(node, key.split("."), key, text)


def _replace(node, path, key, text):
    hints = typing.get_type_hints(type(node))
    if len(path) > 1:
        value = _replace(getattr(node, path[0]), path[1:], key, text)
    else:
        value = _parse(hints[path[0]], text, key)
    return _construct(lambda: dataclasses.replace(node, **{path[0]: value}), key)


def _parse(hint, text, key):
    """Reads a value of type `hint` from the command line."""
    if isinstance(hint, types.UnionType):
        if text.lower() == "none":
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_parse(item, part.strip(), key) for part in text.split(",") if part.strip())
    if hint is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif hint is str:
        if text:
            return text
    else:
        try:
            return hint(text)
        except ValueError:
            pass
    raise UserError(f"{key} must be {_NAMES[hint]}. Received: {text!r}")


def from_values(cls, values, prefix=""):
    """Builds a dataclass from the values that JSON holds.

    Raises:
        UserError: If a key is unknown or missing, or a value of a wrong type or out of range.
    """
    hints = typing.get_type_hints(cls)
    where = prefix.removesuffix(".") or "a recipe"
    if not isinstance(values, dict):
        raise UserError(f"{where} must be an object with the keys {', '.join(hints)}. Received: {values!r}")
    unknown, missing = sorted(set(values) - set(hints)), sorted(set(hints) - set(values))
    if unknown or missing:
        raise UserError(
            f"{where} must have exactly the keys {', '.join(hints)}. Received: "
            f"{' and '.join(filter(None, (_listed('also', unknown), _listed('no', missing))))}"
        )
    fields = {
        name: from_values(hint, values[name], f"{prefix}{name}.")
        if dataclasses.is_dataclass(hint)
        else _checked(hint, values[name], f"{prefix}{name}")
        for name, hint in hints.items()
    }
    return _construct(lambda: cls(**fields), where)


def _checked(hint, value, key):
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list):
            return tuple(_checked(typing.get_args(option)[0], item, key) for item in value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # an integer of hundreds of digits
                return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    raise UserError(f"{key} must be {_described(hint)}. Received: {value!r}")


def _described(hint):
    if isinstance(hint, types.UnionType):
        return " or ".join(map(_described, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return f"a list, each item {_described(typing.get_args(hint)[0])}"
    return _NAMES[hint]


def _listed(word, keys):
    return f"{word} {', '.join(k if k.isidentifier() else repr(k) for k in keys)}" if keys else ""


def _construct(make, key):
    try:
        return make()
    except ValueError as error:  # from `Attention`, which knows nothing of the command line
        raise UserError(f"{key}: {error}") from error
