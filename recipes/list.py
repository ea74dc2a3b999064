"""Shows the recipes, and the paper's results beside the commands that rerun them.

python -m recipes.list [--csv FILE]
"""

import dataclasses
import sys

from recipes.command import Parser, exit_code
from recipes.files import check_new_file, write_csv
from recipes.paper import Result
from recipes.registry import PAPER, RECIPES
from sb_keras.table import format_table


def main(argv=None):
    parser = Parser("recipes.list", __doc__)
    parser.add_csv("the paper's results")
    args = parser.parse_args(argv)
    check_new_file(args.csv)

    print("Recipes (python -m recipes.train NAME --run-dir DIR)\n")
    rows = [
        (r.name, r.model.builder, r.model.width_multiplier, r.model.attention.kind, r.data.name, r.epochs)
        for r in RECIPES.values()
    ]
    print(format_table(("name", "network", "width", "attention", "data", "epochs"), rows, "<<><<>"))

    print("\nThe paper's results, and what reruns them (± standard deviation; Table 4: average precision)\n")
    rows = [
        (
            result.table,
            f"{result.recipe} --set {result.setting}" if result.setting else result.recipe,
            f"{result.accuracy:.3f}" + (f" ± {result.spread:.3f}" if result.spread is not None else ""),
        )
        for result in PAPER
    ]
    print(format_table(("table", "recipe", "accuracy / %"), rows, "><>"))
    if args.csv:
        head = [field.name for field in dataclasses.fields(Result)]
        write_csv(args.csv, head, [dataclasses.astuple(result) for result in PAPER])


if __name__ == "__main__":
    sys.exit(exit_code(main))
