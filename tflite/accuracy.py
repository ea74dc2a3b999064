"""What files score beside the Keras models that they come from, and which layers lose most."""

import re
import warnings

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from recipes.command import progress
from recipes.tasks.detection import average_precisions
from recipes.tasks.detection import detect as detect_by_keras
from sb_keras.table import format_table
from tflite.detector import run_detector
from tflite.interpreter import dequantized, predict, quantized

IMAGES_FOR_LAYERS = 20
WORST = 10
BATCH = 32  # with 250 pictures of 224 pixels an evaluation takes 3 GB, not 1.3


def scores(models, interpreters, split, recipe, inputs=None):
    """What Keras models and a file score on the same pictures, in percent.

    Args:
        models: Keras models by name.
        interpreters: One or several of the file, as of `tflite.interpreter.run_all`.
        split: The pictures.
        recipe: Their recipe.
        inputs: A function from pixels to what the file takes; None for one that takes pixels.

    Returns:
        Accuracy (top-1) or, of detectors, VOC2007's mean average precision: by name, `"TFLite"` for the file.
    """
    if recipe.data.task == "detection":
        split.check(None, f"the first {len(split)} test images")  # `--images` may take few
        found = {name: _found_by_keras(model, split, recipe) for name, model in models.items()}
        found["TFLite"] = run_detector(interpreters, [_file_images(split, recipe.data, inputs)])
        return {name: mean_average_precision(split, each) for name, each in found.items()}
    outputs = class_outputs(models, interpreters, split, recipe.data, inputs)
    labels = split.labels
    return {name: 100 * np.mean(output.argmax(-1) == labels) for name, output in outputs.items()}


def class_outputs(models, interpreters, split, data, inputs=None):
    """What classifiers answer; arguments as of `scores`.

    Returns:
        An array (n, classes) for every model by its name, and `"TFLite"` for the file.
    """
    outputs = {
        name: model.predict(split.evaluation_batches(data, BATCH), verbose=0)
        for name, model in models.items()
    }
    outputs["TFLite"] = predict(interpreters, _file_images(split, data, inputs))
    return outputs


def mean_average_precision(split, found):
    """VOC2007's, in percent."""
    eleven_point, _ = average_precisions(split, found, 1 + int(split.labels.max()))
    return 100 * eleven_point.mean()


def pixels_of(split, data):
    """The pictures of a split, one by one, as pixels from 0 to 255."""
    for pixels, _ in split.pixel_batches(data, BATCH):
        yield from np.asarray(pixels)


def _file_images(split, data, inputs):
    """The pictures one by one as the file takes them; on a terminal they are counted."""
    images = progress(pixels_of(split, data), len(split))
    return images if inputs is None else map(inputs, images)


def _found_by_keras(model, split, recipe):
    return [each for _, _, detections in detect_by_keras(model, split, recipe) for each in detections]


def worst_layers(layers, reference, content, pixels):
    """Where a quantized file departs from the float32 file of the same network.

    Args:
        layers: Names of the network's layers.
        reference: The bytes of the float32 file.
        content: The bytes of the quantized file.
        pixels: Images as the files take them; a few will do.

    Returns:
        (layer, error), the largest first: the root mean square of the difference of a layer's outputs, as
        a share of that of the outputs.
    """
    expected, actual = (_activations(each, layers, pixels) for each in (reference, content))
    errors = {
        name: np.sqrt(np.mean((actual[name] - expected[name]) ** 2) / (np.mean(expected[name] ** 2) + 1e-30))
        for name in expected.keys() & actual.keys()
        if actual[name].shape == expected[name].shape
    }
    return sorted(errors.items(), key=lambda item: -item[1])


def layer_report(rows):
    """A table of the worst layers."""
    return format_table(
        ("layer", "error"), [(name, f"{error:.1%}") for name, error in rows[:WORST]], align="<>"
    )


def _activations(content, layers, pixels):
    """For every layer that can be found in a file its outputs, as floats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    tensors = {}
    for tensor in interpreter.get_tensor_details():
        for part in re.split("[/;]", tensor["name"]):
            # A network that is traced again has other names: `conv_1` for `conv`.
            for name in (part, re.sub(r"_\d+$", "", part)):
                if name in layers:
                    tensors[name] = tensor  # the last one is the layer's output
    values = {name: [] for name in tensors}
    for image in pixels:
        interpreter.set_tensor(source["index"], quantized(image[None], source))
        interpreter.invoke()
        for name, tensor in tensors.items():
            values[name].append(dequantized(interpreter.get_tensor(tensor["index"]), tensor))
    return {name: np.stack(each) for name, each in values.items()}
