"""What the programs share: options, progress, and how they begin and end.

A program answers at once what its command line alone shows: it imports neither Keras nor TensorFlow, which
take seconds, before `start_keras`.
"""

import argparse
import ast
import contextlib
import os
import pathlib
import shlex
import signal
import sys
import tempfile
import textwrap
import threading
from typing import Any

from recipes.errors import Terminated, UserError, suggestion
from recipes.fields import documented_keys

# Those that train; Keras can also be told by its own configuration file.
BACKENDS = ("tensorflow", "jax", "torch")


class Parser(argparse.ArgumentParser):
    """The parser of a program, with methods for the options that programs share.

    Args:
        module: The program's module, for example `"recipes.train"`.
        doc: Its docstring, whose first line describes it.
        **kwargs: As `argparse.ArgumentParser`.
    """

    def __init__(self, module, doc, **kwargs):
        super().__init__(
            prog=f"python -m {module}",
            description=(doc or "").partition("\n")[0],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def parse_args(self, args=None, namespace=None):
        """As argparse's; an option that does not exist is what is said first, with one that is like it."""
        known = self._option_string_actions
        for word in sys.argv[1:] if args is None else args:
            name = word.partition("=")[0]
            if name.startswith("--") and name != "--" and not any(each.startswith(name) for each in known):
                self.error(f"there is no option {name}.{suggestion(name, known)}")
        return super().parse_args(args, namespace)

    def error(self, message):
        """Ends the program with one line; the usage is one `--help` away."""
        self.exit(2, f"error: {message}\n")

    def add_recipe(self, default=None):
        """The recipe, by its name or its JSON file."""
        text = "a name that `python -m recipes.list` shows, or a recipe's JSON file"
        if default is None:
            self.add_argument("recipe", metavar="RECIPE", help=text)
        else:
            text += " (default: %(default)s)"
            self.add_argument("recipe", metavar="RECIPE", nargs="?", default=default, help=text)

    def add_set(self, recipe, metavar="KEY=VALUE", text="changes the recipe; the keys are below", keys=""):
        """`--set`, with a list of its keys under the help.

        Args:
            recipe: The recipe whose keys and values are listed.
            metavar: What it takes, in short.
            text: What it does.
            keys: What those begin with that it takes.
        """
        self.add_argument("--set", metavar=metavar, action="append", default=[], help=text)
        lines = [f"keys of --set, and the values of {recipe.name}:"]
        rows = [row for row in documented_keys(recipe) if row[0].startswith(keys)]
        for key, kind, value, sentence in rows:
            lines += [f"  {key}  ({kind}; {value})", textwrap.indent(textwrap.fill(sentence, 94), " " * 6)]
        self.epilog = "\n".join(lines)

    def add_run_dir(self):
        """The run directory that a program reads."""
        self.add_argument("run_dir", metavar="DIR", help="a run directory that recipes.train wrote")

    def add_model(self):
        """`--model`, which of a run's models."""
        self.add_argument(
            "--model", choices=("final", "best"), default="final", help="the run's model (%(default)s)"
        )

    def add_csv(self, what):
        """`--csv`."""
        self.add_argument("--csv", metavar="FILE", help=f"also write {what} to a CSV file")

    def add_plot(self, what):
        """`--plot`."""
        self.add_argument("--plot", metavar="FILE.png", help=f"also draw {what}")

    def add_overwrite(self, what):
        """`--overwrite`."""
        self.add_argument("--overwrite", action="store_true", help=f"replace {what} if there")

    @contextlib.contextmanager
    def goes_on(self, args=None):
        """Has Ctrl-C and SIGTERM within the block end the program with the command that goes on: the same.

        Args:
            args: As `parse_args`.
        """
        try:
            with terminating(_terminate):
                yield
        except KeyboardInterrupt as error:
            command = shlex.join(sys.argv[1:] if args is None else args)
            raise type(error)(f"{self.prog} {command}") from error


def _terminate():
    raise Terminated


def _interrupt():
    raise KeyboardInterrupt


@contextlib.contextmanager
def terminating(end):
    """Has SIGTERM within the block call a function instead of ending the process there and then."""
    if threading.current_thread() is not threading.main_thread():  # others may not
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: end())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code(main):
    """Runs a `main`; what it returns, or 2 after a `UserError`, 130 after Ctrl-C, 75 after SIGTERM."""
    try:
        code = main() or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        return interrupted(error)
    except BrokenPipeError:  # whoever reads our output, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def interrupted(error):
    """Says that Ctrl-C or SIGTERM came, and how to go on; the exit code that says so too."""
    what, code = ("terminated", 75) if isinstance(error, Terminated) else ("interrupted", 130)
    print(f"\n{what}. To go on: {error}" if str(error) else f"\n{what}", file=sys.stderr)
    return code


def show_programs(package):
    """The program of a package itself, `python -m recipes`: a line about each of its programs."""
    Parser(package, f"Shows the programs in {package}.").parse_args()
    for path in sorted(pathlib.Path(sys.modules[package].__path__[0]).glob("[!_]*.py")):
        text = path.read_text(encoding="utf-8")
        if text.endswith("sys.exit(exit_code(main))\n"):
            about = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
            print(f"{f'python -m {package}.{path.stem}':<28} {about}")


def start_keras(only=None):
    """Imports Keras and its backend without the noise of their start.

    Args:
        only: The one backend that the program runs on; None for any.

    Raises:
        UserError: If the backend is unknown, not installed, or another.
    """
    backend = os.environ.get("KERAS_BACKEND")
    if backend and backend not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}. Received: {backend!r}."
            f"{suggestion(backend, BACKENDS)}"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # information and warnings of TensorFlow's C++
    with quiet(), interruptible():
        try:
            import keras

            if keras.backend.backend() == "tensorflow":
                import tensorflow as tf

                tf.config.list_physical_devices()  # looks for GPUs, and says that there are none
        except ImportError as error:
            raise UserError(
                f"Keras needs {error.name or error}, which is not installed. Install it, or set "
                f"KERAS_BACKEND to one of {', '.join(BACKENDS)}"
            ) from error
        except ValueError as error:  # of Keras's own configuration file
            raise UserError(str(error)) from error
        if only not in (None, keras.backend.backend()):
            raise UserError(f"this program needs Keras's {only} backend. Received: {keras.backend.backend()}")


@contextlib.contextmanager
def interruptible(end=_interrupt):
    """Repeats Ctrl-C at the end, in case that a library took it for an error of its own.

    The block gets a function that repeats it at once, if there was one.

    Args:
        end: What Ctrl-C calls instead of raising `KeyboardInterrupt` there and then. It raises one if it is
            to; where it does not, the block ends by itself and nothing is repeated.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: None
        return
    interrupted = []

    def interrupt(*_):
        try:
            end()
        except KeyboardInterrupt:
            interrupted.append(True)
            raise

    def repeat():
        if interrupted:
            _interrupt()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield repeat
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        repeat()


@contextlib.contextmanager
def quiet():
    """Keeps back what is written to standard error, also by libraries in C++, unless an error follows."""
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # standard error is no file, as in a notebook
        yield
        return
    kept = os.dup(descriptor)
    with tempfile.TemporaryFile() as noise:
        try:
            os.dup2(noise.fileno(), descriptor)
            yield
        finally:
            os.dup2(kept, descriptor)
            os.close(kept)


def progress(items, total=None, unit="picture") -> Any:
    """The same items; on a terminal, with a line on standard error of how many are done and how fast.

    Args:
        items: An iterable, or None for a bar that is told by its `update` method.
        total: How many there are, where `len(items)` does not say.
        unit: What one is.
    """
    from tqdm import tqdm  # not installed where a file is only run

    return tqdm(items, total=total, unit=unit, disable=None, leave=False, dynamic_ncols=True)
