"""Tracing: one graph a cell, found again for other batch sizes and never when something it holds has changed."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import carousel
from carousel.cell import Cell
from carousel.cells import LSTM, Elman
from carousel.engine import snapshot, trace
from carousel.errors import InputError


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch):
    monkeypatch.setattr(trace, "_cache", type(trace._cache)())


@pytest.fixture
def traces(monkeypatch):
    """A list that grows by one entry with every cell traced."""
    seen = []
    original = trace._trace

    def counted(cell, arguments, symbolic):
        seen.append(symbolic)
        return original(cell, arguments, symbolic)

    monkeypatch.setattr(trace, "_trace", counted)
    return seen


class Scaled(Cell):
    """h = alpha h' + x, with alpha a plain attribute."""

    input_size = output_size = 2

    def __init__(self, alpha=0.5):
        super().__init__()
        self.alpha = alpha

    def initial_state(self):
        return torch.zeros(2)

    def step(self, x, state):
        h = self.alpha * state + x
        return h, h


def last(cell, T=2, B=3):
    """The final state after T inputs of one."""
    return carousel.scan(cell, torch.ones(T, B, 2), backend="eager")[1]


def test_other_batch_sizes_and_lengths_need_no_second_trace(traces):
    cell = LSTM(2, 3)
    for T, B in ((4, 3), (2, 1), (7, 0), (1, 8)):
        carousel.scan(cell, torch.randn(T, B, 2), backend="eager")
    carousel.scan(cell, torch.randn(4, 3, 2), lengths=[1, 2, 4], backend="eager")
    assert len(traces) == 1


def test_layer_norm_asks_for_the_batch_size_and_still_has_one_graph(traces):
    cell = LSTM(2, 3, layer_norm=True)
    for B in (3, 1, 0, 8):
        carousel.scan(cell, torch.randn(2, B, 2), backend="eager")
    assert traces == [5, 7]


def test_a_step_whose_graph_holds_the_batch_size_is_traced_for_each(traces):
    class Grouped(Scaled):
        def step(self, x, state):
            h = nn.functional.group_norm((x + state)[None], 1)[0]
            return h, h

    cell, x = Grouped(), torch.randn(2, 3, 2)
    for B in (3, 2, 3):
        outputs, _ = carousel.scan(cell, x[:, :B], backend="eager")
        torch.testing.assert_close(outputs[0], nn.functional.group_norm(x[0, :B], 1))
    assert traces == [5, 7, None] * 2


def test_two_cells_of_one_kind_share_a_graph_not_weights(traces):
    first, second = Elman(2, 3), Elman(2, 3)
    x = torch.randn(2, 3, 2)
    assert not torch.equal(carousel.scan(first, x, backend="eager")[0], carousel.scan(second, x, backend="eager")[0])
    assert len(traces) == 1


def test_a_changed_attribute_is_seen(traces):
    cell = Scaled(0.5)
    assert last(cell)[0, 0] == 1.5
    cell.alpha = 0.25
    assert last(cell)[0, 0] == 1.25
    cell.alpha = 0.5
    assert last(cell)[0, 0] == 1.5
    assert len(traces) == 2


def test_true_is_not_one(traces):
    last(Scaled(1))
    last(Scaled(True))
    last(Scaled(1.0))
    assert len(traces) == 3


def test_a_changed_attribute_inside_a_container_is_seen():
    @dataclass
    class Settings:
        rate: float

    class Nested(Scaled):
        def __init__(self):
            super().__init__()
            self.settings = {"a": [Settings(0.5)]}

        def step(self, x, state):
            h = self.settings["a"][0].rate * state + x
            return h, h

    cell = Nested()
    assert last(cell)[0, 0] == 1.5
    cell.settings["a"][0].rate = 0.25
    assert last(cell)[0, 0] == 1.25


def test_evaluation_is_seen():
    class Training(Scaled):
        def step(self, x, state):
            h = state + (1.0 if self.training else 2.0)
            return h, h

    cell = Training()
    assert last(cell)[0, 0] == 2
    assert last(cell.eval())[0, 0] == 4


def test_a_submodules_attribute_is_seen():
    cell = carousel.Stack(Elman(2, 2), readout=nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.1))).eval()
    nn.init.constant_(cell.readout[0].bias, -5.0)
    x = torch.randn(3, 4, 2)
    before, _ = carousel.scan(cell, x, backend="eager")
    cell.readout[1].negative_slope = 1.0
    after, _ = carousel.scan(cell, x, backend="eager")
    torch.testing.assert_close(after, cell.readout[0](carousel.scan(cell.cells[0], x, backend="eager")[0]))
    assert not torch.equal(before, after)


def test_a_class_defined_again_is_seen():
    def define(factor):
        class Again(Scaled):
            def step(self, x, state):
                h = factor * state + x
                return h, h

        return Again()

    assert last(define(2.0))[0, 0] == 3
    assert last(define(4.0))[0, 0] == 5


def test_a_step_replaced_on_its_class_is_seen(monkeypatch):
    cell = Scaled()
    assert last(cell)[0, 0] == 1.5

    def step(self, x, state):
        return x, x

    monkeypatch.setattr(Scaled, "step", step)
    assert last(cell)[0, 0] == 1


def test_a_changed_class_attribute_is_seen(monkeypatch):
    class Constant(Scaled):
        factor = 2.0

        def step(self, x, state):
            h = self.factor * state + x
            return h, h

    assert last(Constant())[0, 0] == 3
    monkeypatch.setattr(Constant, "factor", 4.0)
    assert last(Constant())[0, 0] == 5


def test_changed_weights_need_no_trace(traces):
    cell = Elman(2, 3)
    x = torch.ones(2, 3, 2)
    carousel.scan(cell, x, backend="eager")
    with torch.no_grad():
        cell.W.zero_(), cell.U.zero_(), cell.b.fill_(1.0)
    torch.testing.assert_close(carousel.scan(cell, x, backend="eager")[0], torch.full((2, 3, 3), 1.0).tanh())
    assert len(traces) == 1


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(trace, "_CACHE_SIZE", 3)
    for alpha in range(5):
        last(Scaled(alpha))
    assert len(trace._cache) == 3
    assert last(Scaled(0))[0, 0] == 1


def test_a_tensor_in_a_container_is_refused():
    cell = Scaled()
    cell.alpha = [torch.tensor(0.5)]
    with pytest.raises(InputError, match=r"Scaled.alpha is a tensor that is neither parameter nor buffer.*register_buffer"):
        last(cell)


def test_an_attribute_that_cannot_be_compared_is_refused():
    cell = Scaled()
    cell.source = iter([1.0])
    with pytest.raises(InputError, match=r"Scaled.source is a list_iterator, which scan cannot compare"):
        last(cell)


@pytest.mark.parametrize("victim", ["state", "x", "view", "parameter"])
def test_a_change_in_place_is_refused(victim):
    class Writing(Scaled):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def step(self, x, state):
            if victim == "parameter":
                self.w.data.add_(1)
            elif victim == "view":
                state[:1].mul_(2)
            else:
                {"state": state, "x": x}[victim].add_(1)
            return x + self.w, state + x

    cell = Writing()
    inputs = torch.ones(2, 3, 2)
    with pytest.raises(InputError, match=r"Writing.step changes an argument, the state or a parameter in place"):
        carousel.scan(cell, inputs, backend="eager")
    assert torch.equal(inputs, torch.ones(2, 3, 2))
    assert torch.equal(cell.w, torch.ones(2))


OUTSIDE = torch.ones(2)


def branching(x, state):
    return (x, state) if x.sum() > 0 else (state, x)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (branching, "branches on the value of a tensor; use torch.where"),
        (lambda x, state: (x, state * x.sum().item()), "branches on the value of a tensor"),
        (lambda x, state: (x, state + torch.rand(2)), r"draws random numbers; declare them in noise_shapes\(\)"),
        (lambda x, state: (nn.functional.dropout(x), state), "draws random numbers"),
        (lambda x, state: (x, state + OUTSIDE), "uses a tensor from outside; make it a parameter or a buffer"),
    ],
    ids=["branch", "item", "random", "dropout", "outside"],
)
def test_what_no_step_may_do_is_named(result, message):
    class Wrong(Scaled):
        def step(self, x, state):
            return result(x, state)

    with pytest.raises(InputError, match=f"Wrong.step {message}"):
        last(Wrong())


def test_dropout_in_a_readout_is_named():
    stack = carousel.Stack(Elman(2, 2), readout=nn.Dropout(0.5))
    with pytest.raises(InputError, match=r"Stack.step draws random numbers"):
        last(stack)
    assert last(stack.eval())[0].shape == (3, 2)


def test_an_error_in_the_equations_is_left_as_it_is():
    class Wrong(Scaled):
        def step(self, x, state):
            return x, torch.ones(3, 3) @ state

    with pytest.raises(RuntimeError) as error:
        last(Wrong())
    assert not isinstance(error.value, InputError)


def test_a_new_tensor_may_be_written_to():
    class Local(Scaled):
        def step(self, x, state):
            h = state + x
            h.mul_(2)
            return h, h

    assert last(Local())[0, 0] == (1 * 2 + 1) * 2


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x, state: x, r"\(y, state\), got Tensor"),
        (lambda x, state: (x, (state, state)), r"expected tensor, got \(tensor, tensor\)"),
        (lambda x, state: (x, state[:1]), r"expected state \(2,\) torch.float32, got \(1,\) torch.float32"),
        (lambda x, state: (x, state.double()), r"expected state \(2,\) torch.float32, got \(2,\) torch.float64"),
    ],
    ids=["no pair", "structure", "shape", "dtype"],
)
def test_a_state_unlike_the_one_before_is_refused(result, message):
    class Wrong(Scaled):
        def step(self, x, state):
            return result(x, state)

    with pytest.raises(InputError, match=f"Wrong.step must return.*{message}"):
        last(Wrong())


@pytest.mark.parametrize("backend", ["eager", "native"])
def test_the_key_of_a_cell_is_made_once_a_call(backend, monkeypatch):
    made = []
    original = snapshot.Dependencies
    monkeypatch.setattr(snapshot, "Dependencies", lambda cell: made.append(cell) or original(cell))
    cell = Scaled()
    cell.notes = ["a list can change in place", "so the key is made again"]
    carousel.scan(cell, torch.ones(3, 2, 2), backend=backend)
    assert len(made) == 1
    carousel.scan(cell, torch.ones(3, 2, 2), backend=backend)
    assert len(made) == 2
