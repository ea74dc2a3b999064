import pytest

from sb_keras.table import format_table

HEAD, ROWS = ("network", "top-1"), [("static", 90.85), ("SB", 91.22)]


def test_columns_line_up():
    assert format_table(HEAD, ROWS, align="<>") == (
        "network  top-1\n"
        "──────────────\n"
        "static   90.85\n"
        "SB       91.22"
    )  # fmt: skip


def test_footer_and_no_trailing_spaces():
    assert format_table(("n", "name"), [(1, "a"), (12, "b")], align="><", footer=1) == (
        " n  name\n"
        "────────\n"
        " 1  a\n"
        "────────\n"
        "12  b"
    )  # fmt: skip


def test_without_rows():
    assert format_table(HEAD, [], align="<<") == "network  top-1\n──────────────"


@pytest.mark.parametrize(("rows", "align"), [([("static",)], "<>"), ([("static", 1, 2)], "<>"), (ROWS, "<")])
def test_as_many_cells_as_columns(rows, align):
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        format_table(HEAD, rows, align)
