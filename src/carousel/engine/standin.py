"""A stand-in for a cell: the same modules with other tensors in them, so that its step may run and the cell is left alone.

Other threads may use the cell meanwhile, and whatever the step does to its cell it does to the stand-in, where it is
found out: a step runs once for all time steps, so an attribute that it changes would be changed once.
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from types import MappingProxyType, MethodType
from typing import Any

import numpy as np
from torch import Tensor

from carousel.cell import Cell
from carousel.engine.dependencies import Dependencies, makes_weight, own_attributes
from carousel.errors import InputError
from carousel.torch_private import BUFFERS, HOOKS, MODULES, PARAMETERS, PRE_HOOKS


def lifted(cell: Cell) -> dict[str, Tensor]:
    """The cell's parameters and buffers by name: what the graph of its step takes as inputs."""
    return {**dict(cell.named_parameters()), **dict(cell.named_buffers())}


def stand_in(cell: Cell, weights: Mapping[str, Tensor], made: Mapping[int, Mapping[str, Tensor]] = MappingProxyType({})) -> Cell:
    """The cell with tensors and containers of its own.

    Args:
        weights:  those in the place of `lifted`, by the same names.
        made:     by the id of a module tensors to hold as buffers, in the place of what makes them.
    """
    given = {id(tensor): weights[name] for name, tensor in lifted(cell).items()}
    modules = list(cell.modules())
    others: dict[int, Any] = {}
    for module in modules:
        is_parametrized = (
            made and "parametrizations" in module.__dict__[MODULES]
        )  # its class has been replaced by one derived from it
        others[id(module)] = object.__new__(type(module).__mro__[1] if is_parametrized else type(module))

    def own(value: Any) -> Any:
        if isinstance(value, MethodType) and id(value.__self__) in others:
            return MethodType(value.__func__, others[id(value.__self__)])
        if type(value) in (list, tuple, set):
            return type(value)(map(own, value))
        if isinstance(value, dict):
            other = copy.copy(value)
            other.update((key, own(item)) for key, item in value.items())
            return other
        if isinstance(value, functools.partial):
            return functools.partial(own(value.func), *map(own, value.args), **own(value.keywords))
        if isinstance(value, np.ndarray) or (is_dataclass(value) and not isinstance(value, type)):
            return copy.copy(value)
        return value

    for module in modules:
        held = others[id(module)].__dict__
        held.update(module.__dict__)
        for name in (*own_attributes(module), *HOOKS):
            held[name] = own(held[name])
        for part, found in ((PARAMETERS, given), (BUFFERS, given), (MODULES, others)):
            held[part] = {name: found.get(id(item)) for name, item in module.__dict__[part].items()}
        if id(module) in made:
            held[PRE_HOOKS] = {n: hook for n, hook in held[PRE_HOOKS].items() if not makes_weight(hook)}
            held[MODULES].pop("parametrizations", None)
            held[BUFFERS].update(made[id(module)])
            for name in made[id(module)]:
                held.pop(name, None)
    return others[id(cell)]


@contextmanager
def unchanging(cell: Cell) -> Iterator[None]:
    """Raise where running the step of a stand-in changes anything but its results.

    Raises:
        InputError: an attribute, a buffer, or what the step reads from outside has changed, or a random number was drawn.
    """
    name = type(cell).__name__
    before, tensors = Dependencies(cell).items, lifted(cell)
    drawn = _generators()
    yield
    if _generators() != drawn:
        raise InputError(
            f"{name}.step draws random numbers, which would be drawn once for all steps; "
            f"declare them in noise_shapes() and read them from noise"
        )
    after = lifted(cell)
    changed = [where for where, tensor in tensors.items() if after.get(where) is not tensor]
    now = Dependencies(cell, changed=True).items
    if len(now) != len(before):
        then = {where for where, _ in before}
        changed += [where for where, _ in now if where not in then]
    changed += [where for (where, new), (_, old) in zip(now, before, strict=False) if new != old]
    if changed:
        raise InputError(
            f"{name}.step changes {changed[0]} while it runs, which would happen once for all steps; "
            f"carry it in the state, or give it to scan as an input"
        )


def _generators() -> Any:
    """The states of the random number generators that all code shares."""
    of_numpy: Any = np.random.get_state()
    return random.getstate(), of_numpy[1].tobytes(), of_numpy[2:]
