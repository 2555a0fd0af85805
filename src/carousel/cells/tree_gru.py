"""Tree GRU: the GRU (Cho et al., EMNLP 2014) with the sum of the children's states in the place of the state before.

    s = sum_k h_k
    z = sigmoid(W_z x + U_z s + b_z)
    r_k = sigmoid(W_r x + U_r h_k + b_r)
    h~ = tanh(W x + U (sum_k r_k * h_k) + b)
    h = (1 - z) * h~ + z * s

Any number of children; each has a reset gate of its own, as it has a forget gate in the child-sum Tree-LSTM. A chain of nodes
with one child each is a GRU whose reset gate acts before the product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carousel.cell import TreeCell
from carousel.cells._common import check_sizes, uniform_


class TreeGRU(TreeCell):
    """The tree GRU.

    Args:
        input_size, hidden_size: lengths of x and h.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_sizes("TreeGRU", input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.output_size = input_size, hidden_size
        self.W = nn.Parameter(torch.empty(3 * hidden_size, input_size))  # z, r, h~
        self.U = nn.Parameter(torch.empty(3, hidden_size, hidden_size))
        self.b = nn.Parameter(torch.empty(3 * hidden_size))
        uniform_(self.parameters(), hidden_size**-0.5)

    def leaf(self, x: Tensor) -> Tensor:
        z, _, new = (self.W @ x + self.b).chunk(3)
        return (1 - torch.sigmoid(z)) * torch.tanh(new)

    def merge(self, x: Tensor, children: Tensor) -> Tensor:
        z, r, new = (self.W @ x + self.b).chunk(3)
        before = children.sum(0)
        z = torch.sigmoid(z + self.U[0] @ before)
        r = torch.sigmoid(r + children @ self.U[1].t())  # (K, hidden_size)
        new = torch.tanh(new + self.U[2] @ (r * children).sum(0))
        return (1 - z) * new + z * before
