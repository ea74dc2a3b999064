"""Shift-and-Balance attention for mobile networks in Keras 3."""

from sb_keras import callbacks as callbacks
from sb_keras import detection as detection
from sb_keras import layers as layers
from sb_keras import losses as losses
from sb_keras import models as models
from sb_keras import optimizers as optimizers
from sb_keras.attention import Attention as Attention
from sb_keras.fold import fold as fold
from sb_keras.models import CifarMobileNetV2 as CifarMobileNetV2
from sb_keras.models import MnasNet as MnasNet
from sb_keras.models import MobileNetV2 as MobileNetV2
from sb_keras.models import ShuffleNetV2 as ShuffleNetV2
from sb_keras.models import SSDLite as SSDLite
from sb_keras.profile import profile as profile

__version__ = "0.1.0"
