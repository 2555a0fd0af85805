"""LSTM1997 against the paper's equations and its table of weight counts."""

import numpy as np
import pytest
import torch

from carousel.cells import LSTM1997
from carousel.errors import InputError
from equations import check_equations, parameter_count, sigmoid


def equations(blocks, size, *, simple=False, f=sigmoid, gated=("in", "out"), recurrent=True):
    """One step, unit by unit, from section 4 of the paper."""

    def step(w, x, state):
        s, previous = state
        z = x if simple or not recurrent else np.concatenate([x, previous])
        net = w["W"] @ z
        net[: len(w.get("b", ()))] += w.get("b", 0)
        s, cells = s.copy(), np.zeros(blocks * size)
        y_in = [sigmoid(net[j]) if "in" in gated else 1.0 for j in range(blocks)]
        y_out = [sigmoid(net[blocks * ("in" in gated) + j]) if "out" in gated else 1.0 for j in range(blocks)]
        first = len(net) - blocks * size
        for j in range(blocks):
            for v in range(j * size, (j + 1) * size):
                g = sigmoid(net[first + v]) if simple else 4 * sigmoid(net[first + v]) - 2
                s[v] += y_in[j] * g
                cells[v] = s[v] if simple else y_out[j] * (2 * sigmoid(s[v]) - 1)
        y = f(w["V"] @ (np.concatenate([x, cells]) if simple else cells) + w.get("c", 0))
        return y, [s, np.concatenate([*({"in": y_in, "out": y_out}[gate] for gate in gated), cells])]

    return step


@pytest.mark.parametrize("biases", ["none", "gates", "hidden", "all"])
@pytest.mark.parametrize(("blocks", "size"), [(1, 1), (3, 1), (2, 2), (1, 3)])
def test_equations(biases, blocks, size):
    check_equations(LSTM1997(3, 2, blocks=blocks, block_size=size, biases=biases, bound=1.0), equations(blocks, size))


@pytest.mark.parametrize("biases", ["none", "all"])
def test_equations_of_the_simple_network(biases):
    cell = LSTM1997(3, 2, blocks=2, block_size=2, biases=biases, simple=True, bound=1.0)
    check_equations(cell, equations(2, 2, simple=True, gated=("in",)))


@pytest.mark.parametrize("gated", [("in",), ("out",), ()])
def test_equations_with_gates_left_out(gated):
    cell = LSTM1997(3, 2, blocks=2, block_size=2, gated=gated, bound=1.0)
    check_equations(cell, equations(2, 2, gated=gated))
    cell.draw()


def test_equations_with_linear_output_units():
    check_equations(LSTM1997(3, 2, blocks=2, bound=1.0, output="identity"), equations(2, 1, f=lambda net: net))


def test_equations_of_units_that_see_inputs_only():
    cell = LSTM1997(3, 2, blocks=2, block_size=2, recurrent=False, bound=1.0)
    check_equations(cell, equations(2, 2, recurrent=False))
    cell.draw()


@pytest.mark.parametrize(
    ("weights", "sizes", "options"),
    [
        (264, (7, 7), {"blocks": 4, "biases": "gates"}),
        (276, (7, 7), {"blocks": 3, "block_size": 2, "biases": "gates"}),
        (10504, (101, 101), {"blocks": 1, "biases": "none", "simple": True}),
        *((6 * (p + 10) + 4, (p + 4, 2), {"blocks": 2, "biases": "none"}) for p in (50, 100, 1000)),
        (102, (1, 1), {"blocks": 3, "biases": "hidden"}),
        (93, (2, 1), {"blocks": 2, "block_size": 2, "biases": "all"}),
        (156, (8, 4), {"blocks": 2, "block_size": 2, "biases": "all"}),
        (308, (8, 8), {"blocks": 3, "block_size": 2, "biases": "all"}),
    ],
)
def test_the_papers_weight_counts(weights, sizes, options):
    assert parameter_count(LSTM1997(*sizes, **options)) == weights


def test_starts():
    cell = LSTM1997(2, 1, blocks=2, block_size=2, in_bias=(-3, -6), bound=0.1)
    assert cell.b[:2].tolist() == [-3, -6]
    rest = [cell.W, cell.V, cell.c, cell.b[2:]]
    assert all(0 < float(part.detach().abs().max()) <= 0.1 for part in rest)
    assert LSTM1997(2, 1, blocks=2, biases="gates", out_bias=(-1, -2)).b[2:].tolist() == [-1, -2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"blocks": 0}, "expected blocks of 1 or more, got 0"),
        ({"blocks": 1, "gated": ("out", "in")}, r"expected gated to be some of 'in', 'out', in this order, got \['out', 'in'\]"),
        ({"blocks": 1, "gated": (), "simple": True}, "simple=True has its own gates"),
        ({"blocks": 1, "gated": ("in",), "out_bias": (-1,)}, "expected out_bias with a number for each of 1 gates"),
        ({"blocks": 1, "biases": "some"}, "expected biases to be one of none, gates, hidden, all, got 'some'"),
        ({"blocks": 2, "in_bias": (1.0,)}, r"expected in_bias with a number for each of 2 gates with a bias, got \[1.0\]"),
        ({"blocks": 1, "biases": "none", "out_bias": (1.0,)}, "expected out_bias with"),
        ({"blocks": 1, "simple": True, "out_bias": (1.0,)}, "expected out_bias with"),
    ],
)
def test_refusals(options, told):
    with pytest.raises(InputError, match=told):
        LSTM1997(2, 1, **options)


def test_gates_are_what_a_step_computes():
    torch.manual_seed(0)
    cell = LSTM1997(2, 1, blocks=2, block_size=2, bound=1.0)
    _, state = cell.step(torch.randn(2), cell.initial_state())
    x = torch.randn(2)
    gates = cell.gates(x, state)
    _, after = cell.step(x, state)
    assert torch.equal(after.s, gates["s"])
    assert torch.equal(after.y[:4], torch.cat([gates["in"], gates["out"]]))


@pytest.mark.parametrize(
    ("options", "lines", "title"),
    [
        ({"blocks": 2, "block_size": 2}, 8 * 8 + 4 * 4, "156 weights, 12 of them biases"),
        ({"blocks": 1, "biases": "none", "simple": True}, 8 * 2 + 4 + 8 * 4, "52 weights, 0 of them biases"),
    ],
)
def test_the_picture_has_every_unit_and_every_connection(options, lines, title):
    (axes,) = LSTM1997(8, 4, **options).draw().axes
    assert axes.get_title() == title
    connections = [line for line in axes.lines if line.get_marker() == "None"]
    assert len(connections) == lines
    said = [text.get_text() for text in axes.texts]
    assert said.count("cell") == options["blocks"] * options.get("block_size", 1)
    assert {"8 inputs", "4 output units"} <= set(said)
