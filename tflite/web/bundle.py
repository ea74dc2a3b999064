"""Gives the web page its model: a .tflite file, a test picture of each class, and Keras's answers to them.

python -m tflite.web.bundle DIR FILE.tflite [--model final|best] [--out FOLDER] [--overwrite]

DIR is the run directory that FILE.tflite was converted from. The pictures are the first of each class (of the
first ten classes) in the test set, whatever the model makes of them. The page opens with the one that the
file is surest of among those that it is right on.
"""

import json
import pathlib
import sys

import numpy as np

from recipes.command import Parser, exit_code, start_keras
from recipes.data import load
from recipes.data.catalog import check
from recipes.errors import UserError
from recipes.files import replacing, write_bytes, write_text
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from tflite.evaluate import file_inputs
from tflite.interpreter import open_interpreter, predict
from tflite.metadata import read_metadata

PAGE = pathlib.Path(__file__).parent
PICTURES = 10


def bundle(run, file, out, which="final"):
    """Writes `models/` and `pictures/`, as the page reads them.

    Args:
        run: The `RunDirectory` that the file was converted from.
        file: Path of the .tflite file.
        out: Path of the folder that gets them.
        which: The run's Keras model, `"final"` or `"best"`.

    Returns:
        What `models/bundle.json` then holds: the paths of model and pictures, their classes, Keras's
        probabilities of all classes, and the path of the picture that the page opens with, None if the file
        is right on none.

    Raises:
        UserError: If the file does not fit the run, or something cannot be written.
    """
    from PIL import Image

    check_classifier(file)
    recipe, dataset = run.recipe, load(run.recipe.data)
    _check_fits(file, recipe.data.whole_size, len(dataset.classes))
    model = run.load_model(which)
    task_of(recipe).check_data(dataset, model, run)
    labels = dataset.test.labels
    indices = [int(np.argmax(labels == label)) for label in np.unique(labels)[:PICTURES]]
    some = dataset.test.select(indices)
    answers = model.predict(some.evaluation_batches(recipe.data, PICTURES), verbose=0)
    ((pixels, labels),) = some.pixel_batches(recipe.data, PICTURES)
    pixels, labels = np.asarray(pixels), np.asarray(labels)
    inputs = file_inputs(pixels, recipe.data, read_metadata(file), pixels.shape[1])
    right = _surest_right(predict(open_interpreter(file), inputs), answers, labels)

    try:
        for folder in ("models", "pictures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        write_bytes(file.read_bytes(), out / "models" / file.name)
        for number, image in enumerate(pixels.astype("uint8")):
            with replacing(out / "pictures" / f"{number}.png") as temporary:
                Image.fromarray(image).save(temporary, "png")
        content = {
            "name": recipe.name,
            "model": f"models/{file.name}",
            "opening": None if right is None else f"pictures/{right}.png",
            "pictures": [
                {
                    "file": f"pictures/{number}.png",
                    "class": dataset.classes[label],
                    "keras": [round(float(share), 6) for share in answer],
                }
                for number, (label, answer) in enumerate(zip(labels, answers, strict=True))
            ],
        }
        write_text(json.dumps(content, indent=1) + "\n", out / "models" / "bundle.json")
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
    return content


def main(argv=None):
    parser = Parser("tflite.web.bundle", __doc__)
    parser.add_run_dir()
    parser.add_argument("file", metavar="FILE.tflite", type=pathlib.Path)
    parser.add_model()
    parser.add_argument(
        "--out", metavar="FOLDER", type=pathlib.Path, default=PAGE, help="default: the page's"
    )
    parser.add_overwrite("what the page has")
    args = parser.parse_args(argv)

    run = RunDirectory.existing(args.run_dir)
    if (args.out / "models" / "bundle.json").exists() and not args.overwrite:
        raise UserError(f"{args.out} has a model; --overwrite replaces it")
    run.model_file(args.model)
    check_classifier(args.file)
    check(run.recipe.data)
    start_keras(only="tensorflow")
    content = bundle(run, args.file, args.out, args.model)
    print(f"{args.out}: {content['model']} and {len(content['pictures'])} pictures")
    if content["opening"] is None:
        print("the file is right on none of them: the page opens with the first")


def check_classifier(file):
    """Raises a `UserError` if a .tflite file is a detector's."""
    if len(open_interpreter(file).get_output_details()) > 1:
        raise UserError(
            f"the page's own model is a classifier. Received: a detector, {file}; open it on the page instead"
        )


def _surest_right(answers, keras_answers, labels):
    """Number of the picture whose class has the highest probability where it is the answer, or None.

    Integers often tie at their highest value; then Keras's probability decides.
    """
    right = [
        (answer[label], keras_answer[label], number)
        for number, (answer, keras_answer, label) in enumerate(
            zip(answers, keras_answers, labels, strict=True)
        )
        if answer.argmax() == label
    ]
    return max(right)[-1] if right else None


def _check_fits(file, image_size, classes):
    interpreter = open_interpreter(file)
    details = (*interpreter.get_input_details(), *interpreter.get_output_details())
    received = [tuple(each["shape"].tolist()) for each in details]
    expected = [(1, image_size, image_size, 3), (1, classes)]
    if received != expected:
        raise UserError(f"{file} does not fit the run. Expected shapes: {expected}. Received: {received}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
