"""Says what pictures show, with the network of a run directory.

    python -m recipes.predict DIR PICTURE… [--model best] [--json FILE.jsonl] [--draw FOLDER]

PICTURE is a picture or a folder; where OpenCV is installed also a video or camera:0. A .tflite file answers
in `tflite.classify` and `tflite.detect`.
"""

import sys

from recipes import answers
from recipes.command import Parser, exit_code, start_keras
from recipes.errors import UserError, check_in_range
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of

TOP, SCORE = 5, 0.4


def main(argv=None):
    parser = Parser("recipes.predict", __doc__)
    parser.add_run_dir()
    answers.add_arguments(parser)
    parser.add_model()
    parser.add_argument("--top", type=int, metavar="N", help=f"classes to show (default: {TOP})")
    parser.add_argument(
        "--score", type=float, metavar="S", help=f"of a detector, the least to be shown (default: {SCORE})"
    )
    args = parser.parse_args(argv)

    if args.top is not None:
        check_in_range("--top", args.top, least=1)
    if args.score is not None:
        check_in_range("--score", args.score, least=0.0, below=1.0)
    run = RunDirectory.existing(args.run_dir)
    recipe, task = run.recipe, task_of(run.recipe)
    is_detector = recipe.data.task == "detection"
    for option, for_detectors in (("top", False), ("score", True)):
        if getattr(args, option) is not None and is_detector != for_detectors:
            kind = "detectors" if for_detectors else "classifiers"
            raise UserError(f"--{option} is for {kind}; {run.path} is not one's")
    run.model_file(args.model)
    answers.check_arguments(args)
    start_keras()
    model = run.load_model(args.model)
    classes = run.classes or [f"class {label}" for label in range(task.classes_of(model))]

    def answer(picture):
        rows = task.answer(model, recipe, classes, picture, SCORE if args.score is None else args.score)
        return rows if is_detector else rows[: args.top or TOP]

    answers.answer_all(args, answer, task.answered)


if __name__ == "__main__":
    sys.exit(exit_code(main))
