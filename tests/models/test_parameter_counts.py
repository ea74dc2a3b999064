"""The parameter counts that the paper prints, all 55 of them, and those of the networks it builds on.

The paper counts what is trained: γ and β of a batch normalization, not its moving statistics.
"""

import functools

import keras
import numpy as np
import pytest

from sb_keras import Attention, CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2

C1, C1_C3, ALL = ("expand",), ("expand", "project"), ("expand", "depthwise", "project")
SE, SB = Attention("se"), Attention("sb")


@functools.cache
def trainable_parameters(builder, width, attention):
    # In this scope weights have shapes and are not drawn, which is most of the time.
    with keras.StatelessScope(initialize_variables=False):
        model = builder(width_multiplier=width, attention=attention)
    keras.utils.clear_session()  # and never will be
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)


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
