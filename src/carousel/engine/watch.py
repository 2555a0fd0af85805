"""What a cell was when it was last looked at: its key and its weights, for as long as nothing has changed.

`trace.cell_key` says everything that a captured step depends on, and takes as long as a small scan.
That nothing has changed since is told in a microsecond or two, by the identity of what the cell,
its modules and their classes hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from operator import attrgetter, is_
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from carousel.cell import Cell
from carousel.engine.trace import PLAIN, cell_key, lifted, own_attributes, own_bases
from carousel.torch_private import MODULE_TABLES, OpOverload

_CODE = attrgetter("__code__")
_END = object()


class Key:
    """A cell's key, hashed once; two are equal where what they stand for is."""

    __slots__ = ("_hash", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._hash = hash(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Key) and self._hash == other._hash and self.value == other.value)


class Watched:
    """A cell's key and weights, and whether they still hold.

    key:         equal for cells whose captured steps are the same.
    weight:      a parameter, or else a buffer, that tells the cell's dtype and device; None where there is none.
    weights:     parameters and buffers by name, as in `trace.lifted`.
    is_settled:  nothing that it holds can change and stay the same object, or keeps the cell alive.
    """

    def __init__(self, cell: Cell) -> None:
        self.key = Key(cell_key(cell))
        self.weights: dict[str, Tensor] = lifted(cell)
        self.weight = next((tensor for tensor in self.weights.values() if tensor.is_floating_point()), None)
        modules = list(cell.modules())
        bases = dict.fromkeys(base for module in modules for base in own_bases(type(module)))
        parts = [module.__dict__[part] for module in modules for part in MODULE_TABLES]
        held: list[Mapping[str, Any]] = [*(module.__dict__ for module in modules), *parts, *map(vars, bases)]
        self._now = [*(mapping.values() for mapping in held), (_END,)]  # a longer or a shorter one moves the end
        self._then = list(chain.from_iterable(self._now))
        self._functions = [item for base in bases for item in vars(base).values() if isinstance(item, FunctionType)]
        self._codes = list(map(_CODE, self._functions))
        self._kind = type(cell)
        self._submodules = modules[1:]
        self._kinds = list(map(type, self._submodules))
        own = [module.__dict__[name] for module in modules for name in own_attributes(module)]
        shared = [value for base in bases for value in vars(base).values() if isinstance(value, tuple)]
        self.is_settled = all(map(_is_settled, (*own, *shared)))

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is as it was; False where that cannot be told from identities."""
        return (
            self.is_settled
            and type(cell) is self._kind
            and all(map(is_, chain.from_iterable(self._now), self._then))
            and list(map(_CODE, self._functions)) == self._codes
            and list(map(type, self._submodules)) == self._kinds
        )


_watched: WeakKeyDictionary[Cell, Watched] = WeakKeyDictionary()


def watched(cell: Cell) -> Watched:
    """The cell's key and weights as they are now.

    Raises:
        InputError: an attribute that cannot be compared, as in `trace.cell_key`.
    """
    found = _watched.get(cell)
    if found is None or not found.holds(cell):
        found = Watched(cell)
        if found.is_settled:
            _watched[cell] = found
        else:  # what it holds may hold the cell
            _watched.pop(cell, None)
    return found


def _is_settled(value: Any) -> bool:
    """Whether a value cannot change while it is the same object, nor keep the cell alive."""
    if isinstance(value, tuple):
        return all(map(_is_settled, value))
    if isinstance(value, FunctionType):
        return value.__closure__ is None
    return value is None or isinstance(value, (type, BuiltinFunctionType, OpOverload, *PLAIN))
