import dataclasses
from typing import Any

import numpy as np
import pytest

import sb_keras
from sb_keras.attention import POSITIONS, Attention


def test_defaults_are_the_papers():
    attention = sb_keras.Attention()
    assert attention.kind == "sb"
    assert attention.positions == ("expand", "depthwise", "project")
    assert (attention.lambda_init, attention.hidden_multiplier, attention.dropout) == (0.1, 1, 0.0)
    assert (attention.experts, attention.temperature) == (4, 30)


@pytest.mark.parametrize(
    ("kind", "gate"),
    [
        ("sb", "tanh"),
        ("se", "sigmoid"),
        ("se-block", "sigmoid"),
        ("dyconv", "softmax"),
        ("condconv", "sigmoid"),
    ],
)
def test_gate_is_the_kinds_own_unless_given(kind, gate):
    assert Attention(kind).effective_gate == gate
    assert Attention(kind, gate="relu").effective_gate == "relu"


def test_of_takes_a_kind_or_an_attention():
    attention = Attention("se", dropout=0.2)
    assert Attention.of(attention) is attention
    assert Attention.of("se") == Attention("se")


def test_is_hashable_and_frozen():
    attention: Any = Attention("sb")
    positions: Any = list(POSITIONS)
    assert len({attention, Attention("sb", positions=positions)}) == 1
    spellings: list[Any] = [range(1, 3), [2, 1, 1], np.arange(1, 3), {1, 2}, (1, 2)]
    assert len({Attention("sb", blocks=blocks) for blocks in spellings}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        attention.kind = "se"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cbam"}, r"`kind` must be one of \('static', .*\). Received: kind='cbam'"),
        ({"kind": None}, r"`kind` must be one of .* Received: kind=None"),
        ({"positions": "expand"}, r"`positions` must be a tuple .* Received: positions='expand'"),
        ({"positions": ("expand", "stem")}, r"`positions` must .* Received: positions=\('expand', 'stem'\)"),
        ({"positions": ()}, r"`positions` must be a tuple .* Received: positions=\(\)"),
        ({"positions": None}, r"`positions` must be a tuple .* Received: positions=None"),
        ({"positions": 3}, r"`positions` must be a tuple .* Received: positions=3"),
        (
            {"positions": (["expand"],)},
            r"`positions` must be a tuple .* Received: positions=\(\['expand'\],\)",
        ),
        (
            {"placement": "after"},
            r"`placement` must be one of \('conv', 'norm'\). Received: placement='after'",
        ),
        ({"gate": "softplus"}, r"`gate` must be one of .* Received: gate='softplus'"),
        ({"lambda_init": float("nan")}, r"`lambda_init` must be a finite number. Received: lambda_init=nan"),
        ({"lambda_init": float("inf")}, r"`lambda_init` must be a finite number. Received: lambda_init=inf"),
        ({"lambda_init": None}, r"`lambda_init` must be a finite number. Received: lambda_init=None"),
        ({"hidden_multiplier": 0}, r"`hidden_multiplier` must be a positive, finite number. .*=0"),
        ({"hidden_multiplier": -0.5}, r"`hidden_multiplier` must be a positive, finite number. .*=-0.5"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\). Received: dropout=1.0"),
        ({"dropout": "0.2"}, r"`dropout` must be a number in \[0, 1\). Received: dropout='0.2'"),
        ({"experts": 0}, r"`experts` must be a positive integer. Received: experts=0"),
        ({"temperature": 0}, r"`temperature` must be a positive, finite number. Received: temperature=0"),
        ({"temperature": float("nan")}, r"`temperature` must be .* Received: temperature=nan"),
        ({"blocks": ()}, r"`blocks` must be positive integers, at least one. Received: blocks=\(\)"),
        ({"blocks": 3}, r"`blocks` must be positive integers, at least one. Received: blocks=3"),
        ({"blocks": "12"}, r"`blocks` must be positive integers, at least one. Received: blocks='12'"),
        ({"blocks": (1, 0)}, r"`blocks` must be positive integers, .* Received: blocks=\(1, 0\)"),
        ({"blocks": [1.5]}, r"`blocks` must be positive integers, .* Received: blocks=\(1.5,\)"),
        ({"blocks": (True,)}, r"`blocks` must be positive integers, .* Received: blocks=\(True,\)"),
    ],
)
def test_wrong_fields(arguments, message):
    with pytest.raises(ValueError, match=message):
        Attention(**arguments)


@pytest.mark.parametrize("attention", [None, 3, ["sb"], {"kind": "sb"}])
def test_wrong_type_of_attention(attention):
    with pytest.raises(
        ValueError, match=r"`attention` must be an `Attention` or one of .* Received: attention="
    ):
        Attention.of(attention)
