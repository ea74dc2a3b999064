"""What quantization costs: top-1 of the Keras model, the folded one and the file, and the worst layers."""

import re
import warnings

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import sb_keras
from sb_keras.table import format_table
from tflite.interpreter import dequantized, predict, quantized

IMAGES_FOR_LAYERS = 20
WORST = 10


def accuracies(model, content, images, pixels, labels, progress=False):
    """Top-1 accuracy, in percent, of the Keras model, the folded model and the file on the same images.

    Args:
        model: The Keras model as trained.
        content: The bytes of the .tflite file.
        images: Images as the Keras model takes them, (n, height, width, 3).
        pixels: The same images as the file takes them.
        labels: Their classes, (n,).
        progress: Whether to count the images on standard error.

    Returns:
        A dictionary of the three.
    """
    interpreter = Interpreter(model_content=content, num_threads=2)
    interpreter.allocate_tensors()
    outputs = {
        "Keras": model.predict(images, batch_size=250, verbose=0),
        "folded": sb_keras.fold(model).predict(images, batch_size=250, verbose=0),
        "TFLite": predict(interpreter, pixels, progress),
    }
    return {name: 100 * np.mean(output.argmax(-1) == labels) for name, output in outputs.items()}


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


def report(rows):
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
