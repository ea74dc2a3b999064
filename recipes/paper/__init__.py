"""What the paper reports, and how to run it here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Result:
    """A row of one of the paper's tables.

    Attributes:
        table: Number of the table.
        recipe: Name of the recipe.
        setting: What `--set` takes to get from the recipe to the row; empty for the recipe as it is.
        accuracy: Mean accuracy in %; for Table 4 the mean average precision.
        spread: Standard deviation over the runs, in %; None where the paper gives none.
    """

    table: int
    recipe: str
    setting: str
    accuracy: float
    spread: float | None
