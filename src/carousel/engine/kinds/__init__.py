"""The table of operations: every kind that a step is written in, and all that the engine knows of it.

A row has the shape rule, the adjoint, the PyTorch call, the native rule and the flags of a kind
(kind.py has what each of them means); nothing else in the engine lists kinds. A new one is a row here, and in
aten.py what of PyTorch becomes it, which an elementwise kind of PyTorch's own name and arguments
does by itself; where it runs in a unit of its own, its writer in native/single_ops.py.
"""

from carousel.engine.kinds.arrays import ARRAYS
from carousel.engine.kinds.elementwise import ELEMENTWISE
from carousel.engine.kinds.kind import Kind

KINDS: dict[str, Kind] = {**ELEMENTWISE, **ARRAYS}
"""Every kind of operation. There are no others."""

__all__ = ["ELEMENTWISE", "KINDS", "Kind"]
