"""Draws training pictures as the network gets them, augmented, with what it is to learn from them.

    python -m recipes.show [RECIPE] [--set key=value ...] --out FILE.png [--pictures N]

For a detector: the objects' boxes, and in dots the anchors that are to find them.
"""

import dataclasses
import sys

import numpy as np

from recipes import registry
from recipes.command import Parser, exit_code, start_keras
from recipes.data import load, to_pixels
from recipes.data.catalog import check
from recipes.errors import check_in_range
from recipes.fields import documented_keys
from recipes.files import check_outputs
from recipes.tasks import task_of


def main(argv=None):
    parser = Parser("recipes.show", __doc__)
    parser.add_recipe(registry.DEFAULT)
    parser.add_set(documented_keys(registry.RECIPES[registry.DEFAULT]))
    parser.add_argument("--out", metavar="FILE.png", required=True, help="the picture to write")
    parser.add_argument("--pictures", type=int, default=12, metavar="N", help="default: %(default)s")
    args = parser.parse_args(argv)
    check_in_range("--pictures", args.pictures, least=1)
    check_outputs(out=args.out)

    recipe = registry.find(args.recipe).override(args.set)
    check(recipe.data)
    start_keras()
    from recipes.plots import draw_sheet

    task, dataset = task_of(recipe), load(recipe.data)
    batch_size = min(recipe.batch_size, len(dataset.train))  # a sheet may be of less than a batch
    recipe = dataclasses.replace(recipe, batch_size=batch_size, steps_per_epoch=None, steps_per_execution=1)
    images, targets = _first(dataset.train.training_batches(recipe), args.pictures)

    def draw(axes, number):
        task.draw_target(axes, targets[number], recipe.data, dataset.classes)

    pixels = to_pixels(images, recipe.data.mean, recipe.data.std)
    draw_sheet(pixels, draw, f"{recipe.name}: what the network is trained with", args.out)
    print(f"{args.out}: {len(images)} training pictures of {recipe.name}")


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
