"""A scan as one operator, as torch.export sees it: values, gradients, any T, B and lengths, and what is refused."""

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

import carousel
from carousel.cell import Cell
from carousel.cells import GRU, LSTM
from carousel.engine import operator, packing
from carousel.errors import InputError

ANY = torch.export.Dim.DYNAMIC


class Attending(Cell):
    """A user's own cell: two inputs, context, noise, a constant, a masked weight, a state and a y of two parts."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3))
        self.register_buffer("mask", torch.eye(3, dtype=torch.float64))

    def initial_state(self):
        return torch.zeros(3, dtype=torch.float64), torch.ones(2, dtype=torch.float64)

    def noise_shapes(self):
        return {"each": ("step", (3,)), "once": ("sequence", (2,))}

    def step(self, x, state, *, context, noise=None):
        fast, slow = state
        first, second = x
        noise = {"each": 0.5, "once": 0.5} if noise is None else noise
        fast = torch.tanh((self.W * self.mask) @ (fast + context) + first * noise["each"])
        slow = slow * noise["once"] + second + torch.tensor([1.0, 2.0], dtype=torch.float64)
        return {"y": fast * slow.sum(), "context": context}, (fast, slow)


class Scan(nn.Module):
    """A model of one scan."""

    def __init__(self, cell, **options):
        super().__init__()
        self.cell, self.options = cell, options

    def forward(self, *arguments):
        inputs, *rest = arguments
        names = ("state", "context", "lengths")
        return carousel.scan(self.cell, inputs, **self.options, **dict(zip(names, rest, strict=False)))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def gradients(model, arguments):
    """All results, and the gradients of a weighted sum of them, by parameters and arguments."""
    torch.manual_seed(0)
    results = pytree.tree_leaves(model(*arguments))
    loss = sum((result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)).sum() for result in results)
    wanted = [leaf for leaf in (*model.parameters(), *pytree.tree_leaves(arguments)) if leaf.requires_grad]
    return [*results, *torch.autograd.grad(loss, wanted, materialize_grads=True)]


def same(one, other):
    for got, want in zip(one, other, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def arguments(T, B, lengths, seed=0):
    x = drawn(T, B, 3, seed=seed), drawn(T, B, 2, seed=seed + 1)
    return x, (drawn(B, 3, seed=seed + 2), drawn(B, 2, seed=seed + 3)), drawn(B, 3, seed=seed + 4), torch.tensor(lengths)


@pytest.mark.parametrize("training", [True, False])
def test_an_exported_cell_of_ones_own_for_any_size(training):
    model = Scan(Attending(), return_states=True).train(training)
    T, B = {0: ANY, 1: ANY}, {0: ANY}
    program = torch.export.export(model, arguments(5, 3, [5, 0, 2]), dynamic_shapes=(((T, T), (B, B), B, B),))
    assert [node.target for node in program.graph.nodes].count(torch.ops.carousel.scan.default) == 1
    for sizes in ((5, 3, [5, 0, 2]), (7, 4, [1, 7, 6, 0]), (4, 2, [4, 4])):
        given = arguments(*sizes, seed=10)
        same(gradients(program.module(), given), gradients(model, given))


def test_an_exported_cell_may_be_checkpointed():
    model, given = Scan(Attending(), return_states=True).eval(), arguments(5, 3, [5, 0, 2])
    program = torch.export.export(model, given).module()

    def checkpointed(*given):
        return checkpoint(program, *given, use_reentrant=False)

    checkpointed.parameters = program.parameters
    same(gradients(checkpointed, given), gradients(program, given))


def test_without_gradients_nothing_is_kept_for_them():
    model, x = Scan(LSTM(3, 11)), torch.randn(5, 2, 3)  # of sizes of its own, so that the step is captured while it is exported
    with torch.no_grad():
        program = torch.export.export(model, (x,))
        same(pytree.tree_leaves(program.module()(x)), pytree.tree_leaves(model(x)))
    (node,) = [node for node in program.graph.nodes if node.target is torch.ops.carousel.scan.default]
    assert len(node.meta["val"]) == 3  # y, h and c
    with pytest.raises(InputError, match="does not make"):
        program.module()(x)  # its parameters ask for gradients


@pytest.mark.parametrize("lengths", [torch.tensor([4, 1, 0]), None], ids=["lengths", "equal"])
def test_torchs_own_check_of_the_operator(lengths):
    model = Scan(GRU(2, 3, dtype=torch.float64), return_states=True)
    program = torch.export.export(model, (drawn(4, 3, 2), drawn(3, 3), None, lengths))
    (node,) = [node for node in program.graph.nodes if node.target is torch.ops.carousel.scan.default]
    tensors, _, *others = node.args
    given = [drawn(*tensor.meta["val"].shape, seed=seed) for seed, tensor in enumerate(tensors)]
    torch.library.opcheck(torch.ops.carousel.scan.default, (given, lengths, *others))


@pytest.mark.parametrize("given_state", [False, True])
def test_an_exported_layer_is_saved_with_its_state(given_state, tmp_path):
    layer, x = carousel.nn.LSTM(3, 4), torch.randn(5, 2, 3)
    with torch.no_grad():
        given = (x, layer(x)[1]) if given_state else (x,)
    torch.export.save(torch.export.export(layer, given), tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    (y, state), (wanted, wanted_state) = loaded(*given), layer(*given)
    same([y, *state], [wanted, *wanted_state])
    assert type(state) is type(wanted_state)


def test_a_step_of_another_process_is_refused():
    with pytest.raises(InputError, match="no step 0123 in this process"):
        operator.scan([torch.ones(2)], None, "0123", [False], 1, 1, False)


def test_tracing_leaves_nothing_behind_for_calls_with_data():
    model, given = Scan(Attending(), backend="native").eval(), arguments(1, 1, [1])
    packing._equal.cache_clear()
    program = torch.export.export(model, given)
    same(pytree.tree_leaves(program.module()(*given)), pytree.tree_leaves(model(*given)))


def test_forward_mode_is_refused_not_lost():
    model, x = Scan(LSTM(3, 4)), torch.randn(5, 2, 3)
    program = torch.export.export(model, (x,)).module()
    with forward_ad.dual_level(), pytest.raises(InputError, match="forward-mode"):
        program(forward_ad.make_dual(x, x))


def test_lengths_are_looked_at_when_the_program_runs():
    model, x = Scan(LSTM(3, 4)), torch.randn(5, 2, 3)
    program = torch.export.export(model, (x, None, None, torch.tensor([5, 1]))).module()
    with pytest.raises(InputError, match=r"lengths in 0\.\.T = 5, got 1\.\.6"):
        program(x, None, None, torch.tensor([6, 1]))


class Odd(Cell):
    """A step with an operation that the native backend does not know."""

    def initial_state(self):
        return torch.zeros(2)

    def step(self, x, state):
        return x, torch.special.bessel_j0(state + x)


@pytest.mark.parametrize(
    ("cell", "options", "dtype", "reason"),
    [
        (Odd(), {}, torch.float32, "no aten.special_bessel_j0"),
        (LSTM(2, 3), {"backend": "eager"}, torch.float32, "backend 'eager'"),
        (LSTM(2, 3, dtype=torch.bfloat16), {}, torch.bfloat16, "float32 and float64"),
        (LSTM(3, 4), {}, torch.float32, r"expected inputs \(T, B, 3\) for LSTM"),
    ],
)
def test_what_cannot_be_exported_is_said(cell, options, dtype, reason):
    with pytest.raises(InputError, match=reason):
        torch.export.export(Scan(cell, **options), (torch.ones(3, 2, 2, dtype=dtype),))
