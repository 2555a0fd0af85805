"""Stepper on native code: that it is the step itself, sees what has changed, and may be shared by threads."""

import threading
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import carousel
from carousel.cell import Cell, Stack
from carousel.cells import GRU, LSTM
from cell_table import CELLS, arguments, build, pick
from comparison import TOLERANCE


def x_of(steps, size, dtype=torch.float32):
    return torch.randn(steps, size, generator=torch.Generator().manual_seed(0), dtype=dtype)


def leaves_close(given, expected, dtype):
    assert pytree.tree_structure(given) == pytree.tree_structure(expected)
    for one, other in zip(pytree.tree_leaves(given), pytree.tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def is_native(stepper):
    return stepper._native is not None


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_native_step_is_a_step_of_scan(name, dtype):
    cell = build(name, dtype).eval()
    given = arguments(cell, 5, 1, dtype)
    with torch.no_grad():
        outputs, final_state = carousel.scan(cell, **given, backend="eager")
    stepper = carousel.Stepper(cell, context=None if "context" not in given else pick(given["context"], 0))
    stepper.state = pick(given["state"], 0)
    for t in range(5):
        leaves_close(stepper(pick(given["inputs"], t, 0)), pick(outputs, t, 0), dtype)
        assert is_native(stepper)
    leaves_close(stepper.state, pick(final_state, 0), dtype)


@pytest.mark.parametrize(("make", "size"), [(GRU, 64), (LSTM, 65), (lambda i, h: Stack(LSTM(i, h), GRU(h, i)), 33)])
def test_large_and_odd_sizes(make, size):
    cell, x = make(size, size + 2), x_of(6, size)
    stepper = carousel.Stepper(cell)
    outputs = torch.stack([stepper(step) for step in x])
    torch.testing.assert_close(outputs, carousel.scan(cell, x[:, None], backend="eager")[0][:, 0].detach())
    assert is_native(stepper)


def test_weights_changed_between_steps_are_seen():
    cell, x = GRU(3, 40), x_of(1, 3)[0]
    stepper = carousel.Stepper(cell)

    def check(kept=True):
        stepper.state = torch.linspace(-1, 1, 40)
        expected, _ = carousel.scan(cell, x[None, None], stepper.state[None], backend="eager")
        y = stepper(x)
        torch.testing.assert_close(y, expected[0, 0].detach())
        assert is_native(stepper) == kept
        return y

    found = [check()]
    with torch.no_grad():
        cell.W.mul_(2)
    found.append(check())
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.5)
    carousel.scan(cell, x[None, None])[0].sum().backward()
    optimizer.step()
    found.append(check())
    cell.load_state_dict(GRU(3, 40).state_dict())
    found.append(check())
    cell.W = nn.Parameter(cell.W * 2)
    found.append(check())
    cell.U.data = cell.U.data.clone() + 1
    found.append(check())
    nn.utils.parametrizations.weight_norm(cell, "W")
    check(kept=False)  # made anew at each step
    assert all(not torch.equal(a, b) for a, b in pairwise(found))


class Scaled(Cell):
    """y = scale * x * w(x), in training mode with the sign turned."""

    def __init__(self):
        super().__init__()
        self.scale = 2.0
        self.inner = nn.LayerNorm(2)

    def initial_state(self):
        return torch.zeros(2)

    def step(self, x, state):
        y = self.scale * self.inner(x) * (-1 if self.training else 1)
        return y, state + y


def by_data(cell):
    cell.W.data.mul_(-1)


def by_numpy(cell):
    cell.U.detach().numpy()[0, 0] += 1


def by_alias(cell):
    cell.b.detach().view(-1).data.copy_(torch.ones(cell.b.numel()))


def by_vector(cell):
    vector = nn.utils.parameters_to_vector(cell.parameters())
    nn.utils.vector_to_parameters(vector * 2, cell.parameters())


def by_many(cell):
    for parameter in cell.parameters():
        parameter.data = parameter.data * 0.5
        parameter.data.sub_(0.1)


@pytest.mark.parametrize("write", [by_data, by_numpy, by_alias, by_vector, by_many])
@pytest.mark.parametrize(
    "make", [lambda: GRU(3, 5), lambda: LSTM(3, 4, layer_norm=True), lambda: carousel.Stack(GRU(3, 4), GRU(4, 5))]
)
def test_what_is_written_past_pytorchs_notice_is_seen(make, write):
    cell = make()
    target = cell.cells[0] if isinstance(cell, carousel.Stack) else cell
    stepper, x, (_, state) = carousel.Stepper(cell), torch.ones(3), carousel.scan(cell, torch.randn(3, 1, 3))
    state = pytree.tree_map(lambda leaf: leaf[0].detach(), state)
    before = stepper.step(x, state)[0]
    native = stepper._native
    assert stepper.step(x, state)[0].equal(before)
    assert stepper._native is native
    write(target)
    after = stepper.step(x, state)[0]
    torch.testing.assert_close(after, cell.step(x, state)[0].detach())
    assert not torch.allclose(after, before)
    assert is_native(stepper)


def test_context_written_past_pytorchs_notice_is_seen():
    class Added(carousel.Cell):
        input_size = output_size = 2

        def initial_state(self):
            return torch.zeros(2)

        def step(self, x, h, *, context):
            return x + context, h

    context = torch.ones(2)
    stepper = carousel.Stepper(Added(), context=context)
    assert stepper(torch.zeros(2)).tolist() == [1, 1]
    context.numpy()[:] = 5
    assert stepper(torch.zeros(2)).tolist() == [5, 5]


def test_a_part_of_a_large_tensor_is_seen_in_time():
    cell = GRU(3, 100)  # U is of 117 KiB
    stepper, x, state = carousel.Stepper(cell), torch.ones(3), torch.linspace(-1, 1, 100)
    stepper.step(x, state)
    cell.U.detach().numpy()[-1] += 1
    for _ in range(2):
        y = stepper.step(x, state)[0]
    near = {"rtol": 1e-4, "atol": 1e-4}  # sums of a hundred weights above one are large
    torch.testing.assert_close(y, cell.step(x, state)[0].detach(), **near)
    cell.U.detach().numpy()[:] += 1
    torch.testing.assert_close(stepper.step(x, state)[0], cell.step(x, state)[0].detach(), **near)


def test_a_spread_out_tensor_is_looked_at_too():
    cell = GRU(3, 4)
    cell.W = nn.Parameter(torch.randn(3, 12).t())
    stepper, x, state = carousel.Stepper(cell), torch.ones(3), torch.ones(4)
    before = stepper.step(x, state)[0]
    cell.W.data.mul_(3)
    after = stepper.step(x, state)[0]
    torch.testing.assert_close(after, cell.step(x, state)[0].detach())
    assert not torch.allclose(after, before)


def test_attributes_modes_and_methods_changed_between_steps_are_seen(monkeypatch):
    cell, x = Scaled(), torch.tensor([1.0, 3.0])
    stepper = carousel.Stepper(cell)
    first = stepper(x)
    assert torch.equal(stepper(x), first)
    cell.scale = 4.0
    assert torch.equal(stepper(x), 2 * first)
    cell.eval()
    assert torch.equal(stepper(x), -2 * first)
    cell.inner.eps = 1.0
    assert not torch.equal(stepper(x), -2 * first)
    cell.inner = nn.Identity()
    assert torch.equal(stepper(x), 4 * x)
    monkeypatch.setattr(Scaled, "step", lambda self, x, state: (x, state))
    assert torch.equal(stepper(x), x)
    assert is_native(stepper)


def test_context_changed_in_place_is_seen():
    cell = build("context").eval()
    given = arguments(cell, 1, 1)
    context, x = given["context"][0].clone(), given["inputs"][0, 0]
    stepper = carousel.Stepper(cell, context=context)
    before = stepper(x)
    stepper.state = None
    context.mul_(2)
    assert not torch.equal(stepper(x), before)


def test_results_are_nobody_elses():
    cell, x = LSTM(3, 5), x_of(50, 3)
    stepper = carousel.Stepper(cell)
    kept, copies = [], []
    for step in x:
        y = stepper(step)
        kept += [y, stepper.state.h[1:], stepper.state.c.numpy()]
        copies += [y.clone(), stepper.state.h[1:].clone(), stepper.state.c.numpy().copy()]
    assert all((a == b).all() for a, b in zip(kept, copies, strict=True))
    state, y = stepper.state, stepper(x[0])
    after = stepper.state.h.clone()
    y.zero_()
    assert torch.equal(stepper.state.h, after)
    assert not y.requires_grad
    assert y.untyped_storage().nbytes() == 5 * 4
    state.c.share_memory_()
    shared = state.c.untyped_storage().data_ptr()
    del state
    assert all(stepper(step) is not None and stepper.state.c.data_ptr() != shared for step in x)


def test_views_and_what_has_a_gradient_are_read_right():
    cell, x = LSTM(3, 5), x_of(3, 8)
    stepper = carousel.Stepper(cell)
    stepper(x[0, :3])
    stepper.state = None
    column = x.t()[1].clone().requires_grad_()
    y = stepper(x.t()[1])
    stepper.state = None
    assert torch.equal(stepper(column), y)
    torch.testing.assert_close(y, carousel.scan(cell, column[None, None])[0][0, 0].detach())
    with torch.inference_mode():
        stepper.state = None
        assert torch.equal(stepper(x.t()[1]), y)


def test_threads_share_a_stepper():
    cell, x = LSTM(6, 32), x_of(200, 6)
    expected = carousel.scan(cell, x[:, None])[0][:, 0].detach()
    stepper, wrong = carousel.Stepper(cell), []

    def run():
        state = cell.initial_state()
        for t, step in enumerate(x):
            y, state = stepper.step(step, state)
            if not torch.allclose(y, expected[t], rtol=1e-5, atol=1e-6):
                wrong.append(t)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_step_inside_of_transforms_is_traced():
    cell, x = GRU(3, 4), x_of(5, 3)
    stepper = carousel.Stepper(cell)
    expected = torch.stack([stepper.step(step, cell.initial_state())[0] for step in x])
    found = torch.vmap(lambda step: stepper.step(step, cell.initial_state())[0])(x)
    torch.testing.assert_close(found, expected)


class Unknown(Cell):
    """Has an operation that no backend but eager knows."""

    def initial_state(self):
        return torch.zeros(3)

    def step(self, x, state):
        y = torch.linalg.solve(torch.eye(3) * 2 + torch.diag(x), state + 1)
        return y, y


def test_what_cannot_be_lowered_is_stepped_by_pytorch():
    stepper, x = carousel.Stepper(Unknown()), torch.rand(3)
    outputs, _ = carousel.scan(Unknown(), x.expand(2, 1, 3))
    torch.testing.assert_close(torch.stack([stepper(x), stepper(x)]), outputs[:, 0])
    assert not is_native(stepper)


def test_trees_are_built_again():
    cell = Stack(LSTM(2, 3), GRU(3, 4))
    stepper = carousel.Stepper(cell)
    stepper(torch.ones(2))
    stepper(torch.ones(2))
    assert pytree.tree_structure(stepper.state) == pytree.tree_structure(cell.initial_state())
