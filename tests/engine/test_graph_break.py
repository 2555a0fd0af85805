"""scan under torch.compile: one graph, the same results and gradients; outside of the graph what cannot be traced."""

from typing import NamedTuple

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

import carousel
from carousel import nn
from carousel.cell import Cell
from carousel.cells import LSTM, LearnedStart


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class Leaky(Cell):
    """A user's own cell: a named y, a state of two parts, a buffer."""

    input_size = 3

    def __init__(self):
        super().__init__()
        self.W = torch.nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3))
        self.register_buffer("leak", torch.tensor(0.9, dtype=torch.float64))
        self.slope = 1.5

    def initial_state(self):
        return self.W.new_zeros(4), self.W.new_ones(4)

    def step(self, x, state):
        fast, slow = state
        slow = self.leak * slow + fast
        fast = torch.tanh(self.slope * (self.W @ x) + slow)
        return Pair(fast * slow, fast), (fast, slow)


class Odd(Cell):
    """A step with an operation that the native backend does not know."""

    def initial_state(self):
        return torch.zeros(3)

    def step(self, x, state):
        h = torch.special.bessel_j0(state + x)
        return h, h


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function, fullgraph=True):
    return torch.compile(function, fullgraph=fullgraph, backend="aot_eager")  # inductor would want a C++ compiler


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def gradients(function, wanted):
    """The trees of results, the results, and the gradients of a weighted sum of them."""
    results, spec = pytree.tree_flatten(function())
    loss = sum((result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)).sum() for result in results)
    return spec, [*results, *torch.autograd.grad(loss, wanted, materialize_grads=True)]


def check(function, arguments, wanted):
    spec, got = gradients(lambda: compiled(function)(*arguments), wanted)
    expected_spec, expected = gradients(lambda: function(*arguments), wanted)
    assert spec == expected_spec
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_layers_of_both_directions():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True).double()
    x, h, c = drawn(2, 5, 3), drawn(4, 2, 4, seed=1), drawn(4, 2, 4, seed=2)
    check(layer, (x, (h, c)), [x, h, c, *layer.parameters()])


def test_a_cell_of_ones_own_with_lengths_and_states():
    cell, x, lengths = Leaky(), drawn(5, 3, 3), torch.tensor([5, 0, 2])
    check(lambda x, lengths: carousel.scan(cell, x, lengths=lengths, return_states=True), (x, lengths), [x, cell.W])


def test_a_learned_start_gets_its_gradient():
    cell, x = LearnedStart(LSTM(3, 4).double()), drawn(4, 2, 3)
    check(lambda x: carousel.scan(cell, x), (x,), [x, *cell.parameters()])


def test_other_sizes_need_no_new_graph():
    cell, graphs = Leaky(), []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    function = torch.compile(lambda x: carousel.scan(cell, x)[0].first, fullgraph=True, dynamic=True, backend=count)
    for T, B in ((4, 2), (7, 5), (9, 3)):
        x = drawn(T, B, 3)
        torch.testing.assert_close(function(x), carousel.scan(cell, x)[0].first, rtol=1e-10, atol=1e-12)
    assert len(graphs) == 1


def test_a_change_of_the_cell_is_seen():
    cell, x = Leaky(), drawn(4, 2, 3)
    function = compiled(lambda x: carousel.scan(cell, x)[0].first)
    before = function(x)
    cell.slope = 0.5
    after = function(x)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, carousel.scan(cell, x)[0].first, rtol=1e-10, atol=1e-12)


def test_noise_is_drawn_anew_and_repeats_with_the_seed():
    cell, x = LSTM(3, 4, zoneout_c=0.5), torch.randn(6, 2, 3)
    function = compiled(lambda x: carousel.scan(cell, x)[0])
    torch.manual_seed(0)
    first, second = function(x), function(x)
    torch.manual_seed(0)
    assert torch.equal(function(x), first)
    assert not torch.equal(first, second)


GENERATOR = torch.Generator()


@pytest.mark.parametrize(
    ("cell", "options", "reason"),
    [
        (Odd(), {}, "no aten.special_bessel_j0"),
        (LSTM(3, 4), {"backend": "eager"}, "backend 'eager' is not traced"),
        (LSTM(3, 4), {"generator": GENERATOR}, "a generator is not traced"),
    ],
)
def test_what_cannot_be_traced_runs_outside_the_graph_or_is_said(cell, options, reason):
    x = torch.randn(4, 2, 3)

    def function(x):
        return carousel.scan(cell, x, **options)[0] * 2

    with torch.no_grad():
        with pytest.raises(torch._dynamo.exc.Unsupported, match=reason):
            compiled(function)(x)
        torch.testing.assert_close(compiled(function, fullgraph=False)(x), function(x))


def test_torch_func_is_refused():
    cell, x = LSTM(3, 4), torch.randn(2, 4, 2, 3)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"inside a torch\.func transform"):
        compiled(lambda x: torch.vmap(lambda one: carousel.scan(cell, one)[0])(x))(x)


def test_forward_mode_is_refused_not_lost():
    cell, x = LSTM(3, 4), torch.randn(4, 2, 3)
    function = compiled(lambda x: carousel.scan(cell, x)[0])
    function(x)
    with forward_ad.dual_level(), pytest.raises(Exception, match="forward-mode derivatives"):
        function(forward_ad.make_dual(x, x))


def test_second_derivatives_are_refused():
    cell, x = Leaky(), drawn(4, 2, 3)
    (gradient,) = torch.autograd.grad(compiled(lambda x: carousel.scan(cell, x)[0].first)(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        torch.autograd.grad(gradient.sum(), x)
