"""What a cell was when it was last looked at: its key and its weights, for as long as nothing has changed.

`Dependencies` says everything that a captured step depends on, and takes as long as a small scan.
That nothing has changed since is told in a microsecond or two, by the identity of what the cell,
its modules and their classes hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from operator import attrgetter, is_
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.engine.dependencies import Dependencies, own_bases
from carousel.engine.standin import lifted
from carousel.torch_private import BACKWARD_HOOKS, GLOBAL_HOOKS, HOOKS, MODULE_TABLES

_CODE, _CONTENTS = attrgetter("__code__"), attrgetter("cell_contents")
_PARTS = attrgetter("__code__", "__defaults__", "__kwdefaults__")
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


class Snapshot:
    """A cell's key and weights, and whether they still hold.

    key:         equal for cells whose captured steps are the same.
    weight:      a parameter, or else a buffer, that tells the cell's dtype and device; None where there is none.
    weights:     parameters and buffers by name, as in `lifted`.
    has_made_tensors: it has weights that are made (`made.py`).
    is_settled:  nothing that it holds can change and stay the same object, or keeps the cell alive.
    """

    def __init__(self, cell: Cell) -> None:
        found = Dependencies(cell)
        self.key = Key(tuple(found.items))
        self.weights: dict[str, Tensor] = lifted(cell)
        self.weight = next((tensor for tensor in self.weights.values() if tensor.is_floating_point()), None)
        self.is_settled, self.has_made_tensors = found.is_settled, found.has_made_tensors
        modules = list(cell.modules())
        bases = dict.fromkeys([*(base for module in modules for base in own_bases(type(module))), *found.classes])
        parts = [module.__dict__[part] for module in modules for part in MODULE_TABLES]
        hooks = [*GLOBAL_HOOKS, *(module.__dict__[table] for module in modules for table in (*HOOKS, *BACKWARD_HOOKS))]
        self._unhooked = [table for table in hooks if not table]
        held: list[Mapping[Any, Any]] = [*(module.__dict__ for module in modules), *parts, *filter(None, hooks), *map(vars, bases)]
        self._now = [*(mapping.values() for mapping in held), (_END,)]  # a longer or a shorter one moves the end
        self._then = list(chain.from_iterable(self._now))
        self._functions = [item for base in bases for item in vars(base).values() if isinstance(item, FunctionType)]
        self._codes = list(map(_CODE, self._functions))
        self._own, self._parts = found.functions, list(map(_PARTS, found.functions))
        self._spaces, self._names, self._read = map(list, zip(*found.guards, strict=True)) if found.guards else ([], [], [])
        self._variables, self._contents = found.variables, list(map(_CONTENTS, found.variables))
        self._kind, self._default = type(cell), torch.get_default_dtype()
        self._submodules = modules[1:]
        self._kinds = list(map(type, self._submodules))

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is as it was; False where that cannot be told from identities."""
        return (
            self.is_settled
            and type(cell) is self._kind
            and torch.get_default_dtype() is self._default
            and all(map(is_, chain.from_iterable(self._now), self._then))
            and (not self._read or all(map(is_, map(dict.get, self._spaces, self._names), self._read)))
            and (not self._variables or all(map(is_, map(_CONTENTS, self._variables), self._contents)))
            and not any(self._unhooked)
            and list(map(_CODE, self._functions)) == self._codes
            and (not self._own or list(map(_PARTS, self._own)) == self._parts)
            and list(map(type, self._submodules)) == self._kinds
        )


_watched: WeakKeyDictionary[Cell, Snapshot] = WeakKeyDictionary()


def snapshot_of(cell: Cell) -> Snapshot:
    """The cell's key and weights as they are now.

    Raises:
        InputError: an attribute that cannot be compared, as in `Dependencies`.
    """
    found = _watched.get(cell)
    if found is None or not found.holds(cell):
        found = Snapshot(cell)
        if found.is_settled:
            _watched[cell] = found
        else:  # what it holds may hold the cell
            _watched.pop(cell, None)
    return found
