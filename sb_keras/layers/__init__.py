"""Attention layers: Shift-and-Balance and what the paper compares it with."""

from sb_keras.layers.batch_norm import BatchNormalization as BatchNormalization
from sb_keras.layers.channel_shuffle import ChannelShuffle as ChannelShuffle
from sb_keras.layers.context import GlobalContext as GlobalContext
from sb_keras.layers.conv import Conv2D as Conv2D
from sb_keras.layers.dynamic_conv import DynamicConv as DynamicConv
from sb_keras.layers.dynamic_conv2d import DynamicConv2D as DynamicConv2D
from sb_keras.layers.dynamic_depthwise_conv2d import DynamicDepthwiseConv2D as DynamicDepthwiseConv2D
from sb_keras.layers.excitation import Excitation as Excitation
from sb_keras.layers.shift_balance import ShiftBalance as ShiftBalance
from sb_keras.layers.squeeze_excite import SqueezeExcite as SqueezeExcite
