"""A .tflite file as a function from float images to float outputs, whatever its tensors hold."""

import collections
import concurrent.futures
import pathlib
import queue

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from recipes.command import quiet
from recipes.errors import UserError
from recipes.processor import cores


def open_content(content, threads=2):
    """A LiteRT interpreter for the bytes of a file, ready to run."""
    with quiet():  # it says that it has XNNPACK
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def open_interpreter(path, threads=1):
    """A LiteRT interpreter for a file, ready to run.

    Raises:
        UserError: If the file is missing or LiteRT cannot load it.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f"no such file: {path}")
    try:
        with quiet():
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"LiteRT cannot load {path}: {' '.join(str(error).split())}") from error
    return interpreter


def open_on_all_cores(content):
    """Interpreters for the bytes of a file, one a core, as `run_all` takes them."""
    return [open_content(content, threads=1) for _ in range(cores())]


def run_all(run, interpreters, images):
    """Yields `run(interpreter, image)` for every image, in order.

    Args:
        run: Such a function.
        interpreters: An interpreter, or several of the same file, which run at once, each in a thread: LiteRT
            computes without Python's lock.
        images: An iterable; a few images are read ahead.
    """
    interpreters = interpreters if isinstance(interpreters, list) else [interpreters]
    idle = queue.SimpleQueue()
    for interpreter in interpreters:
        idle.put(interpreter)

    def answer(image):
        interpreter = idle.get()
        try:
            return run(interpreter, image)
        finally:
            idle.put(interpreter)

    with concurrent.futures.ThreadPoolExecutor(len(interpreters)) as pool:
        begun = collections.deque()
        for image in images:
            begun.append(pool.submit(answer, image))
            if len(begun) > 2 * len(interpreters):
                yield begun.popleft().result()
        for future in begun:
            yield future.result()


def predict(interpreters, images):
    """Runs a classifier's file on images one by one.

    Args:
        interpreters: One or several, as of `run_all`, with one input and one output, of float32 or of
            quantized integers.
        images: Floats as the file takes them: (n, height, width, channels), or an iterable of (height, width,
            channels).

    Returns:
        A float array (n, classes).
    """
    return np.stack(list(run_all(_probabilities, interpreters, images)))


def _probabilities(interpreter, image):
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(source["index"], quantized(image[None], source))
    interpreter.invoke()
    return dequantized(interpreter.get_tensor(target["index"])[0], target)


def find_objects(interpreter, image):
    """What a detector's file finds on an image.

    Args:
        interpreter: An interpreter of a file with TFLite's four outputs of a detector.
        image: Floats as the file takes them: (height, width, channels).

    Returns:
        A dictionary of `boxes_yxyx`, relative to the image and cut off at its border, `classes` and `scores`.
    """
    (source,) = interpreter.get_input_details()
    interpreter.set_tensor(source["index"], quantized(image[None], source))
    interpreter.invoke()
    targets = [tensor["index"] for tensor in interpreter.get_output_details()]
    boxes, classes, scores, count = (interpreter.get_tensor(target)[0] for target in targets)
    count = int(count)
    return {
        "boxes_yxyx": np.clip(boxes[:count], 0, 1),
        "classes": classes[:count].astype("int32"),
        "scores": scores[:count],
    }


def quantized(values, tensor):
    """Float values as a tensor holds them: round(values / scale) + zero point, or as they are in floats.

    Args:
        values: Float array.
        tensor: The tensor's details, as LiteRT's interpreter lists them.
    """
    dtype, (scale, zero_point) = tensor["dtype"], tensor["quantization"]
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(dtype)


def dequantized(values, tensor):
    """What a tensor's values stand for, as float32; see `quantized`."""
    scale, zero_point = tensor["quantization"]
    if np.issubdtype(tensor["dtype"], np.floating):
        return values.astype("float32")
    return (values.astype("float32") - zero_point) * np.float32(scale)
