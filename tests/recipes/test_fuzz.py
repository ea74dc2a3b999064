"""Whatever a recipe, a `--set` or a `.keras` file holds: it is taken, or refused with a clear line."""

import copy
import dataclasses
import io
import json
import pathlib
import types
import typing
import zipfile

import keras
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import sb_keras
from recipes.errors import UserError
from recipes.fields import flat_items
from recipes.keras_file import load_model
from recipes.recipe import Recipe
from recipes.registry import RECIPES

pytestmark = pytest.mark.long

RECIPE = RECIPES["cifar10-mobilenetv2-sb"]
KEYS = [key for key, _ in flat_items(RECIPE)]
# The same examples every time, and no limit on a slow machine.
settings.register_profile(
    "here", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("here")

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
WORDS = "1 0 -1 0.5 nan inf -inf 1e999 none true sb tanh cifar10 voc SSDLite ssd expand, , ٣ 1_0 1,2,3"
plausible = st.sampled_from([*WORDS.split(), "expand,project", " ", "\x00", "a\nb"])


def attempt(make):
    """What `make()` returns and None, or None and the clear line with which it refuses."""
    try:
        return make(), None
    except UserError as error:
        return None, clear_line(error)


def clear_line(error):
    """A message for a person: one line, without what Python calls things."""
    line = str(error)
    assert len(line.splitlines()) == 1
    assert "Traceback" not in line
    return line


def taken(recipe):
    """A recipe that was accepted has the types that it declares, and is the same after JSON."""
    check_types(recipe)
    assert Recipe.from_json(recipe.to_json()) == recipe


def check_types(node):
    hints = typing.get_type_hints(type(node))
    for field in dataclasses.fields(node):
        value, hint = getattr(node, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            check_types(value)
            continue
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        items = [typing.get_args(option)[0] for option in options if typing.get_origin(option) is tuple]
        if items and isinstance(value, tuple):
            assert all(type(item) is items[0] for item in value)
        else:
            assert type(value) in options


@given(st.sampled_from(KEYS), plausible | st.text(max_size=30))
@settings(max_examples=1500)
@example("data.mean", "1,2,٣")
@example("seed", "9" * 5000)
@example("name", "\ud800")
def test_set(key, text):
    recipe, refusal = attempt(lambda: RECIPE.override([f"{key}={text}"]))
    if refusal:
        assert key.rpartition(".")[0] in refusal
    else:
        taken(recipe)


@given(st.text(max_size=40))
@settings(max_examples=500)
def test_set_of_anything(text):
    recipe, refusal = attempt(lambda: RECIPE.override([text]))
    if not refusal:
        taken(recipe)


def put(values, key, value):
    """A copy of nested dictionaries with another value at a dotted key."""
    values = copy.deepcopy(values)
    *path, last = key.split(".")
    node = values
    for name in path:
        node = node[name]
    node[last] = value
    return values


NODES = sorted({".".join(key.split(".")[:depth]) for key in KEYS for depth in (1, 2, 3)})


@given(st.sampled_from(NODES), json_values)
@settings(max_examples=1500)
@example("model.attention.positions", [["expand"]])
@example("model.attention", {})
@example("epochs", 10**400)
@example("optimizer.learning_rate", 10**400)
@example("data.mean", [10**400, 0, 0])
def test_json_with_another_value(key, value):
    """The message names the key, or the object that holds it."""
    text = json.dumps(put(json.loads(RECIPE.to_json()), key, value))
    recipe, refusal = attempt(lambda: Recipe.from_json(text))
    if refusal:
        assert any(name in refusal for name in (key, key.rpartition(".")[0] or "recipe", key.split(".")[0]))
    else:
        taken(recipe)


@given(st.sampled_from(["", *NODES]), st.text(max_size=12))
@settings(max_examples=300)
def test_json_with_an_unknown_field(key, field):
    values = json.loads(RECIPE.to_json())
    node = values
    for name in filter(None, key.split(".")):
        node = node[name]
    if not isinstance(node, dict) or field in node:
        return
    node[field] = 1
    with pytest.raises(UserError) as raised:
        Recipe.from_json(json.dumps(values))
    line = clear_line(raised.value)
    assert (field if field.isidentifier() else repr(field)) in line


@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b"[" * 100_000)
@example(b"9" * 5000)
def test_a_file_of_anything(tmp_path, content):
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        Recipe.read(path)
    assert str(path) in clear_line(raised.value)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory, two_blocks):
    path = tmp_path_factory.mktemp("model") / "m.keras"
    two_blocks(sb_keras.Attention("sb")).save(path)
    return path.read_bytes()


def opened(path: pathlib.Path):
    """Loads a file that is damaged or was tampered with: a model, or a clear line."""
    model, refusal = attempt(lambda: load_model(path))
    assert str(path) in refusal if refusal else isinstance(model, keras.Model)


@given(data=st.data())
@settings(max_examples=100)
def test_a_damaged_keras_file(tmp_path, keras_file, data):
    content = bytearray(keras_file)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.keras"
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    opened(path)


def rewritten(content, change):
    """A `.keras` file, whole by its checksums, whose configuration was changed."""
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            part = source.read(name)
            archive.writestr(name, change(part) if name == "config.json" else part)
    return target.getvalue()


def places(node, path=()):
    """Every place in nested lists and dictionaries."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@given(data=st.data())
@settings(max_examples=100)
def test_a_keras_file_with_another_configuration(tmp_path, keras_file, data):
    def change(text):
        config = json.loads(text)
        for _ in range(data.draw(st.integers(1, 2))):
            *path, last = data.draw(st.sampled_from(list(places(config))))
            node = config
            for key in path:
                node = node[key]
            node[last] = data.draw(json_values)
        return json.dumps(config).encode()

    path = tmp_path / "m.keras"
    path.write_bytes(rewritten(keras_file, change))
    opened(path)
