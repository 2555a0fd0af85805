"""The lowering by loops: what the plan moves out of the loops, what it keeps, and how the seam behaves."""

import pytest
import torch
from torch import nn

import carousel
from carousel import engine
from carousel.cell import Cell, Stack
from carousel.cells import GRU, LSTM
from carousel.engine import plan, program, scan_function, snapshot
from carousel.engine.loop_distribution import Batched, Recurrence, Shift
from carousel.engine.packing import packing
from carousel.engine.scan_call import Call
from carousel.errors import InputError
from cell_table import build
from comparison import agree, everything


def x64(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plan_of(cell, x, grad=True):
    """The plan of a scan over x, with gradients for everything or for nothing."""
    state = torch.utils._pytree.tree_map(lambda leaf: leaf.expand(x.shape[1], *leaf.shape), cell.initial_state())
    call = Call(snapshot.snapshot_of(cell), x.shape[0], x.shape[1], x, state, None, {}, {}, None, False)
    found = scan_function.lower(cell, call, engine.LOWERING)
    n_states = len(found.graph.state)
    return found.program((grad,) * len(found.arguments), (grad,) * n_states, False).plan


def kinds(stage):
    return [op.kind for op in (stage.ops if isinstance(stage, Batched) else stage.loop.ops)]


def test_an_lstm_is_one_product_and_one_loop_each_way():
    made = plan_of(LSTM(30, 4), torch.randn(5, 2, 30))
    product, loop = made.stages
    assert kinds(product).count("matvec") == 1  # the inputs of all steps at once
    assert kinds(loop).count("matvec") == 1
    (back,) = [stage for stage in made.backward.stages if isinstance(stage, Recurrence)]
    assert kinds(back).count("matvec") == 1
    assert [total.kind for total in made.backward.totals] == ["outer", "outer"]  # one product a weight matrix
    assert [total.kind for total in back.totals] == ["sum"]  # the bias's gradient
    # Four gates, tanh(c), h and c: the gates' sums and everything else is computed again.
    assert sum(value.shape[0] for value in made.saved) == 7 * 4


def test_a_stack_falls_apart_into_one_loop_a_layer():
    made = plan_of(Stack(LSTM(30, 20), GRU(20, 6), readout=nn.Linear(6, 17)), torch.randn(5, 2, 30))
    assert [type(stage).__name__ for stage in made.stages] == ["Batched", "Recurrence"] * 2 + ["Batched"]


def test_a_narrow_readout_is_made_in_the_loop():
    made = plan_of(Stack(LSTM(3, 40), readout=nn.Linear(40, 2)), torch.randn(5, 2, 3))
    (loop,) = made.stages
    assert kinds(loop).count("matvec") == 3  # of x, of h, and the readout's
    assert {value.name for value in made.graph.outputs} <= {value.name for value in loop.loop.written}


def test_a_narrow_product_and_the_bias_are_made_in_the_loop():
    made = plan_of(LSTM(3, 4), torch.randn(5, 2, 3))
    (loop,) = made.stages
    assert kinds(loop).count("matvec") == 2
    assert {value.name for value in loop.loop.per_step} == {"x0"}


def test_a_product_with_one_number_is_none():
    made = plan_of(LSTM(1, 4), torch.randn(5, 2, 1))
    (loop,) = made.stages
    assert kinds(loop).count("matvec") == 1
    assert [total.kind for total in made.backward.totals] == ["outer"]  # of U; W's gradient is a sum in the loop


def test_gradients_of_vectors_are_added_up_in_the_loop():
    made = plan_of(LSTM(3, 4, peepholes=True), torch.randn(5, 2, 3))
    (back,) = [stage for stage in made.backward.stages if isinstance(stage, Recurrence)]
    assert {total.kind for total in made.backward.totals} == {"outer"}
    assert len(back.totals) == len(back.loop.summed) == 4  # three peepholes and the bias
    wanted = {value for total in made.backward.totals for value in total.inputs} | set(made.backward.gradients.values())
    assert set(back.loop.written) == wanted & {op.output for op in back.loop.ops}


def test_a_gradient_of_what_a_row_keeps_is_added_up_for_each_row():
    class Biased(Cell):
        input_size = output_size = 3

        def __init__(self):
            super().__init__()
            self.U = nn.Parameter(torch.eye(3, dtype=torch.float64))

        def initial_state(self):
            return torch.zeros(3, dtype=torch.float64)

        def step(self, x, h, context):
            h = torch.tanh(x + self.U @ h + context)
            return h, h

    cell, context = Biased(), x64(4, 3, seed=3).requires_grad_()
    x, lengths = x64(5, 4, 3), torch.tensor([5, 0, 3, 1])
    gradients = [
        torch.autograd.grad(carousel.scan(cell, x, context=context, lengths=lengths, backend=backend)[0].square().sum(), context)
        for backend in ("native", "eager")
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_a_delay_line_needs_no_loop():
    class Delay(Cell):
        input_size = output_size = 2

        def initial_state(self):
            return (torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))

        def step(self, x, state):
            return state[1], (x, state[0])

    cell = Delay()
    made = plan_of(cell, x64(5, 2, 2))
    assert all(isinstance(stage, Shift) for stage in (*made.stages, *made.backward.stages))
    for lengths in (None, torch.tensor([1, 4, 0])):
        agree(everything(cell, "native", x64(4, 3, 2), lengths), everything(cell, "eager", x64(4, 3, 2), lengths))


def test_what_no_part_keeps_has_the_memory_of_one_part(monkeypatch):
    places = []
    place = program.Memory.place
    monkeypatch.setattr(program.Memory, "place", lambda memory, value: places.append(place(memory, value)) or places[-1])
    monkeypatch.setattr(program, "PART_BYTES", 1)
    monkeypatch.setattr(program, "LEAST_PART", 3)
    with torch.no_grad():
        carousel.scan(LSTM(20, 5), torch.randn(8, 3, 20), backend="native")
    gates = [tensor for tensor in places if tensor.shape == (3, 20)]  # of the three rows at one step
    assert len(gates) == 8
    assert len({tensor.data_ptr() for tensor in gates}) == 1


def test_weights_behind_a_mask_are_made_once():
    class Masked(Cell):
        input_size = output_size = 3

        def __init__(self):
            super().__init__()
            self.W = nn.Parameter(torch.randn(3, 3))
            self.register_buffer("mask", torch.eye(3))

        def initial_state(self):
            return torch.zeros(3)

        def step(self, x, h):
            h = torch.tanh((self.W * self.mask) @ h + x)
            return h, h

    graph = plan_of(Masked(), torch.randn(5, 2, 3)).graph
    assert [kinds(stage) for stage in plan.prelude_of(graph)] == [["mul"]]
    assert [value.name for value in plan.arguments_of(graph)] == ["v0", "x0"]


def test_without_gradients_nothing_is_kept():
    cell, x = LSTM(3, 4), torch.randn(5, 2, 3)
    assert plan_of(cell, x, grad=False).saved == ()
    with torch.no_grad():
        outputs, state = carousel.scan(cell, x, backend="native")
    assert outputs.grad_fn is None
    assert state.c.grad_fn is None
    for parameter in cell.parameters():
        parameter.requires_grad_(False)
    assert carousel.scan(cell, x, backend="native")[0].grad_fn is None


@pytest.mark.parametrize("frozen", [("W",), ("U", "b"), ("W", "U", "b")])
def test_gradients_of_some_parameters_only(frozen):
    cell = build("lstm")
    for name in frozen:
        getattr(cell, name).requires_grad_(False)
    lengths = torch.tensor([4, 2, 3])
    agree(
        everything(cell, "native", x64(4, 3, 2), lengths, frozen=frozen),
        everything(cell, "eager", x64(4, 3, 2), lengths, frozen=frozen),
    )


def test_a_loss_on_the_final_state_alone():
    cell = build("lstm")
    found = []
    for backend in ("native", "eager"):
        _, state = carousel.scan(cell, x64(4, 3, 2), lengths=[4, 2, 0], backend=backend)
        found.append(torch.autograd.grad(state.c.square().sum(), list(cell.parameters()), allow_unused=True))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_second_derivatives_of_context_and_lengths():
    cell = build("lstm")
    x = x64(3, 2, 2).requires_grad_()

    def final(x):
        outputs, state, states = carousel.scan(cell, x, lengths=[3, 1], return_states=True, backend="native")
        return outputs.sin().sum() + state.h.square().sum() + states.c.exp().sum()

    assert torch.autograd.gradgradcheck(final, (x,))


class Odd(Cell):
    """A step with an operation that the native backend does not know."""

    input_size = output_size = 2

    def initial_state(self):
        return torch.zeros(2)

    def step(self, x, state):
        h = torch.special.bessel_j0(state + x)
        return h, h


def test_an_unsupported_operation_is_named_with_its_line():
    x = torch.randn(3, 2, 2)
    with pytest.raises(InputError, match=r"no aten.special_bessel_j0.default \(.*test_scan_function.py:\d+\)"):
        carousel.scan(Odd(), x, backend="native")
    torch.testing.assert_close(carousel.scan(Odd(), x, backend="auto")[0], carousel.scan(Odd(), x, backend="eager")[0])


def test_a_random_draw_in_the_step_is_refused():
    class Drawing(Odd):
        def step(self, x, state):
            h = state + torch.rand(2)
            return h, h

    with pytest.raises(InputError, match="draws random numbers"):
        carousel.scan(Drawing(), torch.randn(3, 2, 2), backend="native")


def test_native_is_for_plain_tensors_on_the_cpu():
    with pytest.raises(InputError, match=r"float32 and float64, got torch\.bfloat16"):
        carousel.scan(LSTM(2, 3, dtype=torch.bfloat16), torch.randn(3, 2, 2, dtype=torch.bfloat16), backend="native")


def test_one_capture_for_all_sizes_and_lengths(monkeypatch):
    seen = []
    original = scan_function._captured
    monkeypatch.setattr(scan_function, "_captured", lambda *arguments: seen.append(1) or original(*arguments))
    monkeypatch.setattr(scan_function, "_cache", type(scan_function._cache)())
    cell = LSTM(2, 3)
    for T, B in ((4, 3), (2, 1), (7, 0), (1, 8)):
        carousel.scan(cell, torch.randn(T, B, 2), backend="native")
    carousel.scan(cell, torch.randn(4, 3, 2), lengths=[1, 2, 4], backend="native")
    assert len(seen) == 1
    before, _ = carousel.scan(cell, torch.ones(4, 3, 2), backend="native")
    with torch.no_grad():
        cell.b.add_(1)
    assert not torch.equal(before, carousel.scan(cell, torch.ones(4, 3, 2), backend="native")[0])
    assert len(seen) == 1
    cell.zoneout_h = 0.5
    carousel.scan(cell, torch.randn(4, 3, 2), backend="native")
    assert len(seen) == 2


@pytest.mark.parametrize("lengths", [None, [5, 0, 3]])
@pytest.mark.parametrize("long", [False, True])
def test_another_default_device_changes_nothing(lengths, long, monkeypatch):
    if long:  # in parts of the time axis
        monkeypatch.setattr(program, "PART_BYTES", 1)
        monkeypatch.setattr(program, "LEAST_PART", 2)
    cell, x = LSTM(2, 3).double(), x64(5, 3, 2)

    def found():
        scan_function._cache.clear()
        y, state, states = carousel.scan(cell, x, lengths=lengths, return_states=True, backend="native")
        return [y, *state, *states, *torch.autograd.grad(y.square().sum() + state[0].sum(), list(cell.parameters()))]

    expected = found()
    with torch.device("meta"):
        given = found()
        y = carousel.Stepper(cell)(x[0, 0])
    assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))
    torch.testing.assert_close(y, carousel.Stepper(cell)(x[0, 0]))


def test_parts_of_the_time_axis_are_longer_where_matrices_are_large():
    def steps(cell, T, B):
        made = program.make_program(plan_of(cell, torch.empty(1, B, 20), grad=False), engine.LOWERING)
        entries = program._entries(made.passing[0], made.shared[0])
        return [part.steps for _, part in packing(T, B, None).parts(entries)]

    assert steps(LSTM(20, 256), 128, 32) == [32] * 4  # 4 MiB of the gates' inputs
    assert steps(LSTM(20, 1024), 128, 32) == [64] * 2  # twice the bytes of the recurrent matrix, 16 MiB
