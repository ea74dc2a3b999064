"""Plain-text tables."""


def format_table(head, rows, align, footer=0):
    """Lines up cells in columns.

    Args:
        head: The columns' titles.
        rows: Rows of cells; each cell is printed as by `str`.
        align: One character a column, `<` for left or `>` for right.
        footer: Number of rows at the end that are set off by a rule.

    Returns:
        The table as one string.

    Example:

    ```python
    from sb_keras.table import format_table
    print(format_table(("network", "accuracy"), [("static", 90.85), ("SB", 91.22)], align="<>"))
    ```
    """
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)
        ).rstrip()
        for row in cells
    ]
    rule = "─" * max(map(len, lines))
    body = len(lines) - footer
    return "\n".join([lines[0], rule, *lines[1:body], *([rule] if footer else []), *lines[body:]])
