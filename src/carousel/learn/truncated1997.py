"""The truncated rule of 1997, in its forward form: error flows back through the internal state only.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, appendix A.1. The derivatives of a step with respect to all of
the state before it are cut, but for the fields that the cell names in ``carries``, s below. With D the derivative of s
with respect to s', which must be diagonal::

    dE/dw   =  (dE/dw at s' fixed) + dE/ds' ds'/dw             the gradient of this step's loss
    ds/dw   =  D ds'/dw + (ds/dw at s' fixed)                  the traces, one step on

Nothing is kept of the steps before. Entries of s that share no weight share a trace (Curtis, Powell & Reid, J. Inst.
Maths Applics 13, 1974, call them of one colour): S traces are enough for memory blocks of S cells, and one for the LSTM
of today. So time and memory of a step are proportional to the number of weights.

`LSTM1997` and the `LSTM` in its forms without noise fit, alone or with a readout; others are refused, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from carousel.cell import Cell, Stack, State
from carousel.errors import InputError
from carousel.learn.online import Every, OnlineCell, OnlineRule, OnlineStep, Parameters, learns_its_start
from carousel.learn.sparsity import colouring, dependences
from carousel.network import StepLoss
from carousel.torch_private import pytree


@dataclass(frozen=True)
class Truncated1997(OnlineRule):
    """The rule of appendix A.1, for networks whose cells name in ``carries`` what carries the error.

    Args:
        every:  "step": an update at every step that counts, as in the paper; "sequence": one at a sequence's end.
    """

    def cell(self, network: Cell, loss: StepLoss, rate: float) -> OnlineCell:
        return _Truncated(network, loss, rate, self.every)


class _Truncated(OnlineCell):
    """A network under the truncated rule. Its traces: of each colour, the derivatives of s by the parameters' names."""

    def __init__(self, network: Cell, loss: StepLoss, rate: float, every: Every) -> None:
        super().__init__(network, loss, rate, every)
        self.carried = tuple(_carried(network, network.initial_state()))
        if learns_its_start(network):
            raise InputError(f"Truncated1997: expected a fixed initial state, {type(network).__name__} learns its own")
        if not any(self.carried):
            raise InputError(f"Truncated1997: {type(network).__name__} names no state that carries error (Cell.carries)")
        colours, owners = _colours(network, self.carried)
        self.owned = tuple(tuple(owner) for owner in owners)
        for number, (colour, owner) in enumerate(zip(colours, owners, strict=True)):
            self.register_buffer(f"colour{number}", colour)
            for name, rows in owner.items():
                self.register_buffer(_buffer(number, name), rows)

    def first_traces(self, parameters: Parameters) -> list[Parameters]:
        return [{name: torch.zeros_like(parameters[name]) for name in names} for names in self.owned]

    def learn(
        self, parameters: Parameters, x: OnlineStep, network: State, traces: list[Parameters]
    ) -> tuple[Any, State, list[Parameters], Parameters]:
        y, after, found, error, pull = self.derivatives(parameters, x, network, self.carried)
        pulled = [pull(getattr(self, f"colour{number}")) for number in range(len(self.owned))]
        kept = sum(slope for _, slope in pulled)  # D, which is diagonal
        new_traces: list[Parameters] = []
        for number, (trace, (fresh, _)) in enumerate(zip(traces, pulled, strict=True)):
            new_traces.append({})
            for name, derivative in trace.items():
                owner = getattr(self, _buffer(number, name))
                found[name] = found[name] + _rows(error, owner, derivative) * derivative
                new_traces[-1][name] = _rows(kept, owner, derivative) * derivative + fresh[name]
        return y, after, new_traces, found


def _buffer(colour: int, name: str) -> str:
    return f"owner{colour}_{name.replace('.', '_')}"


def _rows(values: Tensor, owner: Tensor, like: Tensor) -> Tensor:
    """The entry of s that owns each row of a parameter, along that parameter's other axes."""
    return values.index_select(0, owner).reshape(-1, *(1,) * (like.dim() - 1))


def _carried(cell: Cell, state: State) -> list[bool]:
    """Of each leaf of the state whether it carries error."""
    if isinstance(cell, Stack):
        return [mark for layer, own in zip(cell.cells, state, strict=True) for mark in _carried(layer, own)]  # type: ignore[arg-type]
    if not cell.carries:
        return [False] * len(pytree.tree_leaves(state))
    return [field in cell.carries for field in state._fields]


def _colours(network: Cell, carried: tuple[bool, ...]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """For each colour: 1 for its entries of s, else 0; and by parameter which entry of s owns each of its rows.

    Raises:
        InputError: a network for which the rule has no forward form.
    """
    who = f"Truncated1997: {type(network).__name__}"
    if network.input_size is None:
        raise InputError(f"{who}: expected a network whose input is a vector")
    parameters: Parameters = dict(network.named_parameters())
    slopes, patterns = dependences(network, carried, parameters)
    m = len(slopes)
    for row, column in (slopes & ~torch.eye(m, dtype=torch.bool)).nonzero().tolist():
        raise InputError(
            f"{who}: entry {row} of the state that carries error depends on entry {column} of it at the step before; "
            "the rule's forward form needs entries that depend on themselves alone"
        )
    colours = colouring(patterns)
    one = next(iter(parameters.values()))
    marks = [one.new_zeros(m) for _ in colours]
    owners: list[dict[str, Tensor]] = []
    for mark, colour in zip(marks, colours, strict=True):
        mark[colour] = 1
        owners.append({})
        for name, pattern in patterns.items():
            rows = pattern[colour].flatten(2).any(2) if pattern.dim() > 2 else pattern[colour]  # (entries, rows)
            if not rows.any():
                continue
            if (rows.sum(0) > 1).any():
                raise InputError(f"{who}: one row of parameter {name} holds weights of several entries of the carried state")
            owners[-1][name] = torch.tensor(colour)[rows.long().argmax(0)]
    return marks, owners
