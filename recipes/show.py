"""Draws training pictures as the network gets them, and says what the data hold before it is trained.

    python -m recipes.show [RECIPE] [--set key=value ...] --out FILE.png [--pictures N] [--csv FILE]

The pictures are augmented, and drawn with what the network is to learn from them; for a detector the objects'
boxes, and in dots the anchors that are to find them. Counts by class and sizes are shown, and files that are
the same to the byte: in training and in test, or in training with different labels.
"""

import dataclasses
import sys

import numpy as np

from recipes import registry
from recipes.command import Parser, exit_code, start_keras
from recipes.data import load, to_pixels
from recipes.data.catalog import check
from recipes.errors import UserError, check_in_range
from recipes.files import check_outputs, write_csv
from recipes.tasks import task_of
from sb_keras.table import format_table

NAMED = 20


def main(argv=None):
    parser = Parser("recipes.show", __doc__)
    parser.add_recipe(registry.DEFAULT)
    parser.add_set(registry.named(argv))
    parser.add_argument("--out", metavar="FILE.png", required=True, help="the picture to write")
    parser.add_argument("--pictures", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_csv("the counts")
    parser.add_overwrite("output files")
    args = parser.parse_args(argv)
    check_in_range("--pictures", args.pictures, least=1)
    check_outputs(args.csv, overwrite=args.overwrite, out=args.out)

    recipe = registry.find(args.recipe).override(args.set)
    check(recipe.data)
    start_keras()
    from recipes.data.overview import class_counts, overview
    from recipes.plots import draw_sheet

    task, dataset = task_of(recipe), load(recipe.data)
    head, rows = ("class", *dataset.parts), class_counts(dataset)
    if args.csv and rows is None:
        raise UserError(
            f"--csv needs counts by class, which only reading all of {recipe.data.name} would tell"
        )
    print(task.describe(dataset))
    if rows is None:
        print(
            "counts by class, sizes and copies are not shown: all pictures of the stream would be read for it"
        )
    else:
        _print_counts(head, rows, dataset, task)
        _print_overview(overview(dataset))
    if args.csv:
        write_csv(args.csv, head, rows)
    batch_size = min(recipe.batch_size, len(dataset.train))  # a sheet may be of less than a batch
    recipe = dataclasses.replace(recipe, batch_size=batch_size, steps_per_epoch=None, steps_per_execution=1)
    uncached = recipe.override(["data.cache=none"])  # which would write
    images, targets = _first(dataset.train.training_batches(uncached), args.pictures)

    def draw(axes, number):
        task.draw_target(axes, targets[number], recipe.data, dataset.classes)

    pixels = to_pixels(images, recipe.data.mean, recipe.data.std)
    draw_sheet(pixels, draw, f"{recipe.name}: what the network is trained with", args.out)
    print(f"{args.out}: {len(images)} training pictures of {recipe.name}")


def _print_counts(head, rows, dataset, task):
    totals = [("pictures", *map(len, dataset.parts.values()))]
    if task.counted != "pictures":
        _, *columns = zip(*rows, strict=True)
        totals.insert(0, (task.counted, *map(sum, columns)))
    print(format_table(head, [*rows, *totals], "<" + ">" * len(dataset.parts), footer=len(totals)))


def _print_overview(found):
    if found is None:
        print("sizes and copies are not looked for: the pictures have no files of their own")
        return
    if found.sizes:
        least, middle, most = ("×".join(map(str, found.sizes[row])) for row in (0, len(found.sizes) // 2, -1))
        print(f"the smallest picture has {least} pixels, the median {middle}, the largest {most}")
    for copies, what, why in (
        (found.leaked, "in more than one of training, validation and test", "which makes the test worthless"),
        (found.contradictory, "in training with different labels", "of which one is wrong"),
    ):
        if not copies:
            print(f"no file is {what}")
            continue
        print(f"warning: the same file, to the byte, is {what}, {why}: {len(copies)}")
        for same in copies[:NAMED]:
            print(f"  {' = '.join(map(str, same))}")
        if len(copies) > NAMED:
            print(f"  and {len(copies) - NAMED} more")


def _first(batches, count):
    """The first images, and a list with the target of each."""
    import keras

    images, targets = [], []
    for batch in batches:
        batch, batch_targets = keras.tree.map_structure(keras.ops.convert_to_numpy, batch)
        images += list(batch)
        if isinstance(batch_targets, dict):
            targets += [{k: v[row] for k, v in batch_targets.items()} for row in range(len(batch))]
        else:
            targets += list(batch_targets)
        if len(images) >= count:
            break
    return np.stack(images[:count]), targets[:count]


if __name__ == "__main__":
    sys.exit(exit_code(main))
