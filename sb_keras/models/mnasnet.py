"""MnasNet (Tan et al., 2019), as in torchvision."""

import dataclasses

import keras

from sb_keras.attention import Attention
from sb_keras.layers.batch_norm import BatchNormalization
from sb_keras.models.convolutions import static_conv
from sb_keras.models.pretrained import initial_attention, load
from sb_keras.models.stages import (
    Stage,
    as_model,
    conv_norm_relu,
    image_input,
    inverted_residuals,
    make_divisible,
)

STAGES = (
    Stage(expand_ratio=3, filters=24, repeats=3, strides=2),
    Stage(expand_ratio=3, filters=40, repeats=3, strides=2, kernel_size=5),
    Stage(expand_ratio=6, filters=80, repeats=3, strides=2, kernel_size=5),
    Stage(expand_ratio=6, filters=96, repeats=2, strides=1),
    Stage(expand_ratio=6, filters=192, repeats=4, strides=2, kernel_size=5),
    Stage(expand_ratio=6, filters=320, repeats=1, strides=1),
)

# For detectors: output stride -> the last layer at that resolution.
MNASNET_TAPS = {
    2: "block2_expand_relu",
    4: "block5_expand_relu",
    8: "block8_expand_relu",
    16: "block13_expand_relu",
    32: "head_relu",
}


def MnasNet(
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
    """MnasNet (Tan et al., 2019) with the attention of the paper's Table 3.

    The parameters are torchvision's `mnasnet0_5` and its sisters, to the digit. Attention is in the
    inverted residual blocks; the first, separable block has none.

    Args:
        input_shape: `(height, width, channels)`, sizes of at least 32 pixels or None; by default that of
            `input_tensor`, or (224, 224, 3).
        width_multiplier: Scales the number of channels (0.5 in the paper).
        attention: An `Attention` or its `kind`: `"static"`, `"se-block"`, `"se"`, `"sb"`, `"dyconv"` or
            `"condconv"`.
        include_top: Whether to add pooling, dropout and classifier. Without it the output is
            the head's feature map, at 1/32 of the resolution.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; None for logits.
        dropout: Dropout rate before the classifier.
        weights: What the network begins with: None for random weights, or a path: a weight file of
            torchvision (`.pth`, `.safetensors`; with `padding="torch"`), a `.keras` file or run directory of
            this package. Weights of a static network go into the trunk of one with attention, where `"sb"`
            then begins with λ = 0. A classifier of another number of classes begins anew.
        padding: `"same"`, or `"torch"` for PyTorch's: the same number of zeros on both sides.
        name: Name of the model.
        input_tensor: A symbolic tensor of images to take instead of an input of its own. The model begins
            where the tensor comes from.
        pooling: Without the top, `"avg"` or `"max"` over the feature map, for vectors; None for the map.

    Returns:
        A functional `keras.Model` from images, normalized to mean 0 and deviation 1, to class
        probabilities. Detectors find its feature maps by the names in `MNASNET_TAPS`.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Example:

    ```python
    model = sb_keras.MnasNet(width_multiplier=0.5, attention="sb")
    ```
    """
    attention = initial_attention(attention, weights)
    inputs = image_input(input_shape, width_multiplier, padding, input_tensor)
    stem = make_divisible(32 * width_multiplier)
    x = conv_norm_relu(inputs, stem, 3, 2, name="stem", max_value=None, padding=padding)
    x = static_conv(x.shape[-1], 3, depthwise=True, name="block1_depthwise")(x)
    x = BatchNormalization(name="block1_depthwise_bn")(x)
    x = keras.layers.ReLU(name="block1_depthwise_relu")(x)
    x = static_conv(make_divisible(16 * width_multiplier), name="block1_project")(x)
    x = BatchNormalization(name="block1_project_bn")(x)
    stages = [
        dataclasses.replace(stage, filters=make_divisible(stage.filters * width_multiplier))
        for stage in STAGES
    ]
    x = inverted_residuals(x, stages, attention, first_block=2, max_value=None, padding=padding)
    x = conv_norm_relu(x, 1280, 1, 1, name="head", max_value=None)
    name = name or f"mnasnet_{attention.kind}"
    model = as_model(inputs, x, include_top, classes, classifier_activation, dropout, name, pooling)
    return load(model, inputs, weights, width_multiplier, "mnasnet")
