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
- ``gated``: the gates there are, of "in" and "out". Without an input gate everything enters a cell (y_in = 1), without an
  output gate it is always seen (y_out = 1); with neither, a block is the constant error carousel alone.
- ``recurrent=False``: cells and gates see the inputs alone, no activations of the step before.
- ``simple=True``: the network of experiments 2a and 2b: no output gate, h(a) = a, g = f; cells and input gates see
  x alone, output units see x and the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.cells._common import check_sizes, squashing, uniform_
from carousel.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Biases = Literal["none", "gates", "hidden", "all"]
GATED = (("in", "out"), ("in",), ("out",), ())


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

    Parameters W (n, I + n) with n = N (2 + S) hidden units, or (n, I) without recurrence, V (K, N S), and b and c where
    there are biases; the simple network has W (N (1 + S), I) and V (K, I + N S).
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
        gated: Sequence[str] = ("in", "out"),
        recurrent: bool = True,
        simple: bool = False,
        bound: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("LSTM1997", input_size=input_size, output_size=output_size, blocks=blocks, block_size=block_size)
        if biases not in get_args(Biases):
            raise InputError(f"LSTM1997: expected biases to be one of {', '.join(get_args(Biases))}, got {biases!r}")
        if tuple(gated) not in GATED:
            raise InputError(f"LSTM1997: expected gated to be some of 'in', 'out', in this order, got {list(gated)}")
        if simple and tuple(gated) != GATED[0]:
            raise InputError(f"LSTM1997: simple=True has its own gates; expected gated to be left out, got {list(gated)}")
        self.gated = ("in",) if simple else tuple(gated)
        for name, start in (("in", in_bias), ("out", out_bias)):
            if start is not None and (biases == "none" or len(start) != blocks or name not in self.gated):
                raise InputError(
                    f"LSTM1997: expected {name}_bias with a number for each of {blocks} gates with a bias, got {list(start)}"
                )
        self.f = squashing("LSTM1997", "output", output, ("sigmoid", "identity"))
        self.input_size, self.output_size = input_size, output_size
        self.blocks, self.block_size, self.simple = blocks, block_size, simple
        self.recurrent = recurrent and not simple
        gates, cells = blocks * len(self.gated), blocks * block_size
        self.hidden_size = gates + cells
        biased = {"none": 0, "gates": gates}.get(biases, self.hidden_size)

        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.W = nn.Parameter(torch.empty(self.hidden_size, input_size + (self.hidden_size if self.recurrent else 0), **like))
        self.V = nn.Parameter(torch.empty(output_size, cells + (input_size if simple else 0), **like))
        self.b = nn.Parameter(torch.empty(biased, **like)) if biased else None
        self.c = nn.Parameter(torch.empty(output_size, **like)) if biases == "all" else None
        uniform_([self.W, self.V, self.b, self.c], bound)
        if self.b is not None:
            for gate, start in (("in", in_bias), ("out", out_bias)):
                if start is not None:
                    first = blocks * self.gated.index(gate)
                    self.b.data[first : first + blocks] = self.b.new_tensor(start)

    def initial_state(self) -> LSTM1997State:
        return LSTM1997State(self.W.new_zeros(self.blocks * self.block_size), self.W.new_zeros(self.hidden_size))

    def gates(self, x: Tensor, state: LSTM1997State) -> dict[str, Tensor]:
        """in (N,) and out (N,) where there are such gates, g and the internal state s (N S,) that they give."""
        net = self.W @ (torch.cat([x, state.y]) if self.recurrent else x)
        if self.b is not None:
            unbiased = self.hidden_size - len(self.b)
            net = net + (torch.cat([self.b, self.b.new_zeros(unbiased)]) if unbiased else self.b)
        N, S = self.blocks, self.block_size
        gates = {gate: torch.sigmoid(net[n * N : (n + 1) * N]) for n, gate in enumerate(self.gated)}
        g = torch.sigmoid(net[-N * S :])
        if not self.simple:
            g = 4 * g - 2
        return {**gates, "g": g, "s": state.s + self._by_block(gates.get("in"), g)}

    def step(self, x: Tensor, state: LSTM1997State) -> tuple[Tensor, LSTM1997State]:
        gates = self.gates(x, state)
        s = gates["s"]
        cells = s if self.simple else self._by_block(gates.get("out"), 2 * torch.sigmoid(s) - 1)
        net = self.V @ (torch.cat([x, cells]) if self.simple else cells)
        y = self.f(net if self.c is None else net + self.c)
        return y, LSTM1997State(s, torch.cat([*(gates[gate] for gate in self.gated), cells]))

    def _by_block(self, gate: Tensor | None, cells: Tensor) -> Tensor:
        """(N S,): each cell's value times its block's gate, where there is one."""
        if gate is None:
            return cells
        return (gate[:, None] * cells.reshape(self.blocks, self.block_size)).reshape(self.blocks * self.block_size)

    def draw(self) -> Figure:
        """A picture of the network: inputs below, blocks with their gates, output units above, and who sees whom."""
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch

        N, S = self.blocks, self.block_size
        kinds = [*["in"] * ("in" in self.gated), *["cell"] * S, *["out"] * ("out" in self.gated)]
        hidden = [(block * (len(kinds) + 0.8) + n, kind) for block in range(N) for n, kind in enumerate(kinds)]
        width = max(hidden[-1][0], self.input_size - 1, self.output_size - 1)

        def spread(count: int, units: float) -> list[float]:
            return [(width - units) / 2 + n * units / max(count - 1, 1) for n in range(count)] if count > 1 else [width / 2]

        inputs, outputs = spread(self.input_size, self.input_size - 1), spread(self.output_size, self.output_size - 1)
        shift = (width - hidden[-1][0]) / 2
        units = [(place + shift, kind) for place, kind in hidden]
        cells = [place for place, kind in units if kind == "cell"]
        figure = Figure(figsize=(max(0.62 * width + 2.6, 5.0), 4.6), layout="constrained")
        axes = figure.subplots()
        for below, above, height, colour in (
            (inputs, [place for place, _ in units], 0, "#BBBBBB"),
            (cells, outputs, 1, "#0072B2"),
            *([(inputs, outputs, 0, "#BBBBBB")] if self.simple else []),
        ):
            top = 1 if height == 0 and above is not outputs else 2
            for one in below:
                axes.plot([[one] * len(above), above], [[height] * len(above), [top] * len(above)], color=colour, lw=0.6, zorder=1)
        for block in range(N):
            first = units[block * len(kinds)][0] - 0.5
            box = FancyBboxPatch((first, 0.84), len(kinds), 0.32, boxstyle="round,pad=0.04", fc="#F5F7F9", ec="#999999", zorder=0)
            axes.add_patch(box)
        look: dict[str, Any] = {"ms": 21, "mec": "black", "mew": 0.8, "zorder": 3}
        for place, kind in units:
            axes.plot(place, 1, "s" if kind == "cell" else "o", mfc="#9FD0EC" if kind == "cell" else "white", **look)
            axes.text(place, 1, kind, ha="center", va="center", fontsize=7, zorder=4)
        axes.plot(inputs, [0] * len(inputs), "o", mfc="white", **look)
        axes.plot(outputs, [2] * len(outputs), "o", mfc="white", **look)
        if self.recurrent:
            end = units[-1][0] + 0.75
            axes.annotate("", (end, 0.8), (end, 1.2), arrowprops={"arrowstyle": "->", "connectionstyle": "arc3,rad=-1"})
            axes.text(end + 1.1, 1, "every gate and cell\nto every gate and cell,\na step later", va="center", fontsize=8)
        for height, name, count in ((0, "input", self.input_size), (2, "output unit", self.output_size)):
            axes.text(-0.9, height, f"{count} {name}{'s' * (count > 1)}", ha="right", va="center", fontsize=9)
        axes.text(-0.9, 1, f"{N} block{'s' * (N > 1)} of {S}", ha="right", va="center", fontsize=9)
        biases = sum(len(one) for one in (self.b, self.c) if one is not None)
        weights = sum(parameter.numel() for parameter in self.parameters())
        axes.set_title(f"{weights} weights, {biases} of them biases", fontsize=10)
        axes.set(xlim=(-3.6, width + (5.4 if self.recurrent else 0.6)), ylim=(-0.3, 2.3))
        axes.axis("off")
        return figure
