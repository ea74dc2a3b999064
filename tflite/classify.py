"""Says what a picture shows, with a .tflite file that tflite.convert wrote.

    python -m tflite.classify IMAGE --model FILE.tflite

Needs ai-edge-litert, numpy and pillow only, neither TensorFlow nor Keras: for a Raspberry Pi, for example.
Class names and normalization are read from the file.
"""

import pathlib
import sys

import numpy as np
from PIL import Image

if not __package__:  # run as `python tflite/classify.py`: imports start at the root of the checkout
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from recipes.command import Parser, exit_code
from recipes.data.image_files import read_rgb
from recipes.errors import UserError, check_in_range
from tflite.interpreter import open_interpreter, predict
from tflite.metadata import read_metadata


def read_image(path, height, width):
    """Reads a picture as RGB pixels of a given size.

    It is read as by `recipes.data.image_files.read_rgb`, and the whole picture is stretched to the size, by
    triangular interpolation with antialiasing, as `recipes.data` does for training.

    Args:
        path: Path of a picture in any format that Pillow reads.
        height: Height in pixels.
        width: Width in pixels.

    Returns:
        A uint8 array (height, width, 3).

    Raises:
        UserError: If it is no picture, or damaged.

    Example:

    ```python
    pixels = read_image("photo.jpg", 32, 32)
    ```
    """
    resized = read_rgb(path).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def classify(image, model):
    """Probabilities of the classes that a model knows, for one picture.

    Args:
        image: Path of the picture.
        model: Path of a .tflite file that takes one RGB image and gives a number for each class.

    Returns:
        Pairs of class name and probability, the most probable first.

    Raises:
        UserError: If one of the files is not what it should be.

    Example:

    ```python
    for label, probability in classify("photo.jpg", "digits.tflite")[:5]:
        print(label, probability)
    ```
    """
    metadata = read_metadata(model)
    if metadata is None or metadata.mean is None:
        raise UserError(f"{model} does not say how its input is normalized: it has no metadata")
    interpreter = open_interpreter(model)
    height, width, classes = _sizes(interpreter, model)
    labels = metadata.labels or tuple(f"class {index}" for index in range(classes))
    if len(labels) != classes:
        raise UserError(f"{model} has {classes} outputs and {len(labels)} class names")
    mean, std = np.array([metadata.mean, metadata.std], "float32")
    normalized = (read_image(image, height, width) / np.float32(255) - mean) / std
    probabilities = predict(interpreter, normalized[None])[0]
    return [
        (labels[index], float(probabilities[index])) for index in np.argsort(-probabilities, kind="stable")
    ]


def _sizes(interpreter, model):
    """Height and width of the image that a model takes, and the number of its classes."""
    shapes = [
        [tuple(tensor["shape"].tolist()) for tensor in tensors]
        for tensors in (interpreter.get_input_details(), interpreter.get_output_details())
    ]
    match shapes:
        case [[(1, height, width, 3)], [(1, classes)]]:
            return height, width, classes
    raise UserError(
        f"{model} is no image classifier: expected an input of shape (1, height, width, 3) and an output of "
        f"shape (1, classes). Received inputs {shapes[0]} and outputs {shapes[1]}"
    )


def main(argv=None):
    parser = Parser("tflite.classify", __doc__)
    parser.add_argument("image", metavar="IMAGE", help="a picture: JPEG, PNG, …")
    parser.add_argument("--model", metavar="FILE.tflite", required=True, help="what tflite.convert wrote")
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="classes to show (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    check_in_range("--top", args.top, least=1)
    for label, probability in classify(args.image, args.model)[: args.top]:
        print(f"{probability:7.2%}  {label}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
