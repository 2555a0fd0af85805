"""Mean against NumPy, and that it pools a linear readout over time."""

import numpy as np
import torch
from torch import nn

import carousel
from carousel.cell import Stack
from carousel.cells import GRU, Mean


def test_the_mean_of_all_inputs_so_far():
    x = torch.randn(6, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs, state = carousel.scan(Mean(2).double(), x)
    sums = np.cumsum(x.numpy(), axis=0)
    np.testing.assert_allclose(outputs, sums / np.arange(1, 7)[:, None, None], rtol=1e-14)
    np.testing.assert_allclose(state.s, sums[-1], rtol=1e-14)
    assert state.n.tolist() == [6.0] * 3


def test_after_a_linear_readout_it_is_the_readout_of_the_mean():
    torch.manual_seed(0)
    gru, readout = GRU(2, 4), nn.Linear(4, 3)
    x = torch.randn(5, 2, 2)
    pooled, _ = carousel.scan(Stack(Stack(gru, readout=readout), Mean(3)), x)
    torch.testing.assert_close(pooled[-1], readout(carousel.scan(gru, x)[0].mean(0)))


def test_nothing_is_trained_or_saved():
    assert not list(Mean(2).parameters())
    assert not Mean(2).state_dict()
