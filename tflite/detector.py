"""A detector's file: from the network's logits and offsets to boxes, classes, scores and their number.

The operator is TFLite's `TFLite_Detection_PostProcess`
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/kernels/detection_postprocess.cc), which
its object-detection tools, MediaPipe and LiteRT have built in. It goes behind a network that is quantized
already, and works in floats: logits and offsets keep scales of their own until there.
"""

import functools
import itertools

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from sb_keras.detection import ssdlite_anchors
from sb_keras.detection.boxes import VARIANCES
from sb_keras.graph import as_functional, tensor_names
from tflite import model_file
from tflite.interpreter import find_objects, run_all
from tflite.metadata import DETECTION_OUTPUTS

DETECTIONS = 100
# The operator's suppression never finds the class whose number is that of the threads, if there are several
# (https://github.com/tensorflow/tensorflow/issues/56058). So many classes that are never seen come first.
IDLE_CLASSES = 32
OPTIONS = {  # those of `sb_keras.detection.detect`
    "max_detections": DETECTIONS,
    "max_classes_per_detection": 1,
    "detections_per_class": 100,
    "use_regular_nms": True,
    "nms_score_threshold": 0.01,
    "nms_iou_threshold": 0.45,
    **{f"{name}_scale": 1 / variance for name, variance in zip("yxhw", VARIANCES, strict=True)},
}


def is_detector(model):
    """Whether a Keras model has the outputs of `sb_keras.SSDLite`, with its anchors."""
    functional = as_functional(model)
    outputs = functional.output
    shapes = {
        name: tuple(tensor.shape[1:])
        for name, tensor in zip(tensor_names(outputs), keras.tree.flatten(outputs), strict=True)
    }
    match shapes:
        case {"classes": (logits, _), "boxes": (offsets, 4)} if len(shapes) == 2 and logits == offsets:
            try:
                return logits == len(ssdlite_anchors(functional.inputs[0].shape[1:]))
            except ValueError:  # it takes no such pictures
                return False
    return False


def add_detection(model):
    """Puts softmax, decoding and suppression behind a network.

    The outputs become those of TFLite's detectors: boxes (1, 100, 4) as ymin, xmin, ymax and xmax relative to
    the image, classes from 0 (1, 100), scores (1, 100), and their number (1,), in floats.

    Args:
        model: The `ModelT` of a file with the outputs `classes`, logits (1, anchors, classes + 1), and
            `boxes`, offsets (1, anchors, 4), in floats or integers. The shape of its input tells the anchors.
            It is changed.
    """
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    ends = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}

    add_tensor = functools.partial(model_file.add_tensor, model)
    constant = functools.partial(model_file.add_constant, model)
    add_operator = functools.partial(model_file.add_operator, model)

    def as_floats(name):
        tensor = graph.tensors[ends[name]]
        if tensor.type == schema.TensorType.FLOAT32:
            return ends[name]
        floats = add_tensor(f"{name}_float", tensor.shape)
        add_operator("DEQUANTIZE", [ends[name]], [floats], version=2)
        return floats

    logits, offsets = as_floats("classes"), as_floats("boxes")
    _, count, columns = (int(side) for side in graph.tensors[logits].shape)
    classes = columns - 1
    probabilities = add_tensor("probabilities", (1, count, columns))
    add_operator("SOFTMAX", [logits], [probabilities], beta=1.0)
    objects = add_tensor("objects", (1, count, classes))
    begin, size = constant("begin", [0, 0, 1]), constant("size", [1, count, classes])
    add_operator("SLICE", [probabilities, begin, size], [objects])
    scores = add_tensor("scores", (1, count, IDLE_CLASSES + classes))
    add_operator("PAD", [objects, constant("paddings", [[0, 0], [0, 0], [IDLE_CLASSES, 0]])], [scores])

    shapes = ((1, DETECTIONS, 4), (1, DETECTIONS), (1, DETECTIONS), (1,))
    found = [add_tensor(name, shape) for name, shape in zip(DETECTION_OUTPUTS, shapes, strict=True)]
    shifted = add_tensor("shifted_classes", shapes[1])
    input_shape = np.asarray(graph.tensors[graph.inputs[0]].shape).tolist()[1:]
    anchors = constant("anchors", ssdlite_anchors(input_shape), "float32")
    outputs = [found[0], shifted, *found[2:]]
    code, operator = add_operator("CUSTOM", [offsets, scores, anchors], outputs)
    code.customCode = b"TFLite_Detection_PostProcess"
    options = flexbuffers.Dumps({**OPTIONS, "num_classes": IDLE_CLASSES + classes})
    operator.customOptions = np.frombuffer(options, np.uint8)
    add_operator(
        "SUB",
        [shifted, constant("idle_classes", [IDLE_CLASSES], "float32")],
        [found[1]],
        fusedActivationFunction=schema.ActivationFunctionType.RELU,  # what follows the last one is zeros
    )
    graph.outputs = np.array(found, "int32")
    signature.outputs = [
        schema.TensorMapT(name.encode(), index) for name, index in zip(DETECTION_OUTPUTS, found, strict=True)
    ]


def run_detector(interpreters, batches):
    """What a detector's file finds.

    Args:
        interpreters: One or several of such a file, as of `tflite.interpreter.run_all`.
        batches: Batches of images as the file takes them, floats (n, height, width, 3).

    Returns:
        For every picture `boxes_yxyx`, cut off at its border, `classes` and `scores`.
    """
    return list(run_all(find_objects, interpreters, itertools.chain.from_iterable(batches)))
