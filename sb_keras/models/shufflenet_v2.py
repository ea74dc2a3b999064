"""ShuffleNetV2 (Ma et al., 2018), as in torchvision."""

import keras

from sb_keras.attention import POSITIONS, Attention
from sb_keras.layers.channel_shuffle import ChannelShuffle
from sb_keras.models.convolutions import block_attention, conv_norm, padded
from sb_keras.models.pretrained import initial_attention, load
from sb_keras.models.stages import as_model, conv_norm_relu, image_input

# Ma et al., 2018, Table 5: width -> channels of stages 2 to 4 and of the head.
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
REPEATS = (4, 8, 4)

# For detectors: output stride -> the last layer at that resolution.
SHUFFLENET_V2_TAPS = {
    2: "stem_relu",
    4: "stem_pool",
    8: "stage2_unit4_shuffle",
    16: "stage3_unit8_shuffle",
    32: "head_relu",
}


def ShuffleNetV2(
    input_shape=None,
    width_multiplier=1.0,
    attention: str | Attention = "static",
    include_top=True,
    classes=1000,
    classifier_activation="softmax",
    dropout=0.0,
    weights=None,
    padding="same",
    name=None,
    *,
    input_tensor=None,
    pooling=None,
):
    """ShuffleNetV2 (Ma et al., 2018) with the attention of the paper's Table 3.

    The parameters are torchvision's `shufflenet_v2_x0_5` and its sisters, to the digit. Attention is
    on every convolution of both branches of every unit, with as many hidden units as output channels.

    Args:
        input_shape: `(height, width, channels)`, sizes of at least 32 pixels or None; by default that of
            `input_tensor`, or (224, 224, 3).
        width_multiplier: 0.5, 1.0, 1.5 or 2.0 for the published networks; other widths scale the
            channels of ×1.0.
        attention: An `Attention` or its `kind`: `"static"`, `"se-block"`, `"se"`, `"sb"`, `"dyconv"` or
            `"condconv"`.
        include_top: Whether to add pooling and classifier. Without it the output is the head's
            feature map, at 1/32 of the resolution.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; None for logits.
        dropout: Dropout rate before the classifier; the published network has none.
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
        probabilities. Detectors find its feature maps by the names in `SHUFFLENET_V2_TAPS`.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Example:

    ```python
    model = sb_keras.ShuffleNetV2(width_multiplier=0.5, attention="sb")
    ```
    """
    attention = initial_attention(attention, weights)
    inputs = image_input(input_shape, width_multiplier, padding, input_tensor)
    *stage_filters, head = CHANNELS.get(width_multiplier) or _scaled(width_multiplier)
    x = conv_norm_relu(inputs, 24, 3, 2, name="stem", max_value=None, padding=padding)
    # PyTorch pads with minus infinity, which is zero behind a ReLU.
    pool, x = padded(x, 3, 2, padding, "stem_pool")
    x = keras.layers.MaxPooling2D(3, 2, padding=pool, data_format="channels_last", name="stem_pool")(x)
    attentions = iter(attention.by_block(dict.fromkeys(range(1, sum(REPEATS) + 1), POSITIONS)).values())
    for stage, (filters, repeats) in enumerate(zip(stage_filters, REPEATS, strict=True), 2):
        for unit in range(1, repeats + 1):
            x = _unit(
                x, filters, 2 if unit == 1 else 1, next(attentions), f"stage{stage}_unit{unit}", padding
            )
    x = conv_norm_relu(x, head, 1, 1, name="head", max_value=None)
    name = name or f"shufflenet_v2_{attention.kind}"
    model = as_model(inputs, x, include_top, classes, classifier_activation, dropout, name, pooling)
    return load(model, inputs, weights, width_multiplier, "shufflenet_v2")


def _scaled(width_multiplier):
    """Even numbers, since every unit splits its channels in two."""
    *stages, head = CHANNELS[1.0]
    even = [max(2, 2 * round(filters * width_multiplier / 2)) for filters in stages]
    return *even, round(head * max(1.0, width_multiplier))


def _unit(x, filters, strides, attention, name, padding):
    half = filters // 2
    if strides == 1:
        shortcut, x = keras.ops.split(x, 2, axis=-1)
    else:
        shortcut = conv_norm(
            attention,
            "depthwise",
            x.shape[-1],
            kernel_size=3,
            strides=strides,
            name=f"{name}_shortcut_depthwise",
            padding=padding,
        )(x)
        shortcut = conv_norm(attention, "project", half, name=f"{name}_shortcut_project")(shortcut)
        shortcut = keras.layers.ReLU(name=f"{name}_shortcut_relu")(shortcut)
    x = conv_norm(attention, "expand", half, name=f"{name}_expand")(x)
    x = keras.layers.ReLU(name=f"{name}_expand_relu")(x)
    x = conv_norm(
        attention,
        "depthwise",
        half,
        kernel_size=3,
        strides=strides,
        name=f"{name}_depthwise",
        padding=padding,
    )(x)
    x = conv_norm(attention, "project", half, name=f"{name}_project")(x)
    x = keras.layers.ReLU(name=f"{name}_project_relu")(x)
    x = block_attention(attention, half, name=name)(x)
    x = keras.layers.Concatenate(name=f"{name}_concat")([shortcut, x])
    return ChannelShuffle(2, data_format="channels_last", name=f"{name}_shuffle")(x)
