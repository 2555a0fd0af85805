"""Elman: the simple recurrent network.

Elman, Cognitive Science 14(2), 1990, in the form of torch.nn.RNN::

    h = f(W x + U h' + b)           f = tanh or relu

with h' the previous state; y is h. Elman's context units are h'.

Not here: Elman's truncation of the gradient at the context units (a learner's business:
``BPTT(window=1)``), his output layer (a readout), and torch's second bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.cells._common import check_sizes, squashing, uniform_


class Elman(Cell):
    """One step of a simple recurrent network. The state is the tensor h (H,).

    Args:
        input_size:    I, length of x.
        hidden_size:   H, number of units; y is h.
        nonlinearity:  f, "tanh" or "relu".
        bias:          whether there is a b.

    Parameters W (H, I), U (H, H), b (H,) start as U(-1/sqrt(H), 1/sqrt(H)), as in torch.nn.RNN.
    """

    input_size: int
    output_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("Elman", input_size=input_size, hidden_size=hidden_size)
        self.f = squashing("Elman", "nonlinearity", nonlinearity, ("tanh", "relu"))
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.W = nn.Parameter(torch.empty(hidden_size, input_size, **like))
        self.U = nn.Parameter(torch.empty(hidden_size, hidden_size, **like))
        self.b = nn.Parameter(torch.empty(hidden_size, **like)) if bias else None
        uniform_([self.W, self.U, self.b], hidden_size**-0.5)

    def initial_state(self) -> Tensor:
        return self.W.new_zeros(self.hidden_size)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        net = self.W @ x + self.U @ state
        h = self.f(net if self.b is None else net + self.b)
        return h, h
