"""LSTM as published in 1997: memory cell blocks, and the network of inputs, blocks and output units.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 4 and appendix A. One step, with x the
input, y' the activations of all hidden units at the step before, z = [x, y'] and block j of a cell v::

    y_in   = f(W_in z + b_in)                one input gate a block
    y_out  = f(W_out z + b_out)              one output gate a block
    s_v    = s_v' + y_in_j g(W_c z + b_c)    internal state of a cell, s(0) = 0
    y_v    = y_out_j h(s_v)                  activation of a cell
    y      = f(V y_c + c)                    output units, from the cells' activations of this step

    f(a) = 1 / (1 + exp(-a)),  g(a) = 4 f(a) - 2,  h(a) = 2 f(a) - 1

W holds the rows of the input gates, the output gates and the cells in this order, b likewise. There is no
forget gate and no peephole (the library's `LSTM` has them). The hidden gates are seen by the next step like
the cells. That, and output units which see the cells alone, reproduces every weight count of the paper.

Options:

- ``biases``: the units that have one: "none", "gates", "hidden" (gates and cells) or "all" (output units too).
- ``in_bias``, ``out_bias``: a block's start of b_in and b_out (against drift and abuse of the cells);
  None draws them like the other weights.
- ``output="identity"``: linear output units, y = V y_c + c.
- ``simple=True``: the network of experiments 2a and 2b: no output gate, h(a) = a, g = f; cells and input gates see
  x alone, output units see x and the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.cells._common import check_sizes, squashing, uniform_
from carousel.errors import InputError

Biases = Literal["none", "gates", "hidden", "all"]


class LSTM1997State(NamedTuple):
    """s: (blocks * block_size,) internal states; y: activations of all hidden units, in the order of W's rows."""

    s: Tensor
    y: Tensor


class LSTM1997(Cell):
    """The network of 1997, output units included; the module's docstring has the equations and the options.

    Args:
        input_size:   I, length of x.
        output_size:  K, length of y, in (0, 1) unless the output units are linear.
        blocks:       N, number of memory cell blocks.
        block_size:   S, cells of a block.
        bound:        every weight starts as U(-bound, bound).

    Parameters W (n, I + n) with n = N (2 + S) hidden units, V (K, N S), and b and c where there are biases; the simple
    network has W (N (1 + S), I) and V (K, I + N S).
    """

    input_size: int
    output_size: int
    carries = ("s",)

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        blocks: int,
        block_size: int = 1,
        biases: Biases = "all",
        in_bias: Sequence[float] | None = None,
        out_bias: Sequence[float] | None = None,
        output: str = "sigmoid",
        simple: bool = False,
        bound: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("LSTM1997", input_size=input_size, output_size=output_size, blocks=blocks, block_size=block_size)
        if biases not in get_args(Biases):
            raise InputError(f"LSTM1997: expected biases to be one of {', '.join(get_args(Biases))}, got {biases!r}")
        for name, start in (("in_bias", in_bias), ("out_bias", out_bias)):
            if start is not None and (biases == "none" or len(start) != blocks or (simple and name == "out_bias")):
                raise InputError(
                    f"LSTM1997: expected {name} with a number for each of {blocks} gates with a bias, got {list(start)}"
                )
        self.f = squashing("LSTM1997", "output", output, ("sigmoid", "identity"))
        self.input_size, self.output_size = input_size, output_size
        self.blocks, self.block_size, self.simple = blocks, block_size, simple
        gates, cells = blocks if simple else 2 * blocks, blocks * block_size
        self.hidden_size = gates + cells
        biased = {"none": 0, "gates": gates}.get(biases, self.hidden_size)

        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.W = nn.Parameter(torch.empty(self.hidden_size, input_size + (0 if simple else self.hidden_size), **like))
        self.V = nn.Parameter(torch.empty(output_size, cells + (input_size if simple else 0), **like))
        self.b = nn.Parameter(torch.empty(biased, **like)) if biased else None
        self.c = nn.Parameter(torch.empty(output_size, **like)) if biases == "all" else None
        uniform_([self.W, self.V, self.b, self.c], bound)
        if self.b is not None:
            for first, start in ((0, in_bias), (blocks, out_bias)):
                if start is not None:
                    self.b.data[first : first + blocks] = self.b.new_tensor(start)

    def initial_state(self) -> LSTM1997State:
        return LSTM1997State(self.W.new_zeros(self.blocks * self.block_size), self.W.new_zeros(self.hidden_size))

    def gates(self, x: Tensor, state: LSTM1997State) -> dict[str, Tensor]:
        """in (N,), out (N,) where there are output gates, g and the internal state s (N S,) that they give."""
        net = self.W @ (x if self.simple else torch.cat([x, state.y]))
        if self.b is not None:
            unbiased = self.hidden_size - len(self.b)
            net = net + (torch.cat([self.b, self.b.new_zeros(unbiased)]) if unbiased else self.b)
        N, S = self.blocks, self.block_size
        y_in = torch.sigmoid(net[:N])
        g = torch.sigmoid(net[-N * S :])
        if not self.simple:
            g = 4 * g - 2
        gates = {"in": y_in} if self.simple else {"in": y_in, "out": torch.sigmoid(net[N : 2 * N])}
        return {**gates, "g": g, "s": state.s + self._by_block(y_in, g)}

    def step(self, x: Tensor, state: LSTM1997State) -> tuple[Tensor, LSTM1997State]:
        gates = self.gates(x, state)
        s = gates["s"]
        cells = s if self.simple else self._by_block(gates["out"], 2 * torch.sigmoid(s) - 1)
        net = self.V @ (torch.cat([x, cells]) if self.simple else cells)
        y = self.f(net if self.c is None else net + self.c)
        hidden = [gates["in"], cells] if self.simple else [gates["in"], gates["out"], cells]
        return y, LSTM1997State(s, torch.cat(hidden))

    def _by_block(self, gate: Tensor, cells: Tensor) -> Tensor:
        """(N S,): each cell's value times its block's gate."""
        return (gate[:, None] * cells.reshape(self.blocks, self.block_size)).reshape(self.blocks * self.block_size)
