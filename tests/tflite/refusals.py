"""That a program refuses what it was asked for."""


def refused(command, capsys, message, *arguments):
    """Asserts that a command ends with exit code 2 and one line on standard error, which has the message."""
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
