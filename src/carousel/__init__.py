"""carousel: a workbench for recurrent networks.

Write one step of a cell as its equations; the library gives training by any learning rule,
speed, streaming and reports from it. Names are loaded when first used, so that
``import carousel`` (and with it the command line) does not wait for torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Batch": "batch",
    "Cell": "cell",
    "Stack": "cell",
    "State": "cell",
    "Stepper": "loop",
    "scan": "loop",
    "explain": "loop",
    "fit": "train",
}
_MODULES = ("cells", "data", "engine", "export", "jobs", "learn", "models", "nn", "recipes", "report", "train")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"carousel.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"carousel.{name}")
    raise AttributeError(f"module 'carousel' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
