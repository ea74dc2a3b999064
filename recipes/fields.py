"""Nested dataclasses from text: single fields as `--set` spells them, whole ones as JSON holds them."""

import contextlib
import dataclasses
import inspect
import re
import types
import typing

from recipes.errors import UserError, suggestion

_NAMES = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text that is not empty",
}


def flat_items(node, prefix=""):
    """Every dotted key of a nested dataclass, with its value."""
    for field in dataclasses.fields(node):
        value, key = getattr(node, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from flat_items(value, f"{key}.")
        else:
            yield key, value


def documented_keys(node, prefix=""):
    """Every dotted key of a nested dataclass: key, type, value as text, and the first sentence about it."""
    hints, sentences = typing.get_type_hints(type(node)), _sentences(type(node))
    for field in dataclasses.fields(node):
        value, key = getattr(node, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from documented_keys(value, f"{key}.")
        else:
            described = _described(hints[field.name], "comma-separated:", "none")
            yield key, described, _text(value), sentences[field.name]


def _sentences(cls):
    """What the docstring of a dataclass says of each field in its section `Attributes` or `Args`."""
    lines = (inspect.getdoc(cls) or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line in ("Attributes:", "Args:"))
    found, name = {}, ""
    for line in lines[start + 1 :]:
        if line and not line.startswith(" "):
            break
        if re.match(r" {4}\w", line):
            name, _, line = line.strip().partition(": ")
            found[name] = ""
        found[name] = f"{found[name]} {line.strip()}".strip()
    return {name: re.split(r"(?<=\.)\s", text)[0] for name, text in found.items()}


def _text(value):
    """A value as `--set` spells it."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value)) or "none given"
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def replace(node, texts):
    """A copy of a dataclass with other values.

    Args:
        node: The dataclass.
        texts: For some keys (dotted if nested) the text that spells the value.

    Raises:
        UserError: If a key is unknown, or a value of a wrong type or out of range.
    """
    check_keys(node, texts)
    return _replaced(node, texts, "")


def check_keys(node, keys, option="--set"):
    """Raises a `UserError`, which names the option that took them, if a dataclass lacks one of the keys."""
    known = [key for key, _ in flat_items(node)]
    for key in keys:
        if key not in known:
            raise UserError(
                f"unknown key {key!r} in {option}.{suggestion(key, known)} `--help` lists the keys"
            )


def _replaced(node, texts, prefix):
    hints, values = typing.get_type_hints(type(node)), {}
    for field in dataclasses.fields(node):
        value, key = getattr(node, field.name), prefix + field.name
        inner = {each: text for each, text in texts.items() if each.startswith(f"{key}.")}
        if inner:
            values[field.name] = _replaced(value, inner, f"{key}.")
        elif key in texts:
            values[field.name] = _parse(hints[field.name], texts[key], key)
    return _construct(lambda: dataclasses.replace(node, **values), ", ".join(texts))


def _parse(hint, text, key):
    """Reads a value of type `hint` from the command line."""
    if isinstance(hint, types.UnionType):
        if text.lower() == "none":
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is tuple:
        item, parts = typing.get_args(hint)[0], [part.strip() for part in text.split(",")]
        if not parts[-1]:  # nothing at all, or a comma at the end, as Python writes a tuple of one
            parts.pop()
        try:
            return tuple(_parse(item, part, key) for part in parts)
        except UserError:
            what = _described(hint, "a comma-separated list, each item")
            raise UserError(f"{key} must be {what}. Received: {text!r}") from None
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


def _described(hint, a_list="a list, each item", nothing="null"):
    if isinstance(hint, types.UnionType):
        return " or ".join(_described(option, a_list, nothing) for option in typing.get_args(hint))
    if hint is type(None):
        return nothing
    if typing.get_origin(hint) is tuple:
        return f"{a_list} {_described(typing.get_args(hint)[0])}"
    return _NAMES[hint]


def _listed(word, keys):
    return f"{word} {', '.join(k if k.isidentifier() else repr(k) for k in keys)}" if keys else ""


def _construct(make, key):
    try:
        return make()
    except ValueError as error:  # from `Attention`, which knows nothing of the command line
        raise UserError(f"{key}: {error}") from error
