"""Shows the test accuracy of a run's saved model, or mean average precision, and how each class does.

python -m recipes.evaluate DIR [--model final|best] [--csv FILE] [--plot FILE.png] [--sheet FILE.png]
"""

import argparse
import sys

from recipes.data import check_class_names
from recipes.errors import UserError, check_outputs, exit_code, write_csv
from recipes.run_directory import RunDirectory
from recipes.tasks import is_detection, task_of
from sb_keras.table import format_table


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m recipes.evaluate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")
    parser.add_argument("--model", choices=("final", "best"), default="final", help="default: %(default)s")
    parser.add_argument("--csv", metavar="FILE", help="also write the class table to a CSV file")
    parser.add_argument("--plot", metavar="FILE.png", help="of a detector: also draw precision–recall curves")
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="of a detector: also draw what it finds on pictures"
    )
    args = parser.parse_args(argv)
    check_outputs(args.csv, plot=args.plot, sheet=args.sheet)

    run = RunDirectory.existing(args.run_dir)
    recipe, task = run.recipe, task_of(run.recipe)
    pictures = {key: path for key in ("plot", "sheet") if (path := getattr(args, key))}
    if pictures and not is_detection(recipe):
        raise UserError(f"--{next(iter(pictures))} is for detectors; {run.path} is a classifier")
    model = run.load_model(args.model)
    dataset = task.load(recipe.data)
    task.check_classes(dataset, model)
    if run.result:
        check_class_names(dataset, run.result["classes"])
    head, rows, summary = task.class_table(model, dataset, recipe, sys.stderr.isatty(), **pictures)
    print(format_table(head, [(*row[:2], *(f"{x:.4f}" for x in row[2:])) for row in rows], "<>>>"))
    print(f"{summary} ({len(dataset.test)} images, {args.model} model of {run.path})")
    if args.csv:
        write_csv(args.csv, head, rows)


if __name__ == "__main__":
    sys.exit(exit_code(main))
