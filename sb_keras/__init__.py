"""Shift-and-Balance attention for mobile networks in Keras 3."""

from sb_keras import layers as layers
from sb_keras import models as models
from sb_keras.attention import Attention as Attention
from sb_keras.models import CifarMobileNetV2 as CifarMobileNetV2
from sb_keras.models import MnasNet as MnasNet
from sb_keras.models import MobileNetV2 as MobileNetV2
from sb_keras.models import ShuffleNetV2 as ShuffleNetV2

__version__ = "0.1.0"
