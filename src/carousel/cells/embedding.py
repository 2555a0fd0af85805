"""Embedding: a learned vector for each symbol (Bengio et al., JMLR 3, 2003, section 2: the matrix C).

A step gives::

    y = E[x]

with x a whole number from 0 to N - 1; there is no state.

Not here: anything between the vectors of different symbols.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from carousel.cell import Cell
from carousel.cells._common import check_sizes


class Embedding(Cell):
    """One look into a table. x is an int64 tensor () from 0 to N - 1; y is its row (M,). The state is ().

    Args:
        symbols:      N, rows of the table.
        output_size:  M, length of y.

    The parameter E (N, M) starts as N(0, 1), as in torch.nn.Embedding.
    """

    output_size: int

    def __init__(
        self, symbols: int, output_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        check_sizes("Embedding", symbols=symbols, output_size=output_size)
        self.symbols, self.output_size = symbols, output_size
        self.E = nn.Parameter(torch.empty(symbols, output_size, device=device, dtype=dtype))
        nn.init.normal_(self.E)

    def initial_state(self) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return F.embedding(x, self.E), state
