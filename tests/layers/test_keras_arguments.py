"""Tests that what takes the place of one of Keras's classes takes its arguments, in its order."""

import inspect

import keras
import pytest

import sb_keras
from sb_keras import layers

# In Keras's order, each unlike its default where ours can be.
CONV = (2, "valid", "channels_last", (1, 1), 1, "relu", False, "ones", "ones", "l1", "l2", "l1", "non_neg")
DEPTHWISE = (2, "valid", 1, "channels_last", (1, 1), "relu", False, "ones", "ones", "l1", "l2", "l1")
NORM = (1, 0.8, 1e-2, False, False, "ones", "zeros", "ones", "zeros", "l1", "l2", "non_neg", "unit_norm")


@pytest.mark.parametrize(
    ("ours", "stock", "arguments"),
    [
        (layers.Conv2D, keras.layers.Conv2D, (6, [5, 5], *CONV, "unit_norm")),
        (layers.DynamicConv2D, keras.layers.Conv2D, (6, [5, 5], *CONV, "unit_norm")),
        (
            layers.DynamicDepthwiseConv2D,
            keras.layers.DepthwiseConv2D,
            (3, *DEPTHWISE, "non_neg", "unit_norm"),
        ),
        (layers.BatchNormalization, keras.layers.BatchNormalization, (*NORM, False, None, 0.9, True)),
        (
            sb_keras.optimizers.SGD,
            keras.optimizers.SGD,
            (0.2, 0.8, True, 1e-3, None, 2.0, None, True, 0.9, 3, 2.0, 4, "mine"),
        ),
    ],
)
def test_positional_arguments_are_kerass(ours, stock, arguments):
    """Whatever Keras calls them, the same values mean the same."""
    parameters = [
        p for p in inspect.signature(stock).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    assert len(arguments) == len(parameters), "not all of Keras's arguments are tested"
    actual, expected = ours(*arguments).get_config(), stock(*arguments).get_config()
    refused_otherwise = {"groups", "depth_multiplier", "name"}
    for name in set(expected) - refused_otherwise:
        assert actual[name] == expected[name], name
