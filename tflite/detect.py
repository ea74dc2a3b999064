"""Finds objects on pictures, with a .tflite detector that tflite.convert wrote.

    python -m tflite.detect PICTURE… --model FILE.tflite [--json FILE.jsonl] [--draw FOLDER]

PICTURE is a picture or a folder; where OpenCV is installed also a video or camera:0. Needs ai-edge-litert,
numpy and pillow only, neither TensorFlow nor Keras: for a Raspberry Pi, for example. Class names and
normalization are read from the file.
"""

import functools
import pathlib
import sys

import numpy as np
from PIL import Image

if not __package__:  # run as `python tflite/detect.py`: imports start at the root of the checkout
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from recipes import answers
from recipes.command import Parser, exit_code
from recipes.data.image_files import read_rgb
from recipes.errors import UserError, check_in_range
from tflite.interpreter import find_objects, open_interpreter
from tflite.metadata import read_metadata

SCORE = 0.4


class Detector:
    """A .tflite file that finds objects.

    Args:
        path: Path of a file with TFLite's four outputs of a detector: boxes, classes, scores, number.

    Raises:
        UserError: If it is none, or does not say how its input is normalized.

    Example:

    ```python
    for found in Detector("detector.tflite").detect(read_rgb("photo.jpg")):
        print(found["class"], found["score"], found["box_yxyx"])  # in pixels
    ```
    """

    def __init__(self, path):
        metadata = read_metadata(path)
        if metadata is None or metadata.mean is None:
            raise UserError(f"{path} does not say how its input is normalized: it has no metadata")
        self.mean, self.std = np.array([metadata.mean, metadata.std], "float32")
        self.labels = metadata.labels or ()
        self.interpreter = open_interpreter(path)
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        shapes = [tuple(each["shape"].tolist()) for each in (*inputs, *outputs)]
        match shapes:
            case [(1, height, width, 3), (1, n, 4), (1, m), (1, k), (1,)] if n == m == k:
                self.height, self.width = height, width
            case _:
                raise UserError(
                    f"{path} is no detector: expected an input of shape (1, height, width, 3) and outputs of "
                    f"shapes (1, n, 4), (1, n), (1, n), (1,). Received: {shapes}"
                )

    def detect(self, picture, least_score=SCORE):
        """The objects on a picture, the surest first.

        Args:
            picture: A Pillow image of mode RGB, upright.
            least_score: What is less sure is left out.

        Returns:
            Dictionaries with `class`, `score` and `box_yxyx`: ymin, xmin, ymax and xmax in pixels.
        """
        pixels = np.asarray(picture.resize((self.width, self.height), Image.Resampling.BILINEAR))
        found = find_objects(self.interpreter, (pixels / np.float32(255) - self.mean) / self.std)
        size = picture.height, picture.width
        return answers.objects(
            found["boxes_yxyx"], found["classes"], found["scores"], self.labels, size, least_score
        )


def detect(image, model, least_score=SCORE):
    """The objects on a picture file; see `Detector`.

    Example:

    ```python
    for found in detect("photo.jpg", "detector.tflite"):
        print(found["class"], found["score"], found["box_yxyx"])
    ```
    """
    return Detector(model).detect(read_rgb(image), least_score)


def main(argv=None):
    parser = Parser("tflite.detect", __doc__)
    answers.add_arguments(parser)
    parser.add_argument("--model", metavar="FILE.tflite", required=True, help="what tflite.convert wrote")
    parser.add_argument(
        "--score", type=float, default=SCORE, metavar="S", help="the least to be shown (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    check_in_range("--score", args.score, least=0.0, below=1.0)
    answers.check_arguments(args)
    answer = functools.partial(Detector(args.model).detect, least_score=args.score)
    answers.answer_all(args, answer, answers.draw_objects, answers.objects_table, "objects")


if __name__ == "__main__":
    sys.exit(exit_code(main))
