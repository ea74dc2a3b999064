"""Tests of the layers' configurations: every argument is in them."""

import inspect

import keras
import pytest

from sb_keras import layers

# Every argument differs from its default, so that one which a configuration forgets is noticed.
DYNAMIC = {
    "strides": 2,
    "padding": "valid",
    "data_format": "channels_last",
    "activation": "relu6",
    "experts": 3,
    "gate": "sigmoid",
    "temperature": 5.0,
    "hidden_units": 2,
    "dropout": 0.25,
    "use_bias": False,
    "bias_initializer": "ones",
    "bias_regularizer": "l1",
    "activity_regularizer": "l2",
    "bias_constraint": "non_neg",
    "normalize_routing": False,
}
KERNEL = {"initializer": keras.initializers.HeNormal(seed=3), "regularizer": "l2", "constraint": "unit_norm"}
FORMAT = {"data_format": "channels_last"}
ATTENTION = {"hidden_units": 5, "dropout": 0.25, "use_bias": True, "normalize": False, **FORMAT}
ARGUMENTS = {
    layers.BatchNormalization: {"axis": 3, "momentum": 0.5, "epsilon": 0.1},
    layers.ChannelShuffle: {"groups": 3, **FORMAT},
    layers.Conv2D: {"filters": 8, "kernel_size": (3, 1), "strides": (2, 1)},
    layers.DynamicConv2D: {
        "filters": 8,
        "kernel_size": (3, 1),
        **DYNAMIC,
        **{f"kernel_{part}": value for part, value in KERNEL.items()},
    },
    layers.DynamicDepthwiseConv2D: {
        "kernel_size": 3,
        **DYNAMIC,
        **{f"depthwise_{part}": value for part, value in KERNEL.items()},
    },
    layers.GlobalContext: FORMAT,
    layers.Excitation: {"units": 8, **ATTENTION},
    layers.ShiftBalance: {"gate": "relu", "lambda_init": 0.5, **ATTENTION},
    layers.SqueezeExcite: {"gate": "tanh", **ATTENTION},
}
# One value is taken or refused, or the names are Keras's own.
NOT_KEPT = {"depth_multiplier", "dilation_rate", "groups"} | {f"kernel_{part}" for part in KERNEL}


def as_configured(name, value):
    """What a configuration holds of an argument."""
    kind = name.rpartition("_")[2]
    if kind in ("initializer", "regularizer", "constraint", "activation"):
        module = getattr(keras, f"{kind}s")
        return module.serialize(module.get(value))
    if name in ("strides", "kernel_size") and not isinstance(value, tuple):
        return (value, value)
    return value


@pytest.mark.parametrize("cls", ARGUMENTS)
def test_config_round_trip(cls):
    arguments = ARGUMENTS[cls]
    config = cls(**arguments).get_config()
    assert cls.from_config(config).get_config() == config
    required = {name: arguments[name] for name in ("filters", "kernel_size", "units") if name in arguments}
    if cls is layers.Excitation:
        required["hidden_units"] = 1
    defaults = cls(**required).get_config()
    for name, value in arguments.items():
        assert config[name] == as_configured(name, value), name
        if name not in ("filters", "kernel_size", "units", "data_format"):
            assert config[name] != defaults[name], name
    named = {
        parameter.name
        for base in cls.__mro__
        if base.__module__.startswith("sb_keras") and "__init__" in vars(base)
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    assert named - {"self"} - NOT_KEPT <= set(arguments), "not all arguments are tested"


def test_every_public_layer_is_tested():
    public = {value for name, value in vars(layers).items() if name[0].isupper()}
    assert public - {layers.DynamicConv} == set(ARGUMENTS)  # a base class
