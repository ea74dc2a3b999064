"""Says what a picture shows, with a .tflite file that tflite.convert wrote.

    python -m tflite.classify PICTURE… --model FILE.tflite [--json FILE.jsonl] [--draw FOLDER]

PICTURE is a picture or a folder; where OpenCV is installed also a video or camera:0. Needs ai-edge-litert,
numpy and pillow only, neither TensorFlow nor Keras: for a Raspberry Pi, for example. Class names and
normalization are read from the file.
"""

import pathlib
import sys

import numpy as np

if not __package__:  # run as `python tflite/classify.py`: imports start at the root of the checkout
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from recipes import answers
from recipes.command import Parser, exit_code
from recipes.data.image_files import read_rgb
from recipes.errors import UserError, check_in_range
from tflite.interpreter import predict
from tflite.picture_file import PictureFile, stretched


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
    return stretched(read_rgb(path), height, width)


class Classifier(PictureFile):
    """A .tflite file that gives a number for each class.

    Args:
        path: Path of a file that takes one RGB image.

    Raises:
        UserError: If it is none, or does not say how its input is normalized.

    Example:

    ```python
    classifier = Classifier("digits.tflite")
    for label, probability in classifier.classify(read_rgb("photo.jpg"))[:5]:
        print(label, probability)
    ```
    """

    def __init__(self, path):
        super().__init__(path)
        match self.shapes:
            case [[(1, _, _, 3)], [(1, classes)]]:
                self.labels = self.labels or tuple(f"class {index}" for index in range(classes))
            case inputs, outputs:
                raise UserError(
                    f"{path} is no image classifier: expected an input of shape (1, height, width, 3) and an "
                    f"output of shape (1, classes). Received inputs {inputs} and outputs {outputs}"
                )
        if len(self.labels) != classes:
            raise UserError(f"{path} has {classes} outputs and {len(self.labels)} class names")

    def classify(self, picture):
        """Pairs of class name and probability, the most probable first, for a Pillow image of mode RGB."""
        (probabilities,) = predict(self.interpreter, [self.image_of(picture)])
        order = np.argsort(-probabilities, kind="stable")
        return [(self.labels[index], float(probabilities[index])) for index in order]


def classify(image, model):
    """Probabilities of the classes that a model knows, for one picture; see `Classifier` for many.

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
    return Classifier(model).classify(read_rgb(image))


def main(argv=None):
    parser = Parser("tflite.classify", __doc__)
    answers.add_arguments(parser)
    parser.add_argument("--model", metavar="FILE.tflite", required=True, help="what tflite.convert wrote")
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="classes to show (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    check_in_range("--top", args.top, least=1)
    answers.check_arguments(args)
    classifier = Classifier(args.model)

    def answer(picture):
        return answers.classes(classifier.classify(picture)[: args.top])

    answers.answer_all(args, answer, "classes")


if __name__ == "__main__":
    sys.exit(exit_code(main))
