"""SSDLite: a MobileNetV2 with the heads of a single-shot detector."""

import itertools

import keras

from sb_keras.arguments import check_positive_integer
from sb_keras.attention import Attention
from sb_keras.detection.anchors import ANCHORS_PER_CELL, height_and_width
from sb_keras.layers.batch_norm import BatchNormalization
from sb_keras.models.convolutions import static_conv
from sb_keras.models.mobilenet_v2 import MOBILENET_V2_TAPS, MobileNetV2
from sb_keras.models.stages import Stage, inverted_residuals

# Behind the head of the backbone, as in pytorch-ssd's mb2-ssd-lite: an inverted residual a level.
EXTRAS = (
    Stage(expand_ratio=0.2, filters=512, repeats=1, strides=2),
    Stage(expand_ratio=0.25, filters=256, repeats=1, strides=2),
    Stage(expand_ratio=0.5, filters=256, repeats=1, strides=2),
    Stage(expand_ratio=0.25, filters=64, repeats=1, strides=2),
)
FIRST_EXTRA = 18  # the backbone has 17 blocks
_LAST = "head_relu"  # of the backbone


def SSDLite(
    backbone_width=1.0,
    attention: str | Attention = "static",
    classes=20,
    name=None,
    *,
    input_shape=(300, 300, 3),
    weights=None,
):
    """SSDLite on MobileNetV2, the detector of the paper's section 5.2 and Table 4.

    Feature maps at strides of 16 pixels (the expanded one of the block that halves the resolution for the
    last time) and 32 (the head) come from the backbone, those at 64, 128, 256 and 512 from inverted residuals
    behind it. Of 300×300 pixels they have 19×19, 10×10, 5×5, 3×3, 2×2 and 1×1 cells. Halves are rounded up:
    a map of 1×1, which small pictures have earlier, is followed by another. On each of them two heads, a 3×3
    depthwise and a 1×1 convolution (on the last only the 1×1), give the classes and boxes of six anchors a
    cell. Attention is in the backbone's bottlenecks.

    Args:
        backbone_width: The backbone's width multiplier (0.35, 0.5, 0.75 and 1.0 in the paper).
        attention: An `Attention` or its `kind`.
        classes: Number of classes, without the background.
        name: Name of the model.
        input_shape: `(height, width, channels)` in pixels: the paper's 300×300, or each side a multiple of 32
            from 160 to 640.
        weights: What the backbone begins with, as `MobileNetV2` takes it; what lies behind it is new.

    Returns:
        A functional `keras.Model` from images (batch, height, width, channels), normalized to mean 0 and
        deviation 1, to a dictionary: `"classes"`, logits (batch, anchors, classes + 1) with the background
        first, and `"boxes"`, offsets (batch, anchors, 4), which `decode` makes boxes. The anchors, 3,000 of
        300×300 pixels, are `sb_keras.detection.ssdlite_anchors(input_shape)`.

    Raises:
        ValueError: If an argument is unknown or out of range, or weights cannot be had or do not fit.

    Example:

    ```python
    model = sb_keras.SSDLite(backbone_width=0.35, attention="sb")
    ```
    """
    height_and_width(input_shape)
    kind = Attention.of(attention).kind
    check_positive_integer("classes", classes)
    backbone = MobileNetV2(input_shape, backbone_width, attention, include_top=False, weights=weights)
    maps = [backbone.get_layer(MOBILENET_V2_TAPS[stride]).output for stride in (16, 32)]
    for block, stage in enumerate(EXTRAS, FIRST_EXTRA):
        maps.append(inverted_residuals(maps[-1], [stage], Attention("static"), first_block=block))
    outputs = {
        "classes": _heads(maps, classes + 1, "classes"),
        "boxes": _heads(maps, 4, "boxes"),
    }
    return keras.Model(backbone.input, outputs, name=name or f"ssdlite_mobilenet_v2_{kind}")


def _heads(maps, values, name):
    """(batch, anchors, values) from all feature maps, in the order of the anchors."""
    flat = []
    for number, x in enumerate(maps, 1):
        if x is not maps[-1]:
            depthwise = f"{name}{number}_depthwise"
            x = static_conv(x.shape[-1], 3, depthwise=True, name=depthwise)(x)
            x = BatchNormalization(name=f"{depthwise}_bn")(x)
            x = keras.layers.ReLU(6.0, name=f"{depthwise}_relu")(x)
        x = keras.layers.Conv2D(
            ANCHORS_PER_CELL * values, 1, data_format="channels_last", name=f"{name}{number}"
        )(x)
        flat.append(keras.layers.Reshape((-1, values), name=f"{name}{number}_flat")(x))
    return keras.layers.Concatenate(axis=1, dtype="float32", name=name)(flat)


def backbone_of(detector):
    """The layers of an `SSDLite` that are its MobileNetV2, from the input to the head."""
    return keras.Model(detector.input, detector.get_layer(_LAST).output).layers


def load_backbone(detector, classifier):
    """Gives a detector the weights of a classifier's backbone, layer by layer, by name.

    Args:
        detector: An `SSDLite`.
        classifier: A `MobileNetV2` of the same width, attention and padding.

    Raises:
        ValueError: If a layer of one backbone is not in the other, or in another place, or has other weights,
            another gate or padding there. Nothing is changed then.

    Example:

    ```python
    classifier = sb_keras.MobileNetV2(width_multiplier=0.35, attention="sb")
    sb_keras.models.load_backbone(sb_keras.SSDLite(0.35, "sb"), classifier)
    ```
    """
    ours = _weighted(backbone_of(detector))
    is_ours = any(layer.name == _LAST for layer in classifier.layers)
    theirs = _weighted(backbone_of(classifier)) if is_ours else []
    for expected, received in itertools.zip_longest(ours, theirs):
        expected, received = (each and _description(each) for each in (expected, received))
        if expected != received:
            raise ValueError(
                "The classifier is not this detector's backbone, of the same width and attention. "
                f"Expected: {expected or 'no more layers'}. Received: {received or 'no such layer'}"
            )
    for layer, source in zip(ours, theirs, strict=True):
        layer.set_weights(source.get_weights())


def _weighted(layers):
    return [layer for layer in layers if layer.weights]


def _description(layer):
    """What must be the same for the same weights to compute the same."""
    shapes = ", ".join(str(tuple(weight.shape)) for weight in layer.weights)
    options = [f"{key}={getattr(layer, key)}" for key in ("gate", "padding") if hasattr(layer, key)]
    return " ".join([f"layer '{layer.name}' of {shapes}", *options])
