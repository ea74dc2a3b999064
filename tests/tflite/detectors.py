"""Detectors whose files are compared with Keras."""

import pathlib
import sys

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import sb_keras
from recipes.registry import RECIPES
from recipes.tasks.detection import by_picture
from sb_keras.detection import detect, ssdlite_anchors
from tflite.detector import run_detector

sys.path.append(str(pathlib.Path(__file__).parents[1] / "recipes"))
from shapes import shapes_dataset


def rectangles(size):
    """Pictures of rectangles as pixels, (8, size, size, 3)."""
    recipe = RECIPES["voc-ssdlite-mobilenetv2-sb"].override([f"data.image_size={size}"])
    ((images, _),) = shapes_dataset().test.evaluation_batches(recipe.data, 8).as_numpy_iterator()
    return np.round(images * 128 + 127).astype("float32")


def detector(pixels, width=0.35):
    """A detector that is sure enough of some boxes, each of another class: its heads are not at rest."""
    keras.utils.set_random_seed(0)
    attention = sb_keras.Attention("sb", positions=("expand",))
    model = sb_keras.SSDLite(width, attention, classes=3, input_shape=pixels.shape[1:])
    generator = np.random.default_rng(0)
    for layer in model.layers:  # moving averages of an untrained network: those of the pictures
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model((pixels - 127) / 128, training=True)
    heads = [model.get_layer(f"{head}{number}") for number in range(1, 7) for head in ("classes", "boxes")]
    for layer in heads:
        layer.kernel.assign(generator.normal(0, 1, layer.kernel.shape))
    outputs = keras.Model(model.input, [layer.output for layer in heads])(pixels / 128 - 1)
    for layer, output in zip(heads, outputs, strict=True):  # logits and offsets that vary by about 1
        layer.kernel.assign(layer.kernel / np.std(output))
    return model


def opened(content):
    interpreter = Interpreter(model_content=content, num_threads=2)
    interpreter.allocate_tensors()
    return interpreter


def by_keras(model, pixels):
    outputs = model((pixels - 127) / 128)
    anchors = ssdlite_anchors(pixels.shape[1:])
    found = keras.tree.map_structure(lambda x: x.numpy(), detect(outputs, anchors))
    return by_picture(found)


def assert_the_same_is_found(model, content, pixels):
    for actual, expected in zip(
        run_detector(opened(content), [pixels]), by_keras(model, pixels), strict=True
    ):
        assert len(expected["scores"]) > 10
        # The hundredth box may be another one where scores are as good as equal.
        best = int(np.sum(expected["scores"] > expected["scores"][-1] + 1e-4))
        assert best > 10
        missing = 0
        for row in range(best):  # of two that score the same to five digits, either may come first
            same = (
                (actual["classes"] == expected["classes"][row])
                & (np.abs(actual["scores"] - expected["scores"][row]) < 1e-4)
                & np.all(np.abs(actual["boxes_yxyx"] - expected["boxes_yxyx"][row]) < 1e-3, axis=-1)
            )
            missing += not same.any()
        assert missing <= 2  # whose overlap with a better one is the limit, to float32's digits
