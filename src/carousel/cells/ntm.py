"""NTM: the Neural Turing Machine, a controller that reads and writes a memory matrix through heads.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, sections 3.1-3.4. The controller sees the input and what
was read one step before; every head takes its parameters from the controller's output h::

    h = controller([x; r'])
    k = tanh(.)   beta = softplus(.)   g = sigmoid(.)   s = softmax(.)   gamma = 1 + softplus(.)
    e = sigmoid(.)   a = tanh(.)                        each of its own affine map of h

A head's weighting w over the N rows of the memory M, w' being its weighting one step before::

    K(i)   = k . M(i) / sqrt(|k|^2 |M(i)|^2 + epsilon)              (6)   cosine similarity
    w_c(i) = exp(beta K(i)) / sum_j exp(beta K(j))                  (5)   by content
    w_g    = g w_c + (1 - g) w'                                     (7)   interpolation
    w_s(i) = sum_j s(j) w_g(i - j)                                  (8)   shift, i - j modulo N
    w(i)   = (w_s(i) + epsilon)^gamma / sum_j (w_s(j) + epsilon)^gamma      (9)   sharpening

Write heads change the memory, all erasing before any adds; read heads read it::

    M(i) = M'(i) prod_heads (1 - w(i) e) + sum_heads w(i) a         (3, 4)
    r    = sum_i w(i) M(i), one for each read head                  (2)
    y    = W [h; r] + b

Write heads address M', the memory before the step. Read heads address and read M, what has just been
written, or M' too with ``read_first=True``. Equations 5 and 9 are computed as softmax (of beta K, and of
gamma log(w_s + epsilon)), so that no large beta or gamma gives 0 / 0.

The paper leaves open how the head's parameters are squashed and the state starts; the squashing above
and a memory that starts at 1e-6 are those of Collier & Beel, arXiv 1807.08518v3. y has no sigmoid: it
belongs to the loss.

Not here: dynamic allocation and temporal links (the differentiable neural computer of 2016).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from carousel.cell import Cell, Stack, State
from carousel.cells._common import check_sizes
from carousel.cells.learned_start import LearnedStart
from carousel.cells.lstm import LSTM
from carousel.errors import InputError

EPSILON = 1e-12
START = 1e-6
"""What a constant memory starts with."""


_PARTS = ("w", "k", "beta", "g", "s", "gamma")


class NTMState(NamedTuple):
    """memory (M, N): a row M(i) of the paper is a column, so that all N lie side by side and are worked on together; reads
    (R, M); read_w (R, N) and write_w (W, N): the weightings; the controller's state, () without."""

    memory: Tensor
    reads: Tensor
    read_w: Tensor
    write_w: Tensor
    controller: State


class NTM(Cell):
    """One step of a Neural Turing Machine; the module's docstring has the equations.

    Args:
        input_size:     I, length of x.
        output_size:    O, length of y.
        hidden_size:    H, units of a layer of the controller.
        controller:     "lstm", or "feedforward": layers of tanh units.
        layers:         of the controller.
        N, M:           rows of the memory and their length.
        read_heads:     R.
        write_heads:    W.
        shift_range:    heads shift by -shift_range..shift_range rows.
        memory:         what it starts with: "constant" 1e-6; "learned", tanh of a parameter that
                        starts there; "random", drawn from N(0, 0.5^2) when the cell is made, not trained;
                        "learned-random", tanh of a parameter drawn so.
        learned_start:  True: the first weightings (softmax of a parameter), reads (tanh of one) and state
                        of an LSTM controller are learned. False: weightings on row 0, the others zero.
        read_first:     whether heads read before the step's writing, or after it.

    Parameters start as torch.nn.Linear's and `LSTM`'s do; those of the first weightings from N(0, 1), of
    the other learned states at zero.
    """

    input_size: int
    output_size: int

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int = 100,
        *,
        controller: Literal["lstm", "feedforward"] = "lstm",
        layers: int = 1,
        N: int = 128,
        M: int = 20,
        read_heads: int = 1,
        write_heads: int = 1,
        shift_range: int = 1,
        memory: Literal["constant", "learned", "random", "learned-random"] = "constant",
        learned_start: bool = False,
        read_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "output_size": output_size, "hidden_size": hidden_size, "layers": layers}
        check_sizes("NTM", **sizes, N=N, M=M, read_heads=read_heads, write_heads=write_heads)
        if controller not in ("lstm", "feedforward"):
            raise InputError(f"NTM: expected controller to be lstm or feedforward, got {controller!r}")
        if memory not in ("constant", "learned", "random", "learned-random"):
            raise InputError(f"NTM: expected memory to be constant, learned, random or learned-random, got {memory!r}")
        if not 0 <= 2 * shift_range < N:
            raise InputError(f"NTM: expected shift_range in 0..{(N - 1) // 2} for a memory of {N} rows, got {shift_range}")
        self.input_size, self.output_size, self.N, self.M = input_size, output_size, N, M
        self.read_heads, self.write_heads, self.shift_range = read_heads, write_heads, shift_range
        self.memory, self.learned_start, self.read_first = memory, learned_start, read_first
        self.address_sizes = (M, 1, 1, 2 * shift_range + 1, 1)  # k, beta, g, s, gamma

        like: dict[str, Any] = {"device": device, "dtype": dtype}
        reads = read_heads * M
        self.controller = _controller(controller, input_size + reads, hidden_size, layers, learned_start, like)
        address = sum(self.address_sizes)
        self.to_read = nn.Linear(hidden_size, read_heads * address, **like)
        self.to_write = nn.Linear(hidden_size, write_heads * (address + 2 * M), **like)
        self.readout = nn.Linear(hidden_size + reads, output_size, **like)

        drawn = 0.5 * torch.randn(M, N, **like) if "random" in memory else torch.full((M, N), START, **like)
        self.memory0: Tensor = nn.Parameter(drawn) if "learned" in memory else nn.Buffer(drawn)
        if learned_start:
            self.reads0 = nn.Parameter(torch.zeros(read_heads, M, **like))
            # Not equal: on equal rows of memory, with equal weightings, no gradient would tell a row from another.
            self.read_w0 = nn.Parameter(torch.randn(read_heads, N, **like))
            self.write_w0 = nn.Parameter(torch.randn(write_heads, N, **like))

    def initial_state(self) -> NTMState:
        memory = torch.tanh(self.memory0) if "learned" in self.memory else self.memory0
        controller = self.controller.initial_state() if isinstance(self.controller, Cell) else ()
        if self.learned_start:
            read_w, write_w = torch.softmax(self.read_w0, 1), torch.softmax(self.write_w0, 1)
            return NTMState(memory, torch.tanh(self.reads0), read_w, write_w, controller)
        row_0 = torch.eye(1, self.N, dtype=memory.dtype, device=memory.device)
        read_w, write_w = row_0.expand(self.read_heads, -1), row_0.expand(self.write_heads, -1)
        return NTMState(memory, memory.new_zeros(self.read_heads, self.M), read_w, write_w, controller)

    def head_biases(self, kind: Literal["read", "write"]) -> dict[str, Tensor]:
        """Views (heads, size) of the biases of k, beta, g, s and gamma, and of a write head's erase and add, by these names.

        What is written there before training is how the heads set out: with a large beta and g they look up by content,
        with a small g and a large entry of s they walk.
        """
        return self._head_parts(kind, "bias")

    def head_weights(self, kind: Literal["read", "write"]) -> dict[str, Tensor]:
        """Likewise views (heads, size, hidden_size) of the weights that make them from the controller's output.

        With the weights and biases of a read head's k those of a write head's add, what is written can be found by what it
        was written from.
        """
        return self._head_parts(kind, "weight")

    def _head_parts(self, kind: Literal["read", "write"], which: str) -> dict[str, Tensor]:
        linear, heads, names = self.to_read, self.read_heads, list(_PARTS[1:])
        sizes = list(self.address_sizes)
        if kind == "write":
            linear, heads = self.to_write, self.write_heads
            names, sizes = [*names, "erase", "add"], [*sizes, self.M, self.M]
        whole = linear.get_parameter(which).detach()
        parts = whole.view(heads, sum(sizes), *whole.shape[1:]).split(sizes, 1)
        return dict(zip(names, parts, strict=True))

    def gates(self, x: Tensor, state: NTMState) -> dict[str, Tensor]:
        """What the heads do: see `work`."""
        return self.work(self._control(x, state)[0], state)

    def step(self, x: Tensor, state: NTMState) -> tuple[Tensor, NTMState]:
        h, controller = self._control(x, state)
        work = self.work(h, state)
        y = self.readout(torch.cat([h, work["reads"].flatten()]))
        return y, NTMState(work["memory"], work["reads"], work["read_w"], work["write_w"], controller)

    def work(self, h: Tensor, state: NTMState) -> dict[str, Tensor]:
        """What the heads do with the memory on the controller's output h.

        Returns:
            memory (M, N) and reads (R, M) after the step; the symbols of the module's docstring for read heads,
            read_w (R, N), read_k (R, M), read_beta, read_g, read_gamma (R, 1), read_s (R, shifts), and likewise
            for write heads, with erase and add (W, M).
        """
        address = sum(self.address_sizes)
        # Sizes in full: with no sequences at all, -1 could be anything.
        to_read = self.to_read(h).reshape(self.read_heads, address)
        to_write = self.to_write(h).reshape(self.write_heads, address + 2 * self.M)
        to_write, erase, add = to_write.split((address, self.M, self.M), 1)
        erase, add = torch.sigmoid(erase), torch.tanh(add)
        write = self._address("write", to_write, state.memory, state.write_w)
        memory = state.memory
        for w, e in zip(write["write_w"].unbind(), erase.unbind(), strict=True):
            memory = memory * (1 - torch.outer(e, w))  # (3)
        memory = memory + add.T @ write["write_w"]  # (4)

        read_from = state.memory if self.read_first else memory
        read = self._address("read", to_read, read_from, state.read_w)
        reads = read["read_w"] @ read_from.T  # (2)
        return {"memory": memory, "reads": reads, **read, **write, "erase": erase, "add": add}

    def _control(self, x: Tensor, state: NTMState) -> tuple[Tensor, State]:
        seen = torch.cat([x, state.reads.flatten()])
        if isinstance(self.controller, Cell):
            return self.controller(seen, state.controller)
        return self.controller(seen), ()

    def _address(self, heads: str, parameters: Tensor, memory: Tensor, before: Tensor) -> dict[str, Tensor]:
        """The weightings (heads, N) over the rows of memory (M, N), and what they are made from."""
        k, beta, g, s, gamma = parameters.split(self.address_sizes, 1)
        k, beta, g, s, gamma = torch.tanh(k), F.softplus(beta), torch.sigmoid(g), torch.softmax(s, 1), 1 + F.softplus(gamma)
        norms = torch.sqrt((k * k).sum(1, keepdim=True) * (memory * memory).sum(0) + EPSILON)
        w_c = torch.softmax(beta * (k @ memory) / norms, 1)  # (5, 6)
        w_g = g * w_c + (1 - g) * before  # (7)
        w_s = torch.zeros_like(w_g)
        for j, s_j in zip(range(-self.shift_range, self.shift_range + 1), s.split(1, 1), strict=True):
            w_s = w_s + s_j * torch.roll(w_g, j, 1)  # (8)
        w = torch.softmax(gamma * torch.log(w_s + EPSILON), 1)  # (9)
        return {f"{heads}_{name}": value for name, value in zip(_PARTS, (w, k, beta, g, s, gamma), strict=True)}


def _controller(
    kind: str, input_size: int, hidden_size: int, layers: int, learned_start: bool, like: dict[str, Any]
) -> Cell | nn.Sequential:
    """From [x; r'] to h: a cell of LSTM layers, or layers of tanh units without a state."""
    sizes = [input_size, *[hidden_size] * (layers - 1)]
    if kind == "lstm":
        stack = Stack(*(LSTM(size, hidden_size, **like) for size in sizes))
        return LearnedStart(stack) if learned_start else stack
    units = [(nn.Linear(size, hidden_size, **like), nn.Tanh()) for size in sizes]
    return nn.Sequential(*(module for pair in units for module in pair))
