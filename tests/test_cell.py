"""Cell and Stack: what a cell is, and cells on top of one another."""

import pytest
import torch
from torch import nn

import carousel
from carousel.cell import Cell, Stack, built
from carousel.cells import GRU, LSTM, Elman, Window
from carousel.cells.lstm import LSTMState
from carousel.errors import InputError
from cell_table import Attending


def test_a_cell_must_say_how_it_starts_and_steps():
    class Nothing(Cell):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing must define initial_state\(\)"):
        Nothing().initial_state()
    with pytest.raises(NotImplementedError, match=r"Nothing must define step\(x, state\)"):
        Nothing().step(None, None)


def test_a_call_passes_on_only_what_is_there():
    class Recording(Cell):
        def step(self, x, state, **extra):
            return extra, state

    assert Recording()(0, 0)[0] == {}
    assert Recording()(0, 0, context=1)[0] == {"context": 1}
    assert Recording()(0, 0, context=1, noise={"a": 2})[0] == {"context": 1, "noise": {"a": 2}}


def test_built_names_the_fields():
    h = torch.zeros(2)
    assert built((LSTMState(h, h), h)) == "(LSTMState(h=tensor, c=tensor), tensor)"


def test_stack_feeds_each_layer_the_one_below():
    lower, upper, readout = LSTM(2, 3), GRU(3, 4), nn.Linear(4, 5)
    x, states = torch.randn(2), (LSTMState(torch.randn(3), torch.randn(3)), torch.randn(4))
    y, after = Stack(lower, upper, readout=readout).step(x, states)
    y0, after0 = lower.step(x, states[0])
    y1, after1 = upper.step(y0, states[1])
    torch.testing.assert_close(y, readout(y1))
    torch.testing.assert_close(after, (after0, after1))


def test_skips_feed_x_to_every_layer_and_every_layer_to_the_readout():
    cells = Elman(2, 3), Elman(2 + 3, 4), Elman(2 + 4, 5)
    readout = nn.Linear(3 + 4 + 5, 1)
    x, states = torch.randn(2), (torch.randn(3), torch.randn(4), torch.randn(5))
    y, _ = Stack(*cells, readout=readout, skips=True).step(x, states)
    y0, _ = cells[0].step(x, states[0])
    y1, _ = cells[1].step(torch.cat([x, y0]), states[1])
    y2, _ = cells[2].step(torch.cat([x, y1]), states[2])
    torch.testing.assert_close(y, readout(torch.cat([y0, y1, y2])))


# Graves, Wayne & Danihelka, arXiv 1410.5401, table 3: three layers with skips and learned h0, c0.
@pytest.mark.parametrize(
    ("I", "out", "H", "published"), [(10, 9, 256, 1_352_969), (8, 7, 512, 5_312_007), (8, 6, 256, 1_344_518), (1, 1, 128, 331_905)]
)
def test_published_parameter_counts_with_skips(I, out, H, published):
    cells = [LSTM(I if n == 0 else I + H, H, device="meta") for n in range(3)]
    stack = Stack(*cells, readout=nn.Linear(3 * H, out, device="meta"), skips=True)
    learned_start = 3 * 2 * H
    assert sum(parameter.numel() for parameter in stack.parameters()) + learned_start == published


def test_sizes_of_a_stack():
    assert Stack(LSTM(2, 3), GRU(3, 4)).input_size == 2
    assert Stack(LSTM(2, 3), GRU(3, 4)).output_size == 4
    assert Stack(LSTM(2, 3), GRU(2 + 3, 4), skips=True).output_size == 3 + 4
    mlp = nn.Sequential(nn.Linear(6, 8), nn.GLU(0))
    assert Stack(Window(2, 2), readout=mlp).output_size == 4
    assert Stack(Elman(2, 4).double(), readout=nn.Linear(4, 1).double()).output_size == 1


def test_noise_and_gates_carry_the_layers_number():
    stack = Stack(LSTM(2, 3, zoneout_h=0.5), Elman(3, 3), GRU(3, 4, zoneout=0.25, dropout_x=0.25))
    assert stack.noise_shapes() == {
        "0.zoneout_h": ("step", (3,)),
        "2.zoneout": ("step", (4,)),
        "2.dropout_x": ("sequence", (3,)),
    }
    gates = stack.gates(torch.randn(2), stack.initial_state())
    assert [name for name in gates if name.startswith("0.")] == ["0.i", "0.f", "0.g", "0.o", "0.c"]
    assert [name for name in gates if name.startswith("2.")] == ["2.r", "2.z", "2.n"]


def test_each_layer_gets_its_own_noise():
    lower, upper = GRU(2, 3, zoneout=0.5), GRU(3, 3, zoneout=0.5)
    x, states = torch.randn(2), (torch.randn(3), torch.randn(3))
    noise = {"0.zoneout": torch.tensor([0.1, 0.9, 0.9]), "1.zoneout": torch.tensor([0.9, 0.9, 0.1])}
    y, _ = Stack(lower, upper).step(x, states, noise=noise)
    y0, _ = lower.step(x, states[0], noise={"zoneout": noise["0.zoneout"]})
    y1, _ = upper.step(y0, states[1], noise={"zoneout": noise["1.zoneout"]})
    assert torch.equal(y, y1)


def test_gates_of_a_stack_are_those_of_its_layers():
    lower, upper = LSTM(2, 3), GRU(3, 4)
    x, states = torch.randn(2), (LSTMState(torch.randn(3), torch.randn(3)), torch.randn(4))
    gates = Stack(lower, upper).gates(x, states)
    y0, _ = lower.step(x, states[0])
    torch.testing.assert_close(gates["0.i"], lower.gates(x, states[0])["i"])
    torch.testing.assert_close(gates["1.z"], upper.gates(y0, states[1])["z"])


def test_context_goes_to_the_layer_it_is_for():
    attending, plain = Attending(), Elman(3, 2)
    stack = Stack(attending, plain)
    inputs, keys = torch.randn(4, 5, 2), torch.randn(5, 6, 3)
    outputs, _ = carousel.scan(stack, inputs, context=(keys, ()))
    lower, _ = carousel.scan(attending, inputs, context=keys)
    torch.testing.assert_close(outputs, carousel.scan(plain, lower)[0])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {}, "at least one cell, got none"),
        ((LSTM(2, 3), GRU(4, 4)), {}, r"cell 1 \(GRU\) has input_size 4, got 3"),
        ((LSTM(2, 3), GRU(3, 4)), {"skips": True}, r"cell 1 \(GRU\) has input_size 3, got 5"),
        ((LSTM(2, 3),), {"readout": nn.Linear(4, 1)}, "expected a readout that takes a vector of length 3"),
    ],
)
def test_what_does_not_fit(arguments, options, message):
    with pytest.raises(InputError, match=message):
        Stack(*arguments, **options)
