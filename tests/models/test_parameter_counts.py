"""The parameter counts that the paper prints, all 55 of them, and those of the networks it builds on.

The paper counts what is trained: γ and β of a batch normalization, not its moving statistics. Its
multiply-adds are here too, as `profile` counts them, since building a network takes most of the time.
"""

import functools

import keras
import numpy as np
import pytest

from sb_keras import Attention, CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2, profile

pytestmark = pytest.mark.long

C1, C1_C3, ALL = ("expand",), ("expand", "project"), ("expand", "depthwise", "project")
SE, SB = Attention("se"), Attention("sb")


@functools.cache
def costs(builder, width, attention):
    """The number of trainable parameters, and what `profile` counts."""
    # In this scope weights have shapes and are not drawn, which is most of the time.
    with keras.StatelessScope(initialize_variables=False):
        model = builder(width_multiplier=width, attention=attention)
    keras.utils.clear_session()  # and never will be
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_variables), profile(model).total


def trainable_parameters(builder, width, attention):
    return costs(builder, width, attention)[0]


def check(builder, width, attention, millions):
    assert f"{trainable_parameters(builder, width, attention) / 1e6:.3f}" == millions


@pytest.mark.parametrize(
    ("width", "kind", "millions"),
    [
        (0.35, "static", "1.677"),
        (0.35, "se-block", "1.736"),
        (0.35, "dyconv", "2.690"),
        (0.35, "sb", "2.700"),
        (0.5, "static", "1.969"),
        (0.5, "se-block", "2.086"),
        (0.5, "dyconv", "3.951"),
        (0.5, "sb", "4.006"),
        (0.75, "static", "2.636"),
        (0.75, "se-block", "2.898"),
        (0.75, "dyconv", "7.018"),
        (0.75, "sb", "7.201"),
        (1.0, "static", "3.505"),
        (1.0, "se-block", "3.966"),
        (1.0, "dyconv", "11.158"),
        (1.0, "sb", "11.530"),
    ],
)
def test_table_1_mobilenet_v2(width, kind, millions):
    check(MobileNetV2, width, Attention(kind), millions)


@pytest.mark.parametrize(
    ("kind", "positions", "millions"),
    [
        ("static", ALL, "1.677"),
        ("se", C1_C3, "2.500"),
        ("sb", C1_C3, "2.503"),
        ("se", ALL, "2.695"),
        ("sb", ALL, "2.700"),
    ],
)
def test_table_2_positions(kind, positions, millions):
    check(MobileNetV2, 0.35, Attention(kind, positions=positions), millions)


@pytest.mark.parametrize(
    ("builder", "kind", "millions"),
    [
        (ShuffleNetV2, "static", "1.367"),
        (ShuffleNetV2, "se", "1.772"),
        (ShuffleNetV2, "sb", "1.775"),
        (MnasNet, "static", "2.219"),
        (MnasNet, "se", "5.224"),
        (MnasNet, "sb", "5.233"),
    ],
)
def test_table_3_other_architectures(builder, kind, millions):
    check(builder, 0.5, Attention(kind), millions)


@pytest.mark.parametrize(
    ("width", "positions", "se", "sb"),
    [
        (0.35, C1, "1.089", "1.091"),
        (0.35, C1_C3, "1.240", "1.243"),
        (0.35, ALL, "1.435", "1.441"),
        (0.5, C1, "2.056", "2.060"),
        (0.5, C1_C3, "2.358", "2.363"),
        (0.5, ALL, "2.745", "2.753"),
        (0.75, C1, "4.410", "4.415"),
        (0.75, C1_C3, "5.088", "5.095"),
        (0.75, ALL, "5.954", "5.966"),
        (1.0, C1, "7.587", "7.594"),
        (1.0, C1_C3, "8.783", "8.792"),
        (1.0, ALL, "10.304", "10.320"),
    ],
)
def test_table_5_cifar(width, positions, se, sb):
    check(CifarMobileNetV2, width, Attention("se", positions=positions), se)
    check(CifarMobileNetV2, width, Attention("sb", positions=positions), sb)


@pytest.mark.parametrize(("multiplier", "millions"), [(1, "1.441"), (2, "2.447"), (3, "3.454"), (4, "4.460")])
def test_table_10_hidden_units(multiplier, millions):
    check(CifarMobileNetV2, 0.35, Attention("sb", hidden_multiplier=multiplier), millions)


@pytest.mark.parametrize(
    ("builder", "width", "parameters"),
    [
        (MobileNetV2, 0.35, 1_677_128),
        (MobileNetV2, 0.5, 1_968_680),
        (MobileNetV2, 0.75, 2_636_424),
        (MobileNetV2, 1.0, 3_504_872),
        (MnasNet, 0.5, 2_218_512),
        (ShuffleNetV2, 0.5, 1_366_792),
    ],
)
def test_static_networks_are_torchvisions_to_the_digit(builder, width, parameters):
    assert trainable_parameters(builder, width, Attention("static")) == parameters


# As `profile` counts


def total(width, kind):
    return costs(MobileNetV2, width, Attention(kind))[1]


@pytest.mark.parametrize(
    ("width", "kind", "millions"),
    [
        (0.35, "static", 59.2),
        (0.35, "se-block", 59.5),
        (0.35, "sb", 60.2),
        (0.5, "static", 97.0),
        (0.5, "se-block", 97.4),
        (0.5, "sb", 99.0),
        (0.75, "static", 209.0),
        (0.75, "se-block", 209.8),
        (0.75, "sb", 213.5),
        (1.0, "static", 300.0),
        (1.0, "se-block", 301.0),
        (1.0, "sb", 308.0),
    ],
)
def test_multiply_adds_of_table_1(width, kind, millions):
    """The paper's static column is MobileNetV2's own, which rounds to a million or so."""
    assert total(width, kind).madds / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(
    ("width", "millions"), [(0.35, "59.29"), (0.5, "97.13"), (0.75, "209.07"), (1.0, "300.77")]
)
def test_multiply_adds_of_mobilenet_v2(width, millions):
    assert f"{total(width, 'static').madds / 1e6:.2f}" == millions


@pytest.mark.parametrize(
    ("width", "parameters"), [(0.35, 1_677_128), (0.5, 1_968_680), (0.75, 2_636_424), (1.0, 3_504_872)]
)
def test_parameters_of_mobilenet_v2(width, parameters):
    assert total(width, "static").parameters == parameters


@pytest.mark.parametrize(("kind", "millions"), [("se-block", "1.736"), ("dyconv", "2.690"), ("sb", "2.700")])
def test_parameters_of_table_1(kind, millions):
    assert f"{total(0.35, kind).parameters / 1e6:.3f}" == millions
