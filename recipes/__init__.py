"""Training recipes: the paper's settings as values, and the programs that run them."""

import sys


def _end_in_a_line(kind, error, traceback):
    """Ctrl-C while a program's first imports are on; see `recipes.command.exit_code` for later."""
    if kind is KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


if sys.argv[:1] == ["-m"]:  # as Python has it until it has found the module that `-m` names
    sys.excepthook = _end_in_a_line
