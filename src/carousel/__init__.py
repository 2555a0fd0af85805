"""carousel: a workbench for recurrent networks.

Write one step of a cell as its equations; the library gives training by any learning rule,
speed, streaming and reports from it. Names are loaded when first used, so that
``import carousel`` (and with it the command line) does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what the names below are, for type checkers and editors
    from carousel import cells, data, engine, export, jobs, learn, models, network, nn, recipes, report, train
    from carousel.batch import Batch, pad_context
    from carousel.cell import Cell, Stack, State, TreeCell
    from carousel.errors import InputError
    from carousel.forest import Forest, fold
    from carousel.loop import Stepper, explain, scan
    from carousel.network import Network, Recursive, Sequence
    from carousel.train import fit

__version__ = "0.1.0"

_HOME = {
    "Batch": "batch",
    "Cell": "cell",
    "Forest": "forest",
    "InputError": "errors",
    "Stack": "cell",
    "State": "cell",
    "TreeCell": "cell",
    "Stepper": "loop",
    "Network": "network",
    "Recursive": "network",
    "Sequence": "network",
    "explain": "loop",
    "fit": "train",
    "fold": "forest",
    "pad_context": "batch",
    "scan": "loop",
}

__all__ = [
    "Batch",
    "Cell",
    "Forest",
    "InputError",
    "Network",
    "Recursive",
    "Sequence",
    "Stack",
    "State",
    "Stepper",
    "TreeCell",
    "cells",
    "data",
    "engine",
    "explain",
    "export",
    "fit",
    "fold",
    "jobs",
    "learn",
    "models",
    "network",
    "nn",
    "pad_context",
    "recipes",
    "report",
    "scan",
    "train",
]

if not TYPE_CHECKING:  # a type checker would take any name, misspelled or not, from a module with __getattr__

    def __getattr__(name):
        if name in _HOME:
            return getattr(import_module(f"carousel.{_HOME[name]}"), name)
        if name in __all__:
            return import_module(f"carousel.{name}")
        raise AttributeError(f"module 'carousel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
