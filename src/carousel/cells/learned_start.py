"""LearnedStart: any cell, its state before the first step learned.

The state that the cell would start with becomes parameters, a start of zeros unless the cell has another.

Not here: a start that depends on the sequence; give `scan` a state for that.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from carousel.cell import Cell, NoiseShapes, State
from carousel.torch_private import pytree


class LearnedStart(Cell):
    """The cell, with its initial state as parameters ``start``, one a leaf of the state.

    Args:
        cell:  its state is all of floating point.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.output_size, self.carries = cell.input_size, cell.output_size, cell.carries
        leaves = [leaf.detach().clone() for leaf in pytree.tree_leaves(cell.initial_state())]
        self.start = nn.ParameterList(nn.Parameter(leaf) for leaf in leaves)

    def initial_state(self) -> State:
        return pytree.tree_unflatten(list(self.start), pytree.tree_structure(self.cell.initial_state()))

    def noise_shapes(self) -> NoiseShapes:
        return self.cell.noise_shapes()

    def gates(self, x: Any, state: State) -> dict[str, Any]:
        return self.cell.gates(x, state)

    def step(self, x: Any, state: State, *, context: Any = None, noise: Any = None) -> tuple[Any, State]:
        return self.cell(x, state, context=context, noise=noise)
