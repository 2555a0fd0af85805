"""Embedding against the rows of its table."""

import pytest
import torch

import carousel
from carousel.cells import Embedding
from carousel.errors import InputError


def test_each_step_is_a_row_and_the_gradient_counts_how_often_it_was_read():
    cell = Embedding(4, 3)
    x = torch.tensor([[1, 3], [1, 0], [2, 2]])
    outputs, state = carousel.scan(cell, x, lengths=[3, 2])
    assert state == ()
    for t, b in ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1)):
        assert torch.equal(outputs[t, b], cell.E[x[t, b]])
    outputs.sum().backward()
    assert cell.E.grad[:, 0].tolist() == [1.0, 2.0, 1.0, 1.0]


def test_sizes_below_one_are_refused():
    with pytest.raises(InputError, match="Embedding: expected symbols of 1 or more, got 0"):
        Embedding(0, 3)
