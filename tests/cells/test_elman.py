"""Elman against its equation."""

import numpy as np
import pytest

from carousel.cells import Elman
from carousel.errors import InputError
from equations import check_equations, parameter_count, relu


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_equation(nonlinearity):
    f = {"tanh": np.tanh, "relu": relu}[nonlinearity]

    def equations(w, x, state):
        h = f(w["W"] @ x + w["U"] @ state[0] + w["b"])
        return h, [h]

    check_equations(Elman(3, 5, nonlinearity=nonlinearity), equations)


def test_without_bias():
    def equations(w, x, state):
        h = np.tanh(w["W"] @ x + w["U"] @ state[0])
        return h, [h]

    cell = Elman(3, 5, bias=False)
    assert parameter_count(cell) == 5 * 3 + 5 * 5
    check_equations(cell, equations)


def test_unknown_nonlinearity():
    with pytest.raises(InputError, match=r"expected nonlinearity to be one of tanh, relu, got 'sigmoid'"):
        Elman(3, 5, nonlinearity="sigmoid")


@pytest.mark.parametrize(("sizes", "message"), [((0, 5), "input_size of 1 or more"), ((3, 0), "hidden_size of 1 or more")])
def test_sizes(sizes, message):
    with pytest.raises(InputError, match=message):
        Elman(*sizes)
