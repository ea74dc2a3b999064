"""Backbones and a detector, as functions that return functional Keras models."""

from sb_keras.models.mnasnet import MNASNET_TAPS as MNASNET_TAPS
from sb_keras.models.mnasnet import MnasNet as MnasNet
from sb_keras.models.mobilenet_v2 import MOBILENET_V2_TAPS as MOBILENET_V2_TAPS
from sb_keras.models.mobilenet_v2 import CifarMobileNetV2 as CifarMobileNetV2
from sb_keras.models.mobilenet_v2 import MobileNetV2 as MobileNetV2
from sb_keras.models.shufflenet_v2 import SHUFFLENET_V2_TAPS as SHUFFLENET_V2_TAPS
from sb_keras.models.shufflenet_v2 import ShuffleNetV2 as ShuffleNetV2
from sb_keras.models.ssd import SSDLite as SSDLite
from sb_keras.models.ssd import backbone_of as backbone_of
from sb_keras.models.ssd import load_backbone as load_backbone
