"""What the backbones share: stage tables, convolution units, inverted residuals, the classifier."""

import dataclasses
import numbers

import keras

from sb_keras.arguments import check_choice, check_positive, check_positive_integer, check_rate
from sb_keras.attention import POSITIONS
from sb_keras.layers.batch_norm import BatchNormalization
from sb_keras.models.convolutions import block_attention, conv_norm, static_conv

SMALLEST_INPUT = 32  # pixels; the networks halve their input five times


@dataclasses.dataclass(frozen=True)
class Stage:
    """A row of a backbone's table: `repeats` inverted residual blocks, the first with `strides`."""

    expand_ratio: float
    filters: int
    repeats: int
    strides: int
    kernel_size: int = 3


def make_divisible(value, divisor=8):
    """Rounds to a multiple of `divisor` that is not more than 10 % smaller (Sandler et al., 2018)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def conv_norm_relu(x, filters, kernel_size, strides, name, max_value: float | None = 6.0, padding="same"):
    """A convolution without attention, batch normalization and ReLU6 (or ReLU)."""
    x = static_conv(filters, kernel_size, strides, name=name, padding=padding)(x)
    x = BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value, name=f"{name}_relu")(x)


def inverted_residuals(
    x,
    stages,
    attention,
    *,
    first_block=1,
    always_expand=False,
    project_shortcut=False,
    max_value: float | None = 6.0,
    padding="same",
):
    """Stacks the blocks of `stages` (MobileNetV2's and MnasNet's one block function).

    Args:
        x: Input tensor.
        stages: `Stage` rows.
        attention: An `Attention`.
        first_block: Number of the first block; blocks are named `block1_…`, `block2_…`.
        always_expand: Whether a block with an expand ratio of 1 has an expand convolution.
        project_shortcut: Whether a block that keeps the resolution and changes the number of channels
            has a shortcut, through a 1×1 convolution.
        max_value: ReLU's upper bound; None for none.
        padding: `"same"` or `"torch"`.

    Returns:
        The last block's output tensor.
    """
    blocks = [
        dataclasses.replace(stage, strides=1 if repeat else stage.strides)
        for stage in stages
        for repeat in range(stage.repeats)
    ]
    positions = [POSITIONS if always_expand or each.expand_ratio != 1 else POSITIONS[1:] for each in blocks]
    attentions = attention.by_block(dict(enumerate(positions, first_block)))
    for block, (number, own) in zip(blocks, attentions.items(), strict=True):
        name = f"block{number}"
        x = _inverted_residual(x, block, own, always_expand, project_shortcut, max_value, name, padding)
    return x


def _inverted_residual(x, stage, attention, always_expand, project_shortcut, max_value, name, padding):
    shortcut, channels = x, x.shape[-1]
    expanded = round(stage.expand_ratio * channels)
    if stage.expand_ratio != 1 or always_expand:
        x = conv_norm(attention, "expand", expanded, name=f"{name}_expand")(x)
        x = keras.layers.ReLU(max_value, name=f"{name}_expand_relu")(x)
    x = conv_norm(
        attention,
        "depthwise",
        expanded,
        kernel_size=stage.kernel_size,
        strides=stage.strides,
        hidden_units=expanded // 6,  # paper, section 5.1
        name=f"{name}_depthwise",
        padding=padding,
    )(x)
    x = keras.layers.ReLU(max_value, name=f"{name}_depthwise_relu")(x)
    x = conv_norm(attention, "project", stage.filters, name=f"{name}_project")(x)
    x = block_attention(attention, stage.filters, name=name)(x)

    if stage.strides != 1:
        return x
    if channels != stage.filters:
        if not project_shortcut:
            return x
        shortcut = static_conv(stage.filters, name=f"{name}_shortcut")(shortcut)
        shortcut = BatchNormalization(name=f"{name}_shortcut_bn")(shortcut)
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])


def image_input(input_shape, width_multiplier, padding="same", input_tensor=None, size=224):
    """Checks a builder's arguments and makes its input, unless `input_tensor` is it.

    Without a shape it is that of `input_tensor` or, as in keras.applications, (size, size, 3).
    """
    check_positive("width_multiplier", width_multiplier)
    check_choice("padding", padding, ("same", "torch"))
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor):
            raise ValueError(
                "`input_tensor` must be a symbolic tensor, as keras.Input gives. "
                f"Received: input_tensor={input_tensor!r}"
            )
        shape = tuple(input_tensor.shape[1:])
        if input_shape not in (None, shape, list(shape)):
            raise ValueError(
                f"`input_shape` must be that of `input_tensor`, {shape}, or None. Received: "
                f"input_shape={input_shape!r}"
            )
        input_shape = shape
    elif input_shape is None:
        input_shape = (size, size, 3)
    if not _is_image_shape(input_shape):
        raise ValueError(
            "`input_shape` must be (height, width, channels), with a height and width of at least "
            f"{SMALLEST_INPUT} pixels, or None. Received: input_shape={input_shape!r}"
        )
    return keras.Input(tuple(input_shape), name="image") if input_tensor is None else input_tensor


def _is_image_shape(shape):
    def is_size(size, smallest):
        return isinstance(size, numbers.Integral) and size >= smallest

    return (
        isinstance(shape, (list, tuple))
        and len(shape) == 3
        and all(size is None or is_size(size, SMALLEST_INPUT) for size in shape[:2])
        and is_size(shape[2], 1)
    )


def as_model(inputs, x, include_top, classes, classifier_activation, dropout, name, pooling=None):
    """Adds the classifier or the pooling that is asked for, and makes the functional model.

    It begins where `inputs` come from: what a user has put in front of an `input_tensor` is part of it.
    """
    check_choice("pooling", pooling, (None, "avg", "max"))
    if include_top:
        if pooling is not None:
            raise ValueError(
                "`pooling` needs include_top=False: the classifier has its own. Received: "
                f"pooling={pooling!r}"
            )
        check_positive_integer("classes", classes)
        check_rate("dropout", dropout)
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        x = keras.layers.Dense(
            classes,
            activation=classifier_activation,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            dtype="float32",  # a softmax over many classes loses too much in half precision
            name="predictions",
        )(x)
    elif pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="pool")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(data_format="channels_last", name="pool")(x)
    sources = keras.utils.get_source_inputs(inputs)
    return keras.Model(sources[0] if len(sources) == 1 else sources, x, name=name)
