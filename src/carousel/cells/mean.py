"""Mean: the mean of the inputs so far, so that an answer rests on a whole sequence and not on its end.

A step gives::

    s = s' + x
    n = n' + 1
    y = s / n

with s', n' the previous state, zero at first. On top of a network with a linear readout this is
mean pooling over time: the mean of W h + b is W times the mean of h, plus b.

Not here: anything trained.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.cells._common import check_sizes


class MeanState(NamedTuple):
    """s: (I,) sum of the inputs; n: () their number."""

    s: Tensor
    n: Tensor


class Mean(Cell):
    """One step of a running mean; y has the length of x.

    Args:
        input_size:  I, length of x.
    """

    input_size: int
    output_size: int

    def __init__(self, input_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_sizes("Mean", input_size=input_size)
        self.input_size = self.output_size = input_size
        # There are no parameters; the start tells dtype and device instead.
        self.zero = torch.nn.Buffer(torch.zeros((), device=device, dtype=dtype), persistent=False)

    def initial_state(self) -> MeanState:
        return MeanState(self.zero.expand(self.input_size), self.zero)

    def step(self, x: Tensor, state: MeanState) -> tuple[Tensor, MeanState]:
        s, n = state.s + x, state.n + 1
        return s / n, MeanState(s, n)
