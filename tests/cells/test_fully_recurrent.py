"""FullyRecurrent against Williams & Zipser's equation, and its masks."""

import numpy as np
import pytest
import torch

import carousel
from carousel.cells import FullyRecurrent
from carousel.errors import InputError
from equations import check_equations, close, parameter_count, relu, sigmoid

I, N = 2, 4
SHAPE = (N, I + N + 1)


SQUASHING = {"sigmoid": sigmoid, "tanh": np.tanh, "relu": relu, "identity": lambda net: net}


@pytest.mark.parametrize("name", SQUASHING)
def test_equation(name):
    def equations(w, x, state):
        y = SQUASHING[name](w["V"] @ np.concatenate([x, state[0], [1.0]]))
        return y, [y]

    check_equations(FullyRecurrent(I, N, f=name), equations)


def test_first_units_are_the_output():
    def equations(w, x, state):
        y = sigmoid(w["V"] @ np.concatenate([x, state[0], [1.0]]))
        return y[:2], [y]

    cell = FullyRecurrent(I, N, output_size=2)
    assert cell.output_size == 2
    check_equations(cell, equations)


def test_parameter_count_is_the_papers():
    assert parameter_count(FullyRecurrent(I, N)) == N * (I + N + 1)


def masks():
    rng = torch.Generator().manual_seed(0)
    exists = torch.rand(SHAPE, generator=rng) < 0.7
    trained = torch.rand(SHAPE, generator=rng) < 0.5
    return exists, trained


def test_masked_weights_in_the_equation():
    exists, trained = masks()
    cell = FullyRecurrent(I, N, exists=exists, trained=trained).double()
    V, fixed = cell.V.detach().numpy(), cell.fixed.numpy()
    W = np.where(exists & trained, V, np.where(exists, fixed, 0))
    assert np.array_equal(W == 0, ~exists.numpy())

    def equations(w, x, state):
        y = sigmoid(W @ np.concatenate([x, state[0], [1.0]]))
        return y, [y]

    check_equations(cell, equations)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW], ids=["SGD", "AdamW"])
def test_no_optimiser_moves_what_is_not_trained(optimizer):
    exists, trained = masks()
    cell = FullyRecurrent(I, N, exists=exists, trained=trained)
    before = cell.W.detach().clone()
    optimizer = optimizer(cell.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        outputs, _ = carousel.scan(cell, torch.ones(4, 3, I))
        optimizer.zero_grad()
        outputs.square().sum().backward()
        optimizer.step()
    moved = before != cell.W
    assert torch.equal(moved, exists & trained)


def test_fixed_weights_are_set_by_writing_to_the_buffer():
    cell = FullyRecurrent(1, 1, f="identity", trained=torch.zeros(1, 3, dtype=torch.bool)).double()
    cell.fixed.copy_(torch.tensor([[2.0, 3.0, 5.0]]))
    y, _ = cell.step(torch.tensor([7.0], dtype=torch.float64), torch.tensor([11.0], dtype=torch.float64))
    close(y, np.array([2.0 * 7 + 3 * 11 + 5]))


def test_gradient_is_zero_where_nothing_is_trained():
    exists, trained = masks()
    cell = FullyRecurrent(I, N, exists=exists, trained=trained)
    outputs, _ = carousel.scan(cell, torch.ones(4, 3, I))
    outputs.sum().backward()
    assert torch.equal(cell.V.grad != 0, exists & trained)


@pytest.mark.parametrize("option", ["exists", "trained"])
def test_mask_of_another_shape(option):
    with pytest.raises(InputError, match=rf"expected {option} \(4, 7\) .*torch.bool, got \(4, 6\) torch.bool"):
        FullyRecurrent(I, N, **{option: torch.ones(4, 6, dtype=torch.bool)})


def test_mask_of_another_dtype():
    with pytest.raises(InputError, match=r"expected exists \(4, 7\) .*torch.bool, got \(4, 7\) torch.float32"):
        FullyRecurrent(I, N, exists=torch.ones(SHAPE))


def test_unknown_squashing_function():
    with pytest.raises(InputError, match="expected f to be one of sigmoid, tanh, relu, identity, got 'softmax'"):
        FullyRecurrent(I, N, f="softmax")


def test_too_many_outputs():
    with pytest.raises(InputError, match=r"expected output_size in 1..4, the number of units, got 5"):
        FullyRecurrent(I, N, output_size=5)
