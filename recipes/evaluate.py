"""Shows the test accuracy of a run's saved model, and how each class does.

python -m recipes.evaluate DIR [--model final|best] [--csv FILE]
"""

import argparse
import sys

import numpy as np

from recipes import data as data_sets
from recipes.errors import check_new_file, exit_code, write_csv
from recipes.run_directory import RunDirectory
from sb_keras.table import format_table

HEAD = ("class", "images", "recall", "precision")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m recipes.evaluate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")
    parser.add_argument("--model", choices=("final", "best"), default="final", help="default: %(default)s")
    parser.add_argument("--csv", metavar="FILE", help="also write the class table to a CSV file")
    args = parser.parse_args(argv)
    check_new_file(args.csv)

    run = RunDirectory.existing(args.run_dir)
    model = run.load_model(args.model)
    dataset = data_sets.load(run.recipe.data)
    data_sets.check_classes(dataset, model)
    if run.result:
        data_sets.check_class_names(dataset, run.result["classes"])
    images = data_sets.evaluation_batches(dataset.test, run.recipe.data, run.recipe.batch_size)
    predicted = model.predict(images, verbose="auto" if sys.stderr.isatty() else 0).argmax(axis=-1)
    rows = class_table(dataset.classes, dataset.test.labels, predicted)

    accuracy = np.mean(predicted == dataset.test.labels)
    print(format_table(HEAD, [(*row[:2], *(f"{x:.4f}" for x in row[2:])) for row in rows], "<>>>"))
    print(f"test accuracy {accuracy:.4f} ({len(predicted)} images, {args.model} model of {run.path})")
    if args.csv:
        write_csv(args.csv, HEAD, rows)


def class_table(classes, labels, predicted):
    """For every class its name, its number of images, and recall and precision as fractions (NaN for 0/0)."""
    confusion = np.zeros((len(classes), len(classes)))
    np.add.at(confusion, (labels, predicted), 1)
    hits = np.diag(confusion)
    with np.errstate(invalid="ignore"):
        recall, precision = hits / confusion.sum(axis=1), hits / confusion.sum(axis=0)
    counts = confusion.sum(axis=1).astype(int)
    return list(zip(classes, counts.tolist(), recall.tolist(), precision.tolist(), strict=True))


if __name__ == "__main__":
    sys.exit(exit_code(main))
