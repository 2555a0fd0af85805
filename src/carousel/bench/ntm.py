"""A Neural Turing Machine's step for the benchmarks: one read and one write head, LSTM controller.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, equations 2-9. Heads are read off the controller's h.
A head's weighting over the N rows of the memory M, from its parameters k, beta, g, s, gamma::

    w_c = softmax(beta K[k, M])           K: cosine similarity with each row
    w_g = g w_c + (1 - g) w'              w': the weighting one step before
    w_s = s circularly convolved with w_g, shifts of -1, 0 and 1
    w   = w_s^gamma / sum w_s^gamma

The write head goes first: M = M' (1 - w e^T) + w a^T; then r = M^T w, and y = W [h, r] + b.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from carousel.cell import Cell
from carousel.cells import LSTM, LSTMState

SHIFTS = 3
EPSILON = 1e-12  # keeps a memory of zeros out of the cosine's denominator and its gradient finite


class NTMState(NamedTuple):
    """memory (N, M), read vector r (M,), weightings of both heads (N,), the controller's state."""

    memory: Tensor
    r: Tensor
    write: Tensor
    read: Tensor
    controller: LSTMState


class NTM(Cell):
    """One step; x (I,), y (O,), H units in the controller, a memory of N rows of length M."""

    def __init__(self, input_size: int, output_size: int, hidden_size: int, N: int = 128, M: int = 20) -> None:
        super().__init__()
        self.input_size, self.output_size, self.N, self.M = input_size, output_size, N, M
        self.controller = LSTM(input_size + M, hidden_size)
        self.head_sizes = (M, 1, 1, SHIFTS, 1)  # k, beta, g, s, gamma
        self.heads = nn.Linear(hidden_size, 2 * sum(self.head_sizes) + 2 * M)
        self.readout = nn.Linear(hidden_size + M, output_size)

    def initial_state(self) -> NTMState:
        like = self.readout.weight
        first_row = F.one_hot(torch.zeros((), dtype=torch.long, device=like.device), self.N).to(like)
        memory = like.new_full((self.N, self.M), 1e-6)
        return NTMState(memory, like.new_zeros(self.M), first_row, first_row, self.controller.initial_state())

    def step(self, x: Tensor, state: NTMState) -> tuple[Tensor, NTMState]:
        h, controller = self.controller(torch.cat([x, state.r]), state.controller)
        head = sum(self.head_sizes)
        to_write, to_read, erase, add = self.heads(h).split([head, head, self.M, self.M])
        write = self._address(to_write, state.memory, state.write)
        memory = state.memory * (1 - torch.outer(write, torch.sigmoid(erase))) + torch.outer(write, torch.tanh(add))
        read = self._address(to_read, memory, state.read)
        r = read @ memory
        return self.readout(torch.cat([h, r])), NTMState(memory, r, write, read, controller)

    def _address(self, parameters: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        k, beta, g, s, gamma = parameters.split(self.head_sizes)
        k = torch.tanh(k)
        norms = torch.sqrt((memory * memory).sum(1) * (k * k).sum() + EPSILON)
        content = torch.softmax(F.softplus(beta) * (memory @ k) / norms, 0)
        gate = torch.sigmoid(g)
        gated = gate * content + (1 - gate) * before
        back, stay, on = torch.softmax(s, 0).split(1)
        shifted = back * torch.roll(gated, -1) + stay * gated + on * torch.roll(gated, 1)
        sharp = (shifted + EPSILON) ** (1 + F.softplus(gamma))
        return sharp / sharp.sum()
