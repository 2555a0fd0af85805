"""LSTM against its equations: every option, noise, parameter counts."""

from itertools import product

import numpy as np
import pytest
import torch

from carousel.cells import LSTM
from carousel.cells.lstm import LSTMState
from carousel.errors import InputError
from equations import check_equations, parameter_count, sigmoid, uniform

I, H = 3, 5


def layer_norm(a, gain, shift=0.0, epsilon=1e-5):
    return (a - a.mean()) / np.sqrt(((a - a.mean()) ** 2).mean() + epsilon) * gain + shift


def equations(
    *,
    rows="ifgo",
    bias=True,
    coupled=False,
    mask_x=1.0,
    mask_h=1.0,
    keep_c=lambda new, old: new,
    keep_h=lambda new, old: new,
):
    """One LSTM step of one sequence; masks and keeps stand for dropout and zoneout; the rest shows in the weights."""

    def step(w, x, state):
        h, c = state
        Wx, Uh = w["W"] @ (mask_x * x), w["U"] @ (mask_h * h)
        if "norm_x.weight" in w:
            Wx, Uh = layer_norm(Wx, w["norm_x.weight"]), layer_norm(Uh, w["norm_h.weight"])
        a = dict(zip(rows, np.split(Wx + Uh + (w["b"] if bias else 0), len(rows)), strict=True))
        gates = rows.replace("g", "")
        p = dict(zip(gates, np.split(w["p"], len(gates)) if "p" in w else [0.0] * len(gates), strict=True))
        i = sigmoid(a["i"] + p["i"] * c)
        if coupled:
            f = 1 - i
        elif "f" in rows:
            f = sigmoid(a["f"] + p["f"] * c)
        else:
            f = 1.0
        new_c = f * c + i * np.tanh(a["g"])
        o = sigmoid(a["o"] + p["o"] * new_c)
        new_c = keep_c(new_c, c)
        inner = layer_norm(new_c, w["norm_c.weight"], w["norm_c.bias"]) if "norm_c.weight" in w else new_c
        new_h = o * np.tanh(inner)
        if "V" in w:
            new_h = w["V"] @ new_h
        new_h = keep_h(new_h, h)
        return new_h, [new_h, new_c]

    return step


def drawn_norms(cell):
    """Gains and shifts away from 1 and 0, so that a test sees them."""
    for name, parameter in cell.named_parameters():
        if name.startswith("norm"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return cell


FORGET = {"forget": ({}, "ifgo"), "no-forget": ({"forget_gate": False}, "igo"), "coupled": ({"coupled": True}, "igo")}


@pytest.mark.parametrize("forget", FORGET)
@pytest.mark.parametrize(
    ("peepholes", "layer_norm", "proj_size", "bias"), list(product([False, True], [False, True], [0, 2], [True, False]))
)
def test_equations(forget, peepholes, layer_norm, proj_size, bias):
    options, rows = FORGET[forget]
    cell = LSTM(I, H, peepholes=peepholes, layer_norm=layer_norm, proj_size=proj_size, bias=bias, **options)
    check_equations(drawn_norms(cell), equations(rows=rows, coupled=forget == "coupled", bias=bias))


def test_parameter_counts():
    full = 4 * (H * I + H * H + H)
    assert parameter_count(LSTM(I, H)) == full
    assert parameter_count(LSTM(I, H, peepholes=True)) == full + 3 * H
    assert parameter_count(LSTM(I, H, forget_gate=False)) == 3 * full // 4
    assert parameter_count(LSTM(I, H, coupled=True, peepholes=True)) == 3 * full // 4 + 2 * H
    assert parameter_count(LSTM(I, H, proj_size=2)) == 4 * (H * I + H * 2 + H) + 2 * H


def test_forget_bias_is_where_the_forget_gate_starts():
    cell = LSTM(I, H, forget_bias=2.5)
    assert torch.equal(cell.b[H : 2 * H], torch.full((H,), 2.5))
    zero = LSTMState(torch.zeros(H), torch.zeros(H))
    torch.testing.assert_close(cell.gates(torch.zeros(I), zero)["f"], torch.full((H,), 2.5).sigmoid())


def test_error_carousel_without_forget_gate_keeps_the_cell_state():
    cell = LSTM(I, H, forget_gate=False)
    c = torch.randn(H)
    gates = cell.gates(torch.randn(I), LSTMState(torch.randn(H), c))
    torch.testing.assert_close(gates["c"], c + gates["i"] * gates["g"])


@pytest.mark.parametrize("proj_size", [0, 2])
def test_zoneout_in_training_keeps_the_entries_drawn_below_the_rate(proj_size):
    q_h, q_c, size = 0.4, 0.6, proj_size or H
    draws = [{"zoneout_h": uniform(size, seed=t), "zoneout_c": uniform(H, seed=10 + t)} for t in range(4)]
    times_h, times_c = iter(range(4)), iter(range(4))
    cell = LSTM(I, H, zoneout_h=q_h, zoneout_c=q_c, proj_size=proj_size)
    expected = equations(
        keep_h=lambda new, old: np.where(draws[next(times_h)]["zoneout_h"] < q_h, old, new),
        keep_c=lambda new, old: np.where(draws[next(times_c)]["zoneout_c"] < q_c, old, new),
    )
    check_equations(cell, expected, noise=lambda t: draws[t])


def test_zoneout_in_evaluation_is_the_expected_value():
    q_h, q_c = 0.4, 0.6
    expected = equations(keep_h=lambda new, old: q_h * old + (1 - q_h) * new, keep_c=lambda new, old: q_c * old + (1 - q_c) * new)
    check_equations(LSTM(I, H, zoneout_h=q_h, zoneout_c=q_c), expected)


def test_variational_dropout():
    q_x, q_h, draw_x, draw_h = 0.3, 0.5, uniform(I), uniform(H, seed=1)
    mask_x = np.where(draw_x < q_x, 0, 1 / (1 - q_x))
    mask_h = np.where(draw_h < q_h, 0, 1 / (1 - q_h))
    assert 0 in mask_x
    assert 0 in mask_h
    cell = LSTM(I, H, dropout_x=q_x, dropout_h=q_h)
    check_equations(cell, equations(mask_x=mask_x, mask_h=mask_h), noise=lambda t: {"dropout_x": draw_x, "dropout_h": draw_h})
    check_equations(cell, equations())


def test_noise_shapes():
    cell = LSTM(I, H, proj_size=2, zoneout_h=0.1, zoneout_c=0.1, dropout_x=0.1, dropout_h=0.1)
    assert cell.noise_shapes() == {
        "zoneout_h": ("step", (2,)),
        "zoneout_c": ("step", (H,)),
        "dropout_x": ("sequence", (I,)),
        "dropout_h": ("sequence", (2,)),
    }
    assert LSTM(I, H).noise_shapes() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coupled": True, "forget_gate": False}, "cannot go with forget_gate=False"),
        ({"forget_bias": 1.0, "coupled": True}, "forget_bias needs a forget gate with a bias of its own"),
        ({"forget_bias": 1.0, "forget_gate": False}, "forget_bias needs a forget gate with a bias of its own"),
        ({"forget_bias": 1.0, "bias": False}, "forget_bias needs a forget gate with a bias of its own"),
        ({"proj_size": H}, r"expected proj_size in 0\.\.4 .*, got 5"),
        ({"zoneout_c": 1.5}, r"expected zoneout_c in \[0, 1\), got 1.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        LSTM(I, H, **options)


def test_bad_size():
    with pytest.raises(InputError, match="LSTM: expected hidden_size of 1 or more, got 0"):
        LSTM(I, 0)
