"""Rewrites of a captured step: the same values and gradients, by fewer operations."""

import pytest
import torch
from torch import nn

from carousel import Stack, explain, scan
from carousel.cells import LSTM, Embedding


@pytest.mark.parametrize(("symbols", "looked_up"), [(7, True), (256, True), (257, False)])
def test_the_product_with_a_row_of_a_small_table_is_looked_up(symbols: int, looked_up: bool) -> None:
    torch.manual_seed(0)
    cell = Stack(Embedding(symbols, 5), LSTM(5, 4), readout=nn.Linear(4, 3)).double()
    x = torch.randint(symbols, (6, 3), generator=torch.Generator().manual_seed(1))
    plan = explain(cell, x)
    assert ("matmul(cells.0.E" in plan.partition("forward:")[0]) == looked_up
    found = []
    for backend in ("native", "eager"):
        outputs, state = scan(cell, x, lengths=[6, 2, 4], backend=backend)
        value = outputs.square().sum() + state[1].c.sum()
        found.append((outputs, torch.autograd.grad(value, list(cell.parameters()))))
    torch.testing.assert_close(*found)
