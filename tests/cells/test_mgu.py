"""MGU against its equations."""

import numpy as np
import pytest
import torch

from carousel.cells import GRU, MGU
from carousel.errors import InputError
from equations import check_equations, close, parameter_count, sigmoid

H = 5


def equations(w, x, state):
    (W_f, W_n), (U_f, U_n), (b_f, b_n) = (np.split(w[name], 2) for name in "WUb")
    h = state[0]
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    n = np.tanh(W_n @ x + U_n @ (f * h) + b_n)
    new = (1 - f) * h + f * n
    return new, [new]


def test_equations():
    check_equations(MGU(3, H), equations)


def test_gates_are_what_the_step_computes_from():
    cell = MGU(3, H).double()
    x, h = torch.randn(3, dtype=torch.float64), torch.randn(H, dtype=torch.float64)
    gates = cell.gates(x, h)
    close(cell.step(x, h)[0], ((1 - gates["f"]) * h + gates["f"] * gates["n"]).detach().numpy())


def test_two_thirds_of_a_gru():
    assert 3 * parameter_count(MGU(7, 11)) == 2 * parameter_count(GRU(7, 11))


def test_sizes():
    with pytest.raises(InputError, match="MGU: expected hidden_size of 1 or more, got 0"):
        MGU(3, 0)
