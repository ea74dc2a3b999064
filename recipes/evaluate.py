"""Shows the test accuracy of a run's saved model, or mean average precision, and how each class does.

python -m recipes.evaluate DIR [--model final|best] [--csv FILE] [--plot FILE.png] [--sheet FILE.png]
                               [--confusion FILE.csv]

Of a classifier the expected calibration error is shown too, by how much its probabilities are wrong; the plot
has its confusion matrix, and the sheet the mistakes that it was surest of.
"""

import math
import sys

from recipes.command import Parser, exit_code, start_keras
from recipes.data import load
from recipes.data.catalog import check
from recipes.errors import UserError
from recipes.files import check_outputs, write_csv
from recipes.run_directory import RunDirectory
from recipes.tasks import task_of
from sb_keras.table import format_table


def main(argv=None):
    parser = Parser("recipes.evaluate", __doc__)
    parser.add_run_dir()
    parser.add_model()
    parser.add_csv("the class table")
    parser.add_plot("a classifier's confusion matrix and calibration, a detector's precision–recall curves")
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="also draw a classifier's surest mistakes, what a detector finds"
    )
    parser.add_argument("--confusion", metavar="FILE.csv", help="also write a classifier's confusion matrix")
    parser.add_overwrite("output files")
    args = parser.parse_args(argv)
    check_outputs(args.csv, args.confusion, overwrite=args.overwrite, plot=args.plot, sheet=args.sheet)

    run = RunDirectory.existing(args.run_dir)
    recipe, task = run.recipe, task_of(run.recipe)
    files = {key: path for key in ("plot", "sheet", "confusion") if (path := getattr(args, key))}
    for key in files:
        if key not in task.files:
            raise UserError(f"--{key} is not for {recipe.data.task}, which {run.path} is trained for")
    run.model_file(args.model)
    check(recipe.data)
    start_keras()
    model = run.load_model(args.model)
    dataset = load(recipe.data)
    task.check_data(dataset, model, run)
    head, rows, summary = task.class_table(model, dataset, recipe, **files)
    print(format_table(head, [(*row[:2], *map(_cell, row[2:])) for row in rows], "<>>>"))
    print(f"{summary} ({len(dataset.test)} images, {args.model} model of {run.path})")
    if args.csv:
        write_csv(args.csv, head, rows)


def _cell(number):
    """A class without pictures or objects has no score."""
    return "–" if math.isnan(number) else f"{number:.4f}"


if __name__ == "__main__":
    sys.exit(exit_code(main))
