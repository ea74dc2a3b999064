"""Shift-and-Balance attention for mobile networks in Keras 3.

What the package has is listed in `__init__.pyi`, and imported when it is first used: `import sb_keras` alone
imports no backend.
"""

import importlib

import lazy_loader
import wrapt

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@wrapt.when_imported("keras")
def _register_classes(keras):
    """Imports what a model's file may hold, as soon as there is a Keras to load it: Keras itself does not."""
    for module in ("layers", "losses", "optimizers", "detection"):
        importlib.import_module(f"{__name__}.{module}")
