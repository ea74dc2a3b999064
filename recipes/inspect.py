"""Shows what the attention of a trained network does on test images, layer by layer.

python -m recipes.inspect DIR [--images N] [--model final|best] [--csv FILE] [--plot FILE.png]

For SB: where λ went from its initial value, how often the gate is saturated, and how much of what varies in
the output is the shift. For SE: how often the gate shuts a channel (paper, section 3.1).
"""

import sys
from dataclasses import astuple

import numpy as np

from recipes.command import Parser, exit_code, progress, start_keras
from recipes.data import load
from recipes.data.catalog import check
from recipes.errors import UserError, check_in_range
from recipes.files import check_outputs, write_csv
from recipes.run_directory import RunDirectory
from sb_keras.table import format_table


def main(argv=None):
    parser = Parser("recipes.inspect", __doc__)
    parser.add_run_dir()
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="test images (%(default)s)")
    parser.add_model()
    parser.add_csv("the table")
    parser.add_plot("the table")
    parser.add_overwrite("output files")
    args = parser.parse_args(argv)
    check_in_range("--images", args.images, least=1)
    check_outputs(args.csv, overwrite=args.overwrite, plot=args.plot)

    run = RunDirectory.existing(args.run_dir)
    recipe = run.recipe
    run.model_file(args.model)
    check(recipe.data)
    start_keras()
    from recipes.tasks.attention import HEAD, inspect_attention, plot_attention

    model = run.load_model(args.model)
    test = load(recipe.data).test.select(slice(args.images))
    batches = (images for images, _ in test.evaluation_batches(recipe.data, 100))
    try:
        rows = inspect_attention(model, progress(batches, -(-len(test) // 100), "batch"))
    except ValueError as error:
        raise UserError(f"{args.run_dir}: {error}") from error

    printed = [
        (*astuple(row)[:3], *("" if np.isnan(x) else f"{x:.3f}" for x in astuple(row)[3:])) for row in rows
    ]
    # Columns that say nothing about this kind are left out.
    shown = [column for column in range(len(HEAD)) if any(row[column] != "" for row in printed)]
    head, align = [HEAD[column] for column in shown], "<<" + ">" * (len(shown) - 2)
    print(format_table(head, [[row[column] for column in shown] for row in printed], align))
    print(f"{len(test)} test images, {args.model} model of {run.path}")
    if args.csv:
        write_csv(args.csv, HEAD, [astuple(row) for row in rows])
    if args.plot:
        plot_attention(
            rows,
            f"{recipe.name}, {args.model} model, {len(test)} test images",
            recipe.model.attention.lambda_init,
            args.plot,
        )


if __name__ == "__main__":
    sys.exit(exit_code(main))
