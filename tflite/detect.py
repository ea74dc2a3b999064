"""Finds objects on pictures, with a .tflite detector that tflite.convert wrote.

    python -m tflite.detect PICTURE… --model FILE.tflite [--json FILE.jsonl] [--draw FOLDER]

PICTURE is a picture or a folder; where OpenCV is installed also a video or camera:0. Needs ai-edge-litert,
numpy and pillow only, neither TensorFlow nor Keras: for a Raspberry Pi, for example. Class names and
normalization are read from the file.
"""

import functools
import pathlib
import sys

if not __package__:  # run as `python tflite/detect.py`: imports start at the root of the checkout
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from recipes import answers
from recipes.command import Parser, exit_code
from recipes.data.image_files import read_rgb
from recipes.errors import UserError, check_in_range
from tflite.interpreter import find_objects
from tflite.picture_file import PictureFile

SCORE = 0.4


class Detector(PictureFile):
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
        super().__init__(path)
        match self.shapes:
            case [[(1, _, _, 3)], [(1, n, 4), (1, m), (1, k), (1,)]] if n == m == k:
                pass
            case inputs, outputs:
                raise UserError(
                    f"{path} is no detector: expected an input of shape (1, height, width, 3) and outputs of "
                    f"shapes (1, n, 4), (1, n), (1, n), (1,). Received inputs {inputs} and outputs {outputs}"
                )

    def detect(self, picture, least_score=SCORE):
        """The objects on a picture, the surest first.

        Args:
            picture: A Pillow image of mode RGB, upright.
            least_score: What is less sure is left out.

        Returns:
            Dictionaries with `class`, `score` and `box_yxyx`: ymin, xmin, ymax and xmax in pixels.
        """
        found = find_objects(self.interpreter, self.image_of(picture))
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
    answers.answer_all(args, answer, "objects")


if __name__ == "__main__":
    sys.exit(exit_code(main))
