"""The commands of ``carousel``; each one's help is its docstring."""

from __future__ import annotations

from typing import Literal

from cyclopts import App, Parameter

import carousel
from carousel.cli.tables import print_table

app = App(
    name="carousel",
    help="A workbench for recurrent networks.",
    version=carousel.__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),
)


@app.command(name="list")
def list_(what: Literal["cells"] = "cells", /) -> None:
    """List what there is by name.

    Parameters
    ----------
    what
        The kind of thing to list.
    """
    print_table((what, "what it is"), {"cells": _cells}[what]())


def _cells() -> list[tuple[str, str]]:
    """Every cell and the first line of what it says of itself."""
    from carousel import cells
    from carousel.cell import Cell

    found = [value for name in cells.__all__ if isinstance(value := getattr(cells, name), type) and issubclass(value, Cell)]
    return [(cell.__name__, (cell.__doc__ or "").partition("\n")[0]) for cell in found]
