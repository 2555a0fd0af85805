"""Tree-LSTM: an LSTM whose memory comes from several children, each with a forget gate of its own.

Tai, Socher & Manning, "Improved semantic representations from tree-structured long short-term memory networks", ACL 2015.

`ChildSumTreeLSTM` (equations 2 to 8; any number of children, their order does not matter)::

    h~ = sum_k h_k
    i = sigmoid(W_i x + U_i h~ + b_i)
    f_k = sigmoid(W_f x + U_f h_k + b_f)
    o = sigmoid(W_o x + U_o h~ + b_o)
    u = tanh(W_u x + U_u h~ + b_u)
    c = i * u + sum_k f_k * c_k
    h = o * tanh(c)

`NaryTreeLSTM` (equations 9 to 14; at most N children in their order; binary for N = 2)::

    i = sigmoid(W_i x + sum_l U_il h_l + b_i)
    f_k = sigmoid(W_f x + sum_l U_fkl h_l + b_f)
    o, u likewise;  c = i * u + sum_k f_k * c_k;  h = o * tanh(c)

A child that is not there has h = c = 0. As in the paper's constituency trees, a leaf of `NaryTreeLSTM` reads x and has no
children, and with ``inner_inputs=False`` the other nodes read no x.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carousel.cell import TreeCell
from carousel.cells._common import check_sizes, uniform_
from carousel.cells.lstm import LSTMState


class ChildSumTreeLSTM(TreeCell):
    """The child-sum Tree-LSTM.

    Args:
        input_size, hidden_size: lengths of x and h.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_sizes("ChildSumTreeLSTM", input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.output_size, self.hidden_size = input_size, hidden_size, hidden_size
        self.W = nn.Parameter(torch.empty(4 * hidden_size, input_size))  # i, o, u, f
        self.U = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))  # i, o, u
        self.U_f = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.b = nn.Parameter(torch.empty(4 * hidden_size))
        uniform_(self.parameters(), hidden_size**-0.5)

    def leaf(self, x: Tensor) -> LSTMState:
        i, o, u, _ = (self.W @ x + self.b).chunk(4)
        c = torch.sigmoid(i) * torch.tanh(u)
        return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)

    def merge(self, x: Tensor, children: LSTMState) -> LSTMState:
        n = self.hidden_size
        given = self.W @ x + self.b
        i, o, u = (given[: 3 * n] + self.U @ children.h.sum(0)).chunk(3)
        f = torch.sigmoid(given[3 * n :] + children.h @ self.U_f.t())  # (K, n)
        c = torch.sigmoid(i) * torch.tanh(u) + (f * children.c).sum(0)
        return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)


class NaryTreeLSTM(TreeCell):
    """The N-ary Tree-LSTM.

    Args:
        input_size, hidden_size: lengths of x and h.
        arity:         N, the most children of a node.
        inner_inputs:  whether nodes with children read x too.

    Raises:
        InputError: a size below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, *, arity: int = 2, inner_inputs: bool = False) -> None:
        super().__init__()
        check_sizes("NaryTreeLSTM", input_size=input_size, hidden_size=hidden_size, arity=arity)
        self.input_size, self.output_size, self.hidden_size = input_size, hidden_size, hidden_size
        self.arity, self.inner_inputs = arity, inner_inputs
        self.W = nn.Parameter(torch.empty((3 + inner_inputs) * hidden_size, input_size))  # i, o, u, and f where inner nodes read x
        self.U = nn.Parameter(torch.empty((3 + arity) * hidden_size, arity * hidden_size))  # i, o, u, f_1, ..., f_N
        self.b = nn.Parameter(torch.empty(4 * hidden_size))  # i, o, u, f
        uniform_(self.parameters(), hidden_size**-0.5)

    def leaf(self, x: Tensor) -> LSTMState:
        n = self.hidden_size
        i, o, u = (self.W[: 3 * n] @ x + self.b[: 3 * n]).chunk(3)
        c = torch.sigmoid(i) * torch.tanh(u)
        return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)

    def merge(self, x: Tensor, children: LSTMState) -> LSTMState:
        n, N = self.hidden_size, self.arity
        assert N is not None
        given = self.W @ x + self.b if self.inner_inputs else self.b
        a = self.U @ children.h.reshape(N * n)
        i, o, u = (given[: 3 * n] + a[: 3 * n]).chunk(3)
        f = torch.sigmoid(given[3 * n :] + a[3 * n :].reshape(N, n))
        c = torch.sigmoid(i) * torch.tanh(u) + (f * children.c).sum(0)
        return LSTMState(torch.sigmoid(o) * torch.tanh(c), c)
