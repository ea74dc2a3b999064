"""What a single-shot detector needs beside its network: anchors, matching, losses, suppression, metric."""

from sb_keras.detection.anchors import ssdlite_anchors as ssdlite_anchors
from sb_keras.detection.boxes import decode as decode
from sb_keras.detection.boxes import encode as encode
from sb_keras.detection.loss import BoxLoss as BoxLoss
from sb_keras.detection.loss import ClassLoss as ClassLoss
from sb_keras.detection.matching import match as match
from sb_keras.detection.postprocess import detect as detect
from sb_keras.detection.voc_metric import VocAveragePrecision as VocAveragePrecision
