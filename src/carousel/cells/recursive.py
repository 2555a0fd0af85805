"""The plain recursive network, and the recursive neural tensor network.

`RecursiveNet` (Goller & Kuechler, "Learning task-dependent distributed representations by backpropagation through structure",
ICNN 1996; Socher et al., EMNLP 2013, section 4.1)::

    h = tanh(W [h_1; ...; h_K] + b)

`RNTN` (Socher, Perelygin, Wu, Chuang, Manning, Ng & Potts, "Recursive deep models for semantic compositionality over a
sentiment treebank", EMNLP 2013, section 4.3) adds a product of every two entries, by a tensor V of one slice for each unit::

    h_d = tanh([h_1; ...; h_K]^T V_d [h_1; ...; h_K] + (W [h_1; ...; h_K] + b)_d)

A leaf's state is its x. Nodes with children read no x. A child that is not there is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carousel.cell import TreeCell
from carousel.cells._common import check_sizes, uniform_


class RecursiveNet(TreeCell):
    """The plain recursive network.

    Args:
        hidden_size:  length of x and of h.
        arity:        K, the most children of a node.
    """

    arity: int

    def __init__(self, hidden_size: int, *, arity: int = 2) -> None:
        super().__init__()
        check_sizes(type(self).__name__, hidden_size=hidden_size, arity=arity)
        self.input_size = self.output_size = self.hidden_size = hidden_size
        self.arity = arity
        self.W = nn.Parameter(torch.empty(hidden_size, arity * hidden_size))
        self.b = nn.Parameter(torch.zeros(hidden_size))
        uniform_([self.W], (arity * hidden_size) ** -0.5)

    def leaf(self, x: Tensor) -> Tensor:
        return x

    def merge(self, x: Tensor, children: Tensor) -> Tensor:
        return torch.tanh(self.W @ children.reshape(-1) + self.b)


class RNTN(RecursiveNet):
    """The recursive neural tensor network; V (H, K H, K H), for H units and K children, starts at U(-1, 1) / (K H).

    Args: as those of `RecursiveNet`.
    """

    def __init__(self, hidden_size: int, *, arity: int = 2) -> None:
        super().__init__(hidden_size, arity=arity)
        self.V = nn.Parameter(torch.empty(hidden_size, arity * hidden_size, arity * hidden_size))
        uniform_([self.V], 1 / (arity * hidden_size))

    def merge(self, x: Tensor, children: Tensor) -> Tensor:
        below = children.reshape(-1)
        m = self.arity * self.hidden_size
        pairs = (self.V.reshape(-1, m) @ below).reshape(self.hidden_size, m) @ below
        return torch.tanh(pairs + self.W @ below + self.b)
