"""Dropout: which entries are dropped, how the rest is scaled, and that evaluation is left alone."""

import pytest
import torch

import carousel
from carousel.cells import Dropout
from carousel.errors import InputError


def test_one_mask_a_sequence_and_the_rest_scaled():
    cell, rate = Dropout(1000, 0.25), 0.25
    x = torch.ones(3, 2, 1000)
    outputs, _ = carousel.scan(cell, x, generator=torch.Generator().manual_seed(0))
    draws = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0))
    for t in range(3):
        assert torch.equal(outputs[t], torch.where(draws < rate, 0.0, 1 / (1 - rate)))
    assert (outputs == 0).float().mean() == pytest.approx(rate, abs=0.03)
    assert torch.equal(carousel.scan(cell.eval(), x)[0], x)


def test_a_rate_of_zero_draws_nothing_and_one_is_refused():
    assert Dropout(2, 0.0).noise_shapes() == {}
    with pytest.raises(InputError, match=r"Dropout: expected rate in \[0, 1\), got 1"):
        Dropout(2, 1.0)
