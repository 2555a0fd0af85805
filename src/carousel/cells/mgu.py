"""MGU: the minimal gated unit, one gate that both forgets and resets.

Zhou, Wu, Zhang & Zhou, arXiv 1603.09420v1, equations of its Table 1::

    f = sigmoid(W_f x + U_f h' + b_f)             forget gate
    n = tanh(W_n x + U_n (f * h') + b_n)          candidate (h with a tilde in the paper)
    h = (1 - f) * h' + f * n

with h' the previous state; y is h. W, U and b hold the rows of f and n in this order; 2/3 of a
GRU's parameters, 2 (H I + H H + H). f = 1 replaces the state altogether, whatever the gate's name
says; that is the paper's convention, and opposite to LSTM's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.cells._common import check_sizes, uniform_


class MGU(Cell):
    """One step of a minimal gated unit. The state is the tensor h (H,).

    Args:
        input_size:   I, length of x.
        hidden_size:  H, number of units; y is h.

    Parameters W (2H, I), U (2H, H), b (2H,) start as U(-1/sqrt(H), 1/sqrt(H)).
    """

    input_size: int
    output_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("MGU", input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.W = nn.Parameter(torch.empty(2 * hidden_size, input_size, **like))
        self.U = nn.Parameter(torch.empty(2 * hidden_size, hidden_size, **like))
        self.b = nn.Parameter(torch.empty(2 * hidden_size, **like))
        uniform_([self.W, self.U, self.b], hidden_size**-0.5)

    def initial_state(self) -> Tensor:
        return self.W.new_zeros(self.hidden_size)

    def gates(self, x: Tensor, state: Tensor) -> dict[str, Tensor]:
        """f and n, each (H,)."""
        from_x_f, from_x_n = (self.W @ x + self.b).chunk(2)
        U_f, U_n = self.U.chunk(2)
        f = torch.sigmoid(from_x_f + U_f @ state)
        n = torch.tanh(from_x_n + U_n @ (f * state))
        return {"f": f, "n": n}

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.gates(x, state)
        f, n = gates["f"], gates["n"]
        h = (1 - f) * state + f * n
        return h, h
