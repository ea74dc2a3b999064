"""MobileNetV2 for ImageNet-sized images and for CIFAR."""

import dataclasses

from sb_keras.attention import Attention
from sb_keras.models.pretrained import initial_attention, load
from sb_keras.models.stages import (
    Stage,
    as_model,
    conv_norm_relu,
    image_input,
    inverted_residuals,
    make_divisible,
)

# Sandler et al., 2018, Table 2.
STAGES = (
    Stage(expand_ratio=1, filters=16, repeats=1, strides=1),
    Stage(expand_ratio=6, filters=24, repeats=2, strides=2),
    Stage(expand_ratio=6, filters=32, repeats=3, strides=2),
    Stage(expand_ratio=6, filters=64, repeats=4, strides=2),
    Stage(expand_ratio=6, filters=96, repeats=3, strides=1),
    Stage(expand_ratio=6, filters=160, repeats=3, strides=2),
    Stage(expand_ratio=6, filters=320, repeats=1, strides=1),
)
# CIFAR's images are small: the second stage keeps the resolution, as in pytorch-cifar.
CIFAR_STAGES = tuple(
    dataclasses.replace(stage, strides=1) if stage.filters == 24 else stage for stage in STAGES
)
HEAD_FILTERS = 1280

# For detectors: output stride of an ImageNet-sized network -> the last layer at that resolution.
MOBILENET_V2_TAPS = {
    2: "block2_expand_relu",
    4: "block4_expand_relu",
    8: "block7_expand_relu",
    16: "block14_expand_relu",
    32: "head_relu",
}


def _scaled(stages, width_multiplier):
    return [
        dataclasses.replace(stage, filters=make_divisible(stage.filters * width_multiplier))
        for stage in stages
    ]


def MobileNetV2(
    input_shape=None,
    width_multiplier=1.0,
    attention: str | Attention = "static",
    include_top=True,
    classes=1000,
    classifier_activation="softmax",
    dropout=0.2,
    weights=None,
    padding="same",
    name=None,
    *,
    input_tensor=None,
    pooling=None,
):
    """MobileNetV2 (Sandler et al., 2018) with the attention of the paper's Tables 1 and 2.

    The parameters are torchvision's `mobilenet_v2`, to the digit. Padding is `"same"` unless asked for
    otherwise, where PyTorch pads evenly on both sides.

    Args:
        input_shape: `(height, width, channels)`, sizes of at least 32 pixels or None; by default that of
            `input_tensor`, or (224, 224, 3).
        width_multiplier: Scales the number of channels (0.35, 0.5, 0.75 and 1.0 in the paper).
        attention: An `Attention` or its `kind`: `"static"`, `"se-block"`, `"se"`, `"sb"`, `"dyconv"` or
            `"condconv"`.
        include_top: Whether to add pooling, dropout and classifier. Without it the output is
            the head's feature map, at 1/32 of the resolution.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; None for logits.
        dropout: Dropout rate before the classifier.
        weights: What the network begins with: None for random weights, `"imagenet"` for those of
            `keras.applications` (widths of 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4), or a path: a file of
            `keras.applications` (`.h5`, `.keras`) or torchvision (`.pth`, `.safetensors`; with
            `padding="torch"`), a `.keras` file or run directory of this package. Weights of a static network
            go into the trunk of one with attention, where `"sb"` then begins with λ = 0: the function is the
            static network's. A classifier of another number of classes begins anew.
        padding: `"same"`, or `"torch"` for PyTorch's: the same number of zeros on both sides.
        name: Name of the model.
        input_tensor: A symbolic tensor of images to take instead of an input of its own. The model begins
            where the tensor comes from.
        pooling: Without the top, `"avg"` or `"max"` over the feature map, for vectors; None for the map.

    Returns:
        A functional `keras.Model` from images, normalized to mean 0 and deviation 1, to class
        probabilities. Detectors find its feature maps by the names in `MOBILENET_V2_TAPS`.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Example:

    ```python
    model = sb_keras.MobileNetV2(width_multiplier=0.35, attention="sb")
    ```
    """
    attention = initial_attention(attention, weights)
    inputs = image_input(input_shape, width_multiplier, padding, input_tensor)
    stem = make_divisible(32 * width_multiplier)
    x = conv_norm_relu(inputs, stem, 3, 2, name="stem", padding=padding)
    x = inverted_residuals(x, _scaled(STAGES, width_multiplier), attention, padding=padding)
    head = make_divisible(HEAD_FILTERS * max(1.0, width_multiplier))
    x = conv_norm_relu(x, head, 1, 1, name="head")
    name = name or f"mobilenet_v2_{attention.kind}"
    model = as_model(inputs, x, include_top, classes, classifier_activation, dropout, name, pooling)
    return load(model, inputs, weights, width_multiplier)


def CifarMobileNetV2(
    input_shape=None,
    width_multiplier=1.0,
    attention: str | Attention = "static",
    include_top=True,
    classes=10,
    classifier_activation="softmax",
    dropout=0.0,
    weights=None,
    name=None,
    *,
    input_tensor=None,
    pooling=None,
):
    """MobileNetV2 for small images, as in the paper's CIFAR-10 experiments (Tables 5 to 10).

    It differs from `MobileNetV2` in a stem of 16 channels at every width, without stride; a second stage
    without stride; an expand convolution in the first block; a convolution in the shortcut where the
    number of channels changes; and 1280 channels in the head at every width.

    Args:
        input_shape: `(height, width, channels)`, sizes of at least 32 pixels or None; by default that of
            `input_tensor`, or (32, 32, 3).
        width_multiplier: Scales the number of channels (0.35, 0.5, 0.75 and 1.0 in the paper).
        attention: An `Attention` or its `kind`: `"static"`, `"se-block"`, `"se"`, `"sb"`, `"dyconv"` or
            `"condconv"`.
        include_top: Whether to add pooling and classifier. Without it the output is the head's
            feature map, at 1/8 of the resolution.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; None for logits.
        dropout: Dropout rate before the classifier; the paper has none.
        weights: What the network begins with: None for random weights, or the path of a `.keras` file or run
            directory of this package. Weights of a static network go into the trunk of one with attention,
            where `"sb"` then begins with λ = 0. A classifier of another number of classes begins anew.
        name: Name of the model.
        input_tensor: A symbolic tensor of images to take instead of an input of its own. The model begins
            where the tensor comes from.
        pooling: Without the top, `"avg"` or `"max"` over the feature map, for vectors; None for the map.

    Returns:
        A functional `keras.Model` from images, normalized to mean 0 and deviation 1, to class probabilities.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    ```
    """
    attention = initial_attention(attention, weights)
    inputs = image_input(input_shape, width_multiplier, input_tensor=input_tensor, size=32)
    x = conv_norm_relu(inputs, 16, 3, 1, name="stem")
    stages = _scaled(CIFAR_STAGES, width_multiplier)
    x = inverted_residuals(x, stages, attention, always_expand=True, project_shortcut=True)
    x = conv_norm_relu(x, HEAD_FILTERS, 1, 1, name="head")
    name = name or f"cifar_mobilenet_v2_{attention.kind}"
    model = as_model(inputs, x, include_top, classes, classifier_activation, dropout, name, pooling)
    return load(model, inputs, weights, width_multiplier, "cifar_mobilenet_v2")
