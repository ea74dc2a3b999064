"""From a Keras model to the bytes of a .tflite file: folding, normalization, quantization, metadata."""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np

import sb_keras
from recipes.data import middle, to_pixels
from recipes.errors import UserError
from recipes.tasks import TASKS
from sb_keras.graph import as_functional, inner_layers, operation_of, tensor_names
from sb_keras.layers import DynamicConv
from sb_keras.layers.affine import call_with
from tflite import model_file
from tflite.converter import converted
from tflite.detector import add_detection, is_detector
from tflite.metadata import Metadata, add_metadata
from tflite.quantize import as_images, make_unsigned, quantize_file

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "qat-int8")
CALIBRATED = ("int8", "qat-int8")
CALIBRATION_IMAGES = 500
# Of a file that takes pixels from 0 to 255 and normalizes them itself.
PLAIN_PIXELS: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}


def convert(model, quantize="float32", calibration=None, labels=None, normalization=None):
    """Converts a network to a TFLite model that gives the same answers.

    The network is folded first (`sb_keras.fold`). The result takes one image, and more after the
    interpreter's `resize_tensor_input`, unless it has dynamic convolutions or detects. It needs no Flex
    operators, and has the model's outputs in the model's order. In its signature, `serving_default`, input
    and outputs bear the names of the model's: of layers or, of a dictionary, its keys; of a layer's two
    outputs `head` the second one is `head_1`.
    That of an `SSDLite` gives boxes, classes, scores and their number; see `tflite.detector`.

    Args:
        model: A functional Keras model with a known image size, on the TensorFlow backend.
        quantize: `"float32"`; `"float16"` weights; `"dynamic"`: 8-bit weights; `"int8"`: 8-bit integers
            throughout, input and output included; `"qat-int8"`: the same, after fine-tuning with it.
        calibration: Representative images for the last two, preprocessed as for training: a float array
            (n, height, width, channels) or an iterable of such batches. The others do not need them.
        labels: Names of the classes in the order of the outputs. They go into the file as `labels.txt`, in
            the zip archive at its end (`unzip -p model.tflite labels.txt`), where TFLite's tools look for it.
        normalization: Mean and standard deviation of each channel, of pixels in [0, 1], that images were
            normalized with for training. With them the result takes pixels from 0 to 255 and normalizes
            them itself, which its metadata say, and its integers are unsigned; without, it takes what `model`
            takes.

    Returns:
        The bytes of the .tflite file.

    Raises:
        ValueError: If an argument is unknown or missing, the image size is unknown, or the model has
            layers that cannot be quantized so.

    Example:

    ```python
    model = sb_keras.CifarMobileNetV2(width_multiplier=0.35, attention="sb")
    content = convert(model)
    ```
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"`quantize` must be one of {QUANTIZATIONS}. Received: quantize={quantize!r}")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"`convert` needs Keras's TensorFlow backend. Received: {keras.backend.backend()}")
    images = None
    if quantize in CALIBRATED:
        images = as_images(calibration, image_shape(model))
        if normalization is not None:
            images = to_pixels(images, *normalization)
    metadata = None
    if labels is not None or normalization is not None:
        plain = PLAIN_PIXELS if normalization is not None else {}
        metadata = Metadata(name=model.name, labels=None if labels is None else tuple(labels), **plain)
    try:
        return build(model, quantize, images, normalization, metadata)
    except UserError as error:
        raise ValueError(str(error)) from error


def build(
    model,
    quantize="float32",
    images=None,
    normalization=None,
    metadata=None,
    fine_tuning=None,
    whole_size=None,
):
    """As `convert`, of images as the file takes them.

    Args:
        model: As for `convert`.
        quantize: As for `convert`.
        images: Representative images where integers are computed with; for `"qat-int8"` also a
            `tf.data.Dataset` of batches of them, one pass over which is an epoch of the fine-tuning.
        normalization: As for `convert`; with it, the images are pixels from 0 to 255.
        metadata: The file's `tflite.metadata.Metadata`; None for none.
        fine_tuning: Further arguments of `tflite.compression.quantization_aware`, by name.
        whole_size: Height and width of the pictures that the file takes, if they are larger than what the
            network sees of them, the middle; None for the same.

    Returns:
        The bytes of the .tflite file.

    Raises:
        ValueError: As `convert`.
        UserError: If the network cannot be fine-tuned so, or a label is not one line of text.
    """
    *sides, channels = image_shape(model)
    is_part = whole_size not in (None, *sides)
    if normalization is not None and [np.shape(values) for values in normalization] != [(channels,)] * 2:
        raise ValueError(
            f"`normalization` must be a mean and a standard deviation for each of the model's {channels} "
            f"channels. Received: {normalization}"
        )
    folded, detector, integers = sb_keras.fold(model), is_detector(model), quantize in CALIBRATED
    labels = None if metadata is None else metadata.labels
    classes = [TASKS["detection"].classes_of(model)] if detector else [out.shape[-1] for out in model.outputs]
    if labels is not None and len(labels) not in classes:
        expected = " or ".join(map(str, dict.fromkeys(filter(None, classes)))) or "unknown"
        raise ValueError(f"`labels` must name the model's {expected} classes. Received: {len(labels)} names")
    if integers:
        check_fixed_kernels(folded)
    if metadata is not None and any(isinstance(layer, DynamicConv) for layer in inner_layers(folded)):
        description = f"{metadata.description}; takes one image at a time".removeprefix("; ")
        metadata = dataclasses.replace(metadata, description=description)
    # Folding may take away the layer that an output is named after.
    names = tensor_names(as_functional(model).output)
    input_range = None
    if normalization is not None:
        folded, input_range = normalizing(folded, *normalization), (0.0, 255.0)
    if quantize == "qat-int8":
        from tflite.compression import quantization_aware  # tf_keras and TFMOT take seconds to import

        settings = {"input_range": input_range, "output_names": names, **(fine_tuning or {})}
        content = quantization_aware(folded, images, **settings)
    else:
        content = converted(folded, names)
        if quantize != "float32":
            content = quantize_file(content, quantize, images, input_range)
    edits = [
        *([functools.partial(model_file.order_outputs, names=names)] if len(names) > 1 else []),
        *([add_detection] if detector else []),
        *([make_unsigned] if integers and normalization is not None else []),
        *([functools.partial(model_file.take_middle, size=whole_size)] if is_part else []),
    ]
    if edits:
        content = model_file.edited(content, *edits)
    return content if metadata is None else add_metadata(content, metadata)


def pixel_input(data):
    """What a file takes that is fed with pictures: arguments of `build`.

    Args:
        data: The recipe's `recipes.settings.Data`.
    """
    return {"normalization": (data.mean, data.std), "whole_size": data.whole_size}


def image_shape(model):
    """Height, width and channels of what a model takes.

    Raises:
        ValueError: If it takes something else than one image of known size.
    """
    shapes = [tensor.shape for tensor in as_functional(model).inputs]
    if len(shapes) != 1 or None in shapes[0][1:]:
        raise ValueError(f"`model` must have one input of known size. Received inputs of shape {shapes}")
    return shapes[0][1:]


def check_fixed_kernels(model):
    """Raises a `ValueError` if a layer computes its kernel for every image."""
    for layer in inner_layers(model):
        if isinstance(layer, DynamicConv):
            raise ValueError(
                f"Layer '{layer.name}' is a dynamic convolution: it computes its kernel for every image, "
                "and integers need one whose range is known. Expected: float32, float16 or dynamic"
            )


def normalizing(model, mean, std):
    """The same network behind (pixels / 255 − mean) / std, as a depthwise convolution.

    It cannot go into the first convolution, whose zero padding stands for the mean color.
    """
    scale, shift = 1 / (255 * np.asarray(std)), -np.asarray(mean) / np.asarray(std)
    layer = keras.layers.DepthwiseConv2D(1, data_format="channels_last", dtype="float32", name="normalized")

    def behind(tensor):
        # A graph holds numbers as well, as in x / 127.5.
        is_tensor = isinstance(tensor, keras.KerasTensor)
        is_input = is_tensor and isinstance(operation_of(tensor), keras.layers.InputLayer)
        return call_with(layer, tensor, scale.reshape(1, 1, -1, 1), shift) if is_input else tensor

    def call(operation, *args, **kwargs):
        args, kwargs = keras.tree.map_structure(behind, (args, kwargs))
        return operation(*args, **kwargs)

    network = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(network.input, keras.tree.map_structure(behind, network.output), name=model.name)


def metadata_of(run, quantize="float32", author="", license=""):
    """What the file of a run's network says about itself.

    Args:
        run: The `recipes.run_directory.RunDirectory` that it comes from.
        quantize: How it is quantized.
        author: Who made it.
        license: Under what terms it may be used.

    Returns:
        A `tflite.metadata.Metadata` of a file that takes pixels.
    """
    recipe, model = run.recipe, run.recipe.model
    return Metadata(
        name=recipe.name,
        description=f"{model.builder} ×{model.width_multiplier:g}, {model.attention.kind} attention, "
        f"{quantize}; trained on {recipe.data.name}{_seen(recipe.data)}",
        version=sb_keras.__version__,
        author=author,
        license=license,
        labels=run.classes,
        **PLAIN_PIXELS,
        recipe=recipe.to_json(),
    )


def _seen(data):
    whole, seen = data.whole_size, data.image_size
    return "" if seen == whole else f"; of {whole}×{whole} pixels it sees the middle {seen}×{seen}"


def sampled_pixels(dataset, recipe, count=CALIBRATION_IMAGES):
    """Representative training images for quantization, as pixels: a float32 array (n, height, width, 3).

    Args:
        dataset: The recipe's `recipes.data.Dataset`.
        recipe: The recipe; its seed decides the draw.
        count: How many, at most.
    """
    sample = dataset.train.sample(count, recipe.seed)
    batches = sample.pixel_batches(recipe.data, 100)
    return np.concatenate([middle(np.asarray(pixels), recipe.data.image_size) for pixels, _ in batches])
