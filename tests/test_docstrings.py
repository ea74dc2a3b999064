"""Every example in the docstrings of the public objects runs."""

import inspect
import re

import keras
import pytest

import sb_keras

# What an example shows, it shows on one block a stage.
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("networks_of_few_blocks")]


def public_objects():
    """Classes and functions that `sb_keras` and its public modules export."""
    exported = {name: getattr(sb_keras, name) for name in dir(sb_keras)}
    modules = [vars(value) for value in exported.values() if inspect.ismodule(value)]
    objects = {
        f"{value.__module__}.{value.__qualname__}": value
        for module in (exported, *modules)
        for name, value in module.items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("sb_keras")
    }
    return sorted(objects.items())


EXAMPLES = [
    pytest.param(inspect.cleandoc(example), id=name)
    for name, value in public_objects()
    for example in re.findall(r"```python\n(.*?)```", value.__doc__ or "", re.DOTALL)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs(example):
    exec(example, {"keras": keras, "sb_keras": sb_keras})


def test_the_main_objects_have_examples():
    main = [getattr(sb_keras.layers, name) for name in dir(sb_keras.layers) if name[0].isupper()]
    main += [sb_keras.Attention, sb_keras.MobileNetV2, sb_keras.CifarMobileNetV2]
    main += [sb_keras.MnasNet, sb_keras.ShuffleNetV2]
    for value in main:
        assert "```python" in value.__doc__, value
