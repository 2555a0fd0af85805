"""Weights that a module makes from other tensors: pruning, spectral and weight norm, parametrizations, weight drop.

PyTorch's own layers make such a weight once a call, and gradients flow through it to what it is made from. So it is here:
it is made when a call of scan begins, and the step takes it as it takes a buffer. A plain tensor among the attributes of a
module, which is how a weight made by the caller comes (weight drop), is taken likewise.
"""

from __future__ import annotations

from torch import Tensor, nn

from carousel.cell import Cell
from carousel.engine.dependencies import makes_weight, own_attributes
from carousel.engine.snapshot import snapshot_of
from carousel.engine.standin import lifted, stand_in
from carousel.errors import InputError
from carousel.torch_private import MODULES, PRE_HOOKS


def with_made_weights(cell: Cell) -> Cell:
    """A stand-in for the cell that has the weights that are made as buffers."""
    for module in cell.modules():
        for hook in list(module.__dict__[PRE_HOOKS].values()):
            if makes_weight(hook):
                hook(module, None)
    return stand_in(cell, lifted(cell), {id(module): _made(module) for module in cell.modules()})


def _made(module: nn.Module) -> dict[str, Tensor]:
    """The module's plain tensors, and what its parametrizations give, by name."""
    plain = {name: module.__dict__[name] for name in own_attributes(module) if isinstance(module.__dict__[name], Tensor)}
    parametrized = module.__dict__[MODULES].get("parametrizations")
    return plain if parametrized is None else plain | {name: getattr(module, name) for name in parametrized.__dict__[MODULES]}


def refuse_made_weights(who: str, cell: Cell) -> None:
    """Raise where a weight of the cell is made from others: who takes derivatives by name would miss it."""
    if snapshot_of(cell).has_made_tensors:
        raise InputError(
            f"{who}: expected a {type(cell).__name__} whose weights are parameters, got one that makes a weight from others "
            f"(pruning, a norm, a parametrization) or holds a plain tensor; make it permanent, or a parameter or buffer"
        )
