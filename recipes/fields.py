"""Nested dataclasses from text: single fields as `--set` spells them, whole ones as JSON holds them."""

import dataclasses
import types
import typing

from recipes.errors import UserError


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
    return _replace(node, key.split("."), key, text)


def _replace(node, path, key, text):
    hints = typing.get_type_hints(type(node))
    if path[0] not in hints or dataclasses.is_dataclass(hints[path[0]]) != (len(path) > 1):
        raise UserError(
            f"unknown key {key!r} in --set. Known here: {', '.join(sorted(k for k, _ in flat_items(node)))}"
        )
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
        return text
    else:
        try:
            return hint(text)
        except ValueError:
            pass
    raise UserError(f"{key} must be of type {hint.__name__}. Received: {text!r}")


def from_values(cls, values, prefix=""):
    """Builds a dataclass from the values that JSON holds.

    Raises:
        UserError: If a key is unknown or missing, or a value of a wrong type or out of range.
    """
    hints = typing.get_type_hints(cls)
    if not isinstance(values, dict) or set(values) != set(hints):
        received = sorted(values) if isinstance(values, dict) else values
        raise UserError(
            f"not a recipe: '{prefix or 'recipe'}' must have the keys {sorted(hints)}. Received: {received}"
        )
    fields = {
        name: from_values(hint, values[name], f"{prefix}{name}.")
        if dataclasses.is_dataclass(hint)
        else _checked(hint, values[name], f"{prefix}{name}")
        for name, hint in hints.items()
    }
    return _construct(lambda: cls(**fields), prefix or "recipe")


def _checked(hint, value, key):
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list):
            return tuple(_checked(typing.get_args(option)[0], item, key) for item in value)
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    raise UserError(f"{key} must be of type {hint}. Received: {value!r}")


def _construct(make, key):
    try:
        return make()
    except ValueError as error:  # from `Attention`, which knows nothing of the command line
        raise UserError(f"{key}: {error}") from error
