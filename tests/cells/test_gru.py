"""GRU against its equations: reset before and after, gate variants, noise, published parameter counts."""

from itertools import product

import numpy as np
import pytest
import torch

from carousel.cells import GRU
from carousel.errors import InputError
from equations import check_equations, parameter_count, relu, sigmoid, uniform

I, H = 3, 5


def equations(*, sees="xhb", reset_after=False, bias=True, f=np.tanh, mask_x=1.0, mask_h=1.0, keep=lambda new, old: new):
    """One GRU step of one sequence; mask_x, mask_h and keep stand for dropout and zoneout."""

    def step(w, x, state):
        h = state[0]
        x_in, h_in = mask_x * x, mask_h * h
        W, U = (list(np.split(w[name], len(w[name]) // H)) for name in "WU")
        b = list(np.split(w["b"], len(w["b"]) // H)) if bias else None
        gates = []
        for k in (0, 1):
            net = np.zeros(H)
            if "x" in sees:
                net += W[k] @ x_in
            if "h" in sees:
                net += U[k] @ h_in
            if "b" in sees and bias:
                net += b[k]
            gates.append(sigmoid(net))
        r, z = gates
        b_n = b[-1] if bias else 0.0
        if reset_after:
            n = f(W[-1] @ x_in + b_n + r * (U[-1] @ h_in + (w["b_hn"] if bias else 0.0)))
        else:
            n = f(W[-1] @ x_in + U[-1] @ (r * h_in) + b_n)
        new = keep((1 - z) * n + z * h, h)
        return new, [new]

    return step


@pytest.mark.parametrize("reset_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("sees", "bias"), [*product(["xhb", "hb", "h", "xb"], [True, False]), ("b", True)])
def test_equations(sees, reset_after, bias):
    cell = GRU(I, H, gates_see=sees, reset_after=reset_after, bias=bias)
    check_equations(cell, equations(sees=sees, reset_after=reset_after, bias=bias))


def test_relu_candidate():
    check_equations(GRU(I, H, activation="relu"), equations(f=relu))


def test_reset_after_is_torchs_cell():
    cell, theirs = GRU(I, H, reset_after=True).double(), torch.nn.GRUCell(I, H).double()
    with torch.no_grad():
        cell.W.copy_(theirs.weight_ih)
        cell.U.copy_(theirs.weight_hh)
        cell.b.copy_(theirs.bias_ih)
        cell.b[: 2 * H] += theirs.bias_hh[: 2 * H]
        cell.b_hn.copy_(theirs.bias_hh[2 * H :])
    x, h = torch.randn(I, dtype=torch.float64), torch.randn(H, dtype=torch.float64)
    torch.testing.assert_close(cell.step(x, h)[0], theirs(x, h), rtol=1e-12, atol=1e-12)


# Dey & Salem, arXiv 1701.05923: MNIST pixel by pixel and row by row, IMDB.
@pytest.mark.parametrize(
    ("sees", "published"),
    [
        ("xhb", (30_600, 38_700, 98_688)),
        ("hb", (30_400, 33_100, 65_920)),
        ("h", (30_200, 32_900, 65_664)),
        ("b", (10_400, 13_100, 33_152)),
    ],
)
def test_published_parameter_counts(sees, published):
    counts = tuple(parameter_count(GRU(m, n, gates_see=sees)) for m, n in ((1, 100), (28, 100), (128, 128)))
    assert counts == published


def test_zoneout_in_training_keeps_the_entries_drawn_below_the_rate():
    q, draws = 0.4, [uniform(H, seed=t) for t in range(4)]
    times = iter(range(4))

    def keep(new, old):
        return np.where(draws[next(times)] < q, old, new)

    check_equations(GRU(I, H, zoneout=q), equations(keep=keep), noise=lambda t: {"zoneout": draws[t]})


def test_zoneout_in_evaluation_is_the_expected_value():
    q = 0.4
    check_equations(GRU(I, H, zoneout=q), equations(keep=lambda new, old: q * old + (1 - q) * new))


def test_variational_dropout():
    q_x, q_h, draw_x, draw_h = 0.3, 0.5, uniform(I), uniform(H, seed=1)
    mask_x = np.where(draw_x < q_x, 0, 1 / (1 - q_x))
    mask_h = np.where(draw_h < q_h, 0, 1 / (1 - q_h))
    cell = GRU(I, H, dropout_x=q_x, dropout_h=q_h)
    check_equations(cell, equations(mask_x=mask_x, mask_h=mask_h), noise=lambda t: {"dropout_x": draw_x, "dropout_h": draw_h})
    check_equations(cell, equations())


def test_noise_shapes():
    cell = GRU(I, H, zoneout=0.1, dropout_x=0.1, dropout_h=0.1)
    assert cell.noise_shapes() == {"zoneout": ("step", (H,)), "dropout_x": ("sequence", (I,)), "dropout_h": ("sequence", (H,))}
    assert GRU(I, H).noise_shapes() == {}


def test_gates_give_the_candidate_and_both_gates():
    cell = GRU(I, H).double()
    x, h = torch.randn(I, dtype=torch.float64), torch.randn(H, dtype=torch.float64)
    gates = cell.gates(x, h)
    assert list(gates) == ["r", "z", "n"]
    torch.testing.assert_close(cell.step(x, h)[0], (1 - gates["z"]) * gates["n"] + gates["z"] * h)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gates_see": "hx"}, r"expected gates_see to be one of xhb, hb, h, b, xb, got 'hx'"),
        ({"gates_see": "b", "bias": False}, r"gates_see='b' .* cannot go with bias=False"),
        ({"activation": "sigmoid"}, r"expected activation to be one of tanh, relu, got 'sigmoid'"),
        ({"zoneout": 1.0}, r"expected zoneout in \[0, 1\), got 1.0"),
        ({"dropout_h": -0.1}, r"expected dropout_h in \[0, 1\), got -0.1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        GRU(I, H, **options)
