"""Builds each network small."""

import pytest

from sb_keras import Attention, CifarMobileNetV2, MnasNet, MobileNetV2, ShuffleNetV2

BUILDERS = [MobileNetV2, CifarMobileNetV2, MnasNet, ShuffleNetV2]
every_builder = pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: b.__name__)


def build(builder, attention: str | Attention = "sb", **arguments):
    return builder(
        **{"input_shape": (64, 64, 3), "width_multiplier": 0.1, "classes": 5, **arguments},
        attention=attention,
    )
