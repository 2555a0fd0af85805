"""LearnedStart: the cell as it is, with a start that learns; the counts of the LSTM networks in the NTM's paper."""

import pytest
import torch
from torch import nn

import carousel
from carousel.cells import LSTM, LearnedStart
from carousel.cells.lstm import LSTMState
from equations import parameter_count


def test_it_is_the_cell_from_the_learned_state():
    inner = LSTM(2, 3)
    cell = LearnedStart(inner)
    assert [tuple(parameter.shape) for parameter in cell.start] == [(3,), (3,)]
    with torch.no_grad():
        for parameter in cell.start:
            parameter.uniform_(-1, 1)
    x = torch.randn(4, 2, 2)
    start = LSTMState(*(parameter.expand(2, 3) for parameter in cell.start))
    torch.testing.assert_close(carousel.scan(cell, x), carousel.scan(inner, x, start))


def test_the_start_learns():
    cell = LearnedStart(LSTM(2, 3))
    outputs, _ = carousel.scan(cell, torch.randn(4, 2, 2))
    outputs.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in cell.start)


def test_it_starts_where_the_cell_starts():
    cell = LearnedStart(carousel.Stack(LSTM(2, 3), LSTM(3, 2), readout=nn.Linear(2, 1)))
    assert parameter_count(cell) == parameter_count(cell.cell) + 2 * 3 + 2 * 2
    assert all(not parameter.any() for parameter in cell.start)
    assert cell.output_size == 1


@pytest.mark.parametrize("field", ["carries", "input_size", "output_size"])
def test_it_claims_what_the_cell_claims(field):
    assert getattr(LearnedStart(LSTM(2, 3)), field) == getattr(LSTM(2, 3), field)
