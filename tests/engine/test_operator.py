"""The operator for torch.compile and torch.export: the same numbers as without, in values and gradients."""

import pytest
import torch
from torch.utils import _pytree as pytree

import carousel
from carousel import cells, nn
from carousel.engine import operator
from carousel.engine.trace import lifted
from carousel.errors import InputError


class Leaky(carousel.Cell):
    """A cell of a user's own: a state of two parts, and two inputs."""

    def __init__(self):
        super().__init__()
        self.W = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3))
        self.register_buffer("leak", torch.tensor(0.9))

    def initial_state(self):
        return torch.zeros(4), torch.ones(4)

    def step(self, x, state):
        fast, slow = state
        first, second = x
        slow = self.leak * slow + fast
        fast = torch.tanh(self.W @ first + slow * second)
        return fast * slow, (fast, slow)


def compiled(function):
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def everything(function, inputs, weights):
    """The results, and the gradients of a function of all of them that weighs every entry differently."""
    results = pytree.tree_leaves(function(*inputs))
    weighed = sum((result * torch.linspace(-1, 1, result.numel()).view_as(result)).sum() for result in results)
    return results, torch.autograd.grad(weighed, [*inputs, *weights])


def check_same(function, *inputs, weights=()):
    for got, want in zip(*(everything(each, inputs, weights) for each in (compiled(function), function)), strict=True):
        for one, other in zip(got, want, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), nn.GRU1(3, 4)])
def test_layers_compile_as_one_graph(layer):
    check_same(layer, drawn(2, 5, 3), weights=list(layer.parameters()))


def test_a_cell_of_ones_own_with_states_and_lengths():
    cell = Leaky()

    def function(first, second, fast, slow):
        ends = torch.tensor([4, 2, 0])
        return carousel.scan(cell, (first, second), (fast, slow), lengths=ends, return_states=True)

    inputs = drawn(4, 3, 3), drawn(4, 3, 4, seed=1), drawn(3, 4, seed=2), drawn(3, 4, seed=3)
    check_same(function, *inputs, weights=[cell.W])


def test_a_learned_start_gets_its_gradient():
    cell = cells.LearnedStart(cells.GRU(3, 4))
    check_same(lambda x: carousel.scan(cell, x), drawn(4, 2, 3), weights=list(cell.parameters()))


def test_noise_is_drawn_anew_and_repeats_with_the_seed():
    cell = cells.LSTM(3, 4, zoneout_c=0.5).train()
    function = compiled(lambda x: carousel.scan(cell, x)[0])
    x = drawn(6, 2, 3).detach()
    torch.manual_seed(0)
    first, second = function(x), function(x)
    torch.manual_seed(0)
    assert torch.equal(function(x), first)
    assert not torch.equal(first, second)


def test_other_lengths_and_batches_need_no_new_program():
    cell = cells.Elman(3, 4)
    seen = []

    def backend(graph, _):
        seen.append(graph)
        return graph

    function = torch.compile(lambda x: carousel.scan(cell, x)[0], fullgraph=True, backend=backend, dynamic=True)
    for shape in [(4, 2, 3), (7, 5, 3), (9, 3, 3)]:
        x = drawn(*shape)
        torch.testing.assert_close(function(x), carousel.scan(cell, x)[0])
    assert len(seen) == 1


def test_an_exported_program_gives_the_same_for_any_length():
    layer = nn.LSTM(3, 4)
    T = torch.export.Dim("T", min=2, max=100)
    program = torch.export.export(layer, (drawn(5, 2, 3),), dynamic_shapes={"input": {0: T}})
    assert [node.target for node in program.graph.nodes].count(torch.ops.carousel.scan.default) == 1
    x = drawn(9, 2, 3, seed=1)
    for got, want in zip(pytree.tree_leaves(program.module()(x)), pytree.tree_leaves(layer(x)), strict=True):
        torch.testing.assert_close(got, want)


def test_torchs_own_check_of_an_operator():
    cell = cells.LSTM(3, 4)
    weights = list(lifted(cell).values())
    tensors = [*weights, drawn(5, 2, 3), torch.zeros(2, 4), torch.zeros(2, 4)]
    arguments = (tensors, [len(weights), 1, 2, 0, 0, 0], operator.number_of(cell), True)
    torch.ops.carousel.scan(*arguments)  # the step is captured, which is not to be looked at
    torch.library.opcheck(torch.ops.carousel.scan, arguments)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"backend": "eager"}, "backend='eager'"), ({"generator": torch.Generator()}, "no generator"), ({"context": 1}, "no context")],
)
def test_what_cannot_be_compiled_is_said(options, reason):
    cell = cells.GRU(3, 4)
    with pytest.raises(Exception, match=reason):
        compiled(lambda x: carousel.scan(cell, x, **options)[0])(drawn(4, 2, 3))


def test_a_cell_that_is_gone_is_named():
    with pytest.raises(InputError, match="is gone"):
        torch.ops.carousel.scan([drawn(2, 1, 3)], [0, 1, 0, 0, 0, 0], 10**9, False)
