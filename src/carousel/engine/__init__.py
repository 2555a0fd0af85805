"""The engine: a cell's step, traced once to a graph, and the lowerings that run the graph over time.

`run` is the seam behind `carousel.scan`: every backend is a module with one function
``run(cell, call) -> (outputs, final_state, states)`` and is chosen here, nowhere else.
"""

from __future__ import annotations

from typing import Any

from carousel.cell import Cell
from carousel.engine import eager
from carousel.engine.call import Call
from carousel.errors import InputError

BACKENDS = {"eager": eager.run}
"""The backends by name; "auto" stands for the fastest one that applies."""


def run(cell: Cell, call: Call, backend: str) -> tuple[Any, Any, Any]:
    """Run the cell over all time steps on the named backend."""
    name = "eager" if backend == "auto" else backend
    if name not in BACKENDS:
        raise InputError(f"scan: unknown backend {backend!r}, expected one of: auto, {', '.join(BACKENDS)}")
    return BACKENDS[name](cell, call)
