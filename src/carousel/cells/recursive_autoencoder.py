"""Recursive autoencoder: two children become one vector, from which they are reconstructed.

Socher, Pennington, Huang, Ng & Manning, "Semi-supervised recursive autoencoders for predicting sentiment distributions", EMNLP
2011, sections 2.2 and 2.3::

    p = tanh(W [c_1; c_2] + b),  divided by its length
    [r_1; r_2] = R p + d
    E = n_1 / (n_1 + n_2) |c_1 - r_1|^2 + n_2 / (n_1 + n_2) |c_2 - r_2|^2

A leaf's p is its x, its n, the number of words below, is 1, and its E is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from carousel.cell import TreeCell
from carousel.cells._common import check_sizes, uniform_


class AutoencoderState(NamedTuple):
    """p (H,), n () and the error E () of a node."""

    p: Tensor
    n: Tensor
    E: Tensor


class RecursiveAutoencoder(TreeCell):
    """The recursive autoencoder; y of a node is (p, E).

    Args:
        hidden_size:  length of x and of p.
    """

    arity = 2

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        check_sizes("RecursiveAutoencoder", hidden_size=hidden_size)
        self.input_size = self.output_size = self.hidden_size = hidden_size
        self.W = nn.Parameter(torch.empty(hidden_size, 2 * hidden_size))
        self.b = nn.Parameter(torch.zeros(hidden_size))
        self.R = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.d = nn.Parameter(torch.zeros(2 * hidden_size))
        uniform_([self.W, self.R], (2 * hidden_size) ** -0.5)

    def leaf(self, x: Tensor) -> AutoencoderState:
        return AutoencoderState(x, torch.ones_like(x[0]), torch.zeros_like(x[0]))

    def merge(self, x: Tensor, children: AutoencoderState) -> AutoencoderState:
        p = torch.tanh(self.W @ children.p.reshape(-1) + self.b)
        p = p / torch.sqrt((p * p).sum() + 1e-12)
        off = children.p - (self.R @ p + self.d).reshape(2, self.hidden_size)
        n = children.n.sum()
        return AutoencoderState(p, n, (children.n / n * (off * off).sum(1)).sum())

    def output(self, state: AutoencoderState) -> tuple[Tensor, Tensor]:
        return state.p, state.E
