"""Bag of words: a node is the mean of the words below it; the tree's shape does not matter.

    n = 1 at a leaf, sum_k n_k above;  s = x at a leaf, sum_k s_k above;  y = s / n

With ``inner_inputs=True`` nodes with children read a word too: n = 1 + sum_k n_k and s = x + sum_k s_k there. It has no weights
of its own: a baseline for networks that merge in the order of the tree.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from carousel.cell import TreeCell
from carousel.cells._common import check_sizes


class BagOfWordsState(NamedTuple):
    """The sum s (I,) of the words of a subtree, and their number n ()."""

    s: Tensor
    n: Tensor


class BagOfWords(TreeCell):
    """The mean of a subtree's words.

    Args:
        input_size:    I, length of x and of y.
        inner_inputs:  whether nodes with children read x too.
    """

    def __init__(self, input_size: int, *, inner_inputs: bool = False) -> None:
        super().__init__()
        check_sizes("BagOfWords", input_size=input_size)
        self.input_size = self.output_size = input_size
        self.inner_inputs = inner_inputs

    def leaf(self, x: Tensor) -> BagOfWordsState:
        return BagOfWordsState(x, torch.ones_like(x[0]))

    def merge(self, x: Tensor, children: BagOfWordsState) -> BagOfWordsState:
        s, n = children.s.sum(0), children.n.sum(0)
        return BagOfWordsState(s + x, n + 1) if self.inner_inputs else BagOfWordsState(s, n)

    def output(self, state: BagOfWordsState) -> Tensor:
        return state.s / state.n
