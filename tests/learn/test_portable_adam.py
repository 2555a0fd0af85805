"""PortableAdam: to the last bit what NumPy makes of one operation after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carousel import InputError
from carousel.learn import PortableAdam


def test_each_operation_is_rounded_on_its_own() -> None:
    one = np.float32
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(37, generator=generator).requires_grad_()
    wanted, mean, square = weights.detach().numpy().copy(), np.zeros(37, one), np.zeros(37, one)
    optimizer, first, second = PortableAdam([weights], lr=0.01), 1.0, 1.0
    for _ in range(20):
        weights.grad = torch.randn(37, generator=generator)
        optimizer.step()
        first, second = first * 0.9, second * 0.999
        for n, g in enumerate(weights.grad.numpy()):
            mean[n] = one(mean[n] * one(0.9)) + one(g * one(1 - 0.9))
            square[n] = one(square[n] * one(0.999)) + one(one(g * g) * one(1 - 0.999))
            size = np.sqrt(one(square[n] * one(1 / (1 - second)))) + one(1e-8)
            wanted[n] -= one(one(mean[n] * one(0.01 / (1 - first))) / size)
    assert np.array_equal(weights.detach().numpy(), wanted)


def test_it_agrees_with_torch() -> None:
    ours, theirs = torch.ones(5, requires_grad=True), torch.ones(5, requires_grad=True)
    optimizers = PortableAdam([ours]), torch.optim.Adam([theirs])
    for _ in range(10):
        for weights, optimizer in zip((ours, theirs), optimizers, strict=True):
            weights.grad = weights.detach() * torch.arange(5)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_what_it_cannot_change_is_refused() -> None:
    with pytest.raises(InputError, match="float64"):
        PortableAdam([torch.zeros(2, dtype=torch.float64, requires_grad=True)])
    with pytest.raises(InputError, match="lr > 0"):
        PortableAdam([torch.zeros(2, requires_grad=True)], lr=0.0)
