"""RTRL: against full BPTT and finite differences for every cell of the table, against the paper by hand, and SnAp-1."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from carousel import Batch, Cell, Stack, scan
from carousel.cells import LSTM, Elman, FullyRecurrent, LearnedStart
from carousel.errors import InputError
from carousel.learn import RTRL, half_squared_error, objective, rtrl, stream
from cell_table import CELLS, arguments, build
from equations import sigmoid

REFUSED = {
    "window-0": "with parameters",
    "window-2": "with parameters",
    "mean": "with parameters",
    "dropout": "with parameters",
    "embedding": "with a state of floating point",
}
QUICK = ("fully-recurrent-masks", "lstm1997", "learned-start", "trees-and-integers")
T, B = 5, 2


def squares(y: Any, target: Any) -> Tensor:
    return sum(((a - b) ** 2).sum() for a, b in zip(floats(y), floats(target), strict=True)) / 2


def floats(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if leaf.is_floating_point()]


def given(cell: Cell) -> Batch:
    """Sequences of differing lengths, with targets of the outputs' shapes at some steps."""
    inputs = arguments(cell, T, B)["inputs"]
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        y, _ = scan(cell, inputs, backend="eager")
    targets = pytree.tree_map(lambda leaf: torch.randn(leaf.shape, generator=draw, dtype=torch.float64).to(leaf.dtype), y)
    lengths = torch.tensor([T, T - 2])
    mask = (torch.arange(T)[:, None] < lengths) & (torch.arange(T)[:, None] != 1)
    return Batch(inputs, targets, mask, lengths)


def bptt_gradient(cell: Cell, batch: Batch, loss: Any = squares) -> dict[str, Tensor]:
    """The sum over sequences."""
    cell.zero_grad()
    value = objective(scan(cell, batch.inputs, lengths=batch.lengths, backend="eager")[0], batch, loss) * batch.size
    value.backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in cell.named_parameters()}


def rule_gradients(learner: RTRL, cell: Cell, batch: Batch, backend: str, loss: Any = squares) -> dict[str, Tensor]:
    """As `bptt_gradient`, each sequence of the batch a row by itself."""
    online = learner.cell(cell, loss, 1.0)
    total: dict[str, Any] = dict.fromkeys(dict(cell.named_parameters()), 0)
    for b in range(batch.size):
        tree = pytree.tree_map(lambda leaf, b=b: leaf[:, b : b + 1], (batch.inputs, batch.targets, batch.mask))
        with torch.no_grad():
            _, final = scan(online, stream(Batch(*tree, batch.lengths[b : b + 1])), backend=backend)
        for name, parameter in cell.named_parameters():
            total[name] = total[name] + (parameter.detach() - final.parameters[name][0])
    return total


EMBEDS = ("trees-and-integers", "stack-mean")
"""The engine has no gradient of an embedding within a step."""
ALL = [
    pytest.param(name, backend, marks=() if name in QUICK else pytest.mark.long)
    for name in CELLS
    for backend in ("eager", "native")
    if name not in REFUSED and name not in ("context", "stack-window-mlp") and not (name in EMBEDS and backend == "native")
]


@pytest.mark.parametrize(("name", "backend"), ALL)
def test_a_sequences_gradient_is_that_of_full_bptt(name: str, backend: str) -> None:
    cell = build(name).eval()
    batch = given(cell)
    expected, got = bptt_gradient(cell, batch), rule_gradients(RTRL(every="sequence"), cell, batch, backend)
    for parameter, value in expected.items():
        torch.testing.assert_close(got[parameter], value, rtol=1e-9, atol=1e-10, msg=parameter)


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name]])
def test_networks_without_state_or_parameters_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"expected a network {REFUSED[name]}"):
        RTRL().cell(build(name).eval(), squares, 0.1)


def test_a_window_under_a_network_flows_no_error_and_is_learned_all_the_same() -> None:
    cell = build("stack-window-mlp").eval()
    expected = bptt_gradient(cell, given(cell))
    got = rule_gradients(RTRL(every="sequence"), cell, given(cell), "eager")
    torch.testing.assert_close(got, expected)


def test_a_sequences_gradient_is_that_of_finite_differences() -> None:
    cell = build("elman")
    batch, step = given(cell), 1e-5
    got = rule_gradients(RTRL(every="sequence"), cell, batch, "native")
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            for place in np.ndindex(parameter.shape):
                kept, values = float(parameter[place]), []
                for moved in (kept + step, kept - step):
                    parameter[place] = moved
                    outputs, _ = scan(cell, batch.inputs, lengths=batch.lengths)
                    values.append(float(objective(outputs, batch, squares)) * batch.size)
                parameter[place] = kept
                assert float(got[name][place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-6, abs=1e-8)


def williams_zipser(cell: FullyRecurrent, batch: Batch, rate: float, forced: bool) -> np.ndarray:
    """Section 2 of the paper, unit by unit: sensitivities p^k_ij, an update at every step with a target."""
    w = cell.V.detach().numpy().copy()
    n, m = cell.units, cell.input_size
    for b in range(batch.size):
        y, p = np.zeros(n), np.zeros((n, *w.shape))
        for t in range(int(batch.lengths[b])):
            z = np.concatenate([batch.inputs[t, b].numpy(), y, [1.0]])
            y = sigmoid(w @ z)
            new = np.zeros_like(p)
            for k in range(n):
                for i, j in np.ndindex(*w.shape):
                    inner = sum(w[k, m + l] * p[l, i, j] for l in range(n)) + (z[j] if i == k else 0)
                    new[k, i, j] = y[k] * (1 - y[k]) * inner
            p = new
            if batch.mask[t, b]:
                K, target = cell.output_size, batch.targets[t, b].numpy()
                w = w + rate * sum((target[k] - y[k]) * p[k] for k in range(K))
                if forced:
                    y = np.concatenate([target, y[K:]])
                    p[:K] = 0
    return w


@pytest.mark.parametrize("forced", [False, True])
def test_online_learning_is_that_of_williams_and_zipser(forced: bool) -> None:
    torch.manual_seed(0)
    cell = FullyRecurrent(2, 3, output_size=2).double()
    batch = given(cell)
    batch.targets[~batch.mask] = torch.nan
    expected = williams_zipser(cell, batch, 0.5, forced)
    optimizer = torch.optim.SGD(cell.parameters(), 0.5)
    RTRL(teacher_forcing=forced).train_on(cell, batch, half_squared_error, optimizer)
    np.testing.assert_allclose(cell.V.detach().numpy(), expected, rtol=1e-10)
    assert not np.allclose(expected, williams_zipser(cell, batch, 0.5, not forced))


def kept_sensitivities(cell: Cell, batch: Batch) -> Tensor:
    """SnAp-1 of one sequence with dense matrices: P = mask * (J P + dF/dw), the mask where dF/dw is not always zero."""
    names, values = zip(*cell.named_parameters(), strict=True)
    flat = torch.cat([value.detach().reshape(-1) for value in values])
    start, spec = pytree.tree_flatten(cell.initial_state())
    sizes = [leaf.numel() for leaf in start]

    def step(w: Tensor, s: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = w.split([value.numel() for value in values])
        named = {name: part.view_as(value) for name, part, value in zip(names, parts, values, strict=True)}
        state = pytree.tree_unflatten([part.view_as(leaf) for part, leaf in zip(s.split(sizes), start, strict=True)], spec)
        y, after = torch.func.functional_call(cell, named, (x, state))
        return y, torch.cat([leaf.reshape(-1) for leaf in pytree.tree_leaves(after)])

    s = torch.cat([leaf.detach().reshape(-1) for leaf in start])
    somewhere = (torch.randn_like(flat), torch.randn_like(s), torch.randn_like(batch.inputs[0, 0]))
    mask = torch.func.jacrev(step)(*somewhere)[1] != 0
    P, gradient = torch.zeros(len(s), len(flat), dtype=s.dtype), torch.zeros_like(flat)
    for t in range(int(batch.lengths[0])):
        x = batch.inputs[t, 0]
        of_y, of_s = (torch.func.jacrev(lambda w, s, n=n, x=x: step(w, s, x)[n], argnums=(0, 1))(flat, s) for n in (0, 1))
        y, s = step(flat, s, x)
        if batch.mask[t, 0]:
            gradient += (y.detach() - batch.targets[t, 0]) @ (of_y[0] + of_y[1] @ P)
        P = mask * (of_s[1] @ P + of_s[0])
        s = s.detach()
    return gradient


@pytest.mark.parametrize("backend", [pytest.param("eager", marks=pytest.mark.long), "native"])
@pytest.mark.parametrize(("name", "rows"), [("elman", 1), ("lstm", 2), ("lstm1997", None)])
def test_snap1_keeps_what_one_step_makes(name: str, rows: int | None, backend: str) -> None:
    cell = build(name)
    batch = given(cell)
    one = Batch(batch.inputs[:, :1], batch.targets[:, :1], batch.mask[:, :1], batch.lengths[:1])
    learner = RTRL(every="sequence", approximation="snap1")
    if rows:
        assert len(learner.cell(cell, squares, 1.0).first_traces({})) == rows
    got = rule_gradients(learner, cell, one, backend)
    found = torch.cat([value.reshape(-1) for value in got.values()])
    torch.testing.assert_close(found, kept_sensitivities(cell, one).detach(), rtol=1e-9, atol=1e-10)
    exact = torch.cat([value.reshape(-1) for value in bptt_gradient(cell, one).values()])
    assert not torch.allclose(found, exact, rtol=1e-3)


def test_a_network_that_does_not_fit_is_refused_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtrl, "_memory", lambda: 3 * 3 * 18 * 8 - 1)
    told = "RTRL: FullyRecurrent with 3 numbers of state and 18 weights needs 3 x 3 x 18 numbers, 1.3e-06 GB"
    with pytest.raises(InputError, match=told):
        RTRL().cell(FullyRecurrent(2, 3).double(), squares, 0.1)
    monkeypatch.setattr(rtrl, "_memory", lambda: 3 * 3 * 18 * 8)
    RTRL().cell(FullyRecurrent(2, 3).double(), squares, 0.1)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: RTRL(approximation="snap2"), "expected approximation None or 'snap1', got 'snap2'"),
        (lambda: RTRL(approximation="snap1", teacher_forcing=True), "expected teacher_forcing without an approximation"),
        (lambda: RTRL(teacher_forcing=True).cell(Elman(2, 3), squares, 0.1), "expected a FullyRecurrent network"),
        (lambda: RTRL(approximation="snap1").cell(LearnedStart(Elman(2, 3)), squares, 0.1), "expects a fixed initial state"),
        (lambda: RTRL(approximation="snap1").cell(build("trees-and-integers"), squares, 0.1), "whose input is a vector"),
        (lambda: RTRL().cell(LSTM(2, 3, zoneout_h=0.5), squares, 0.1), "expected a network without noise"),
    ],
)
def test_refusals(make: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()


def test_rows_of_a_stack_with_learned_and_fixed_parts_learn_online() -> None:
    """The update of one step, where the sensitivities are still those of the start, is BPTT's."""
    cell = LearnedStart(Stack(LSTM(2, 3), readout=torch.nn.Linear(3, 1))).double()
    batch = Batch(
        torch.randn(1, 1, 2).double(), torch.ones(1, 1, 1).double(), torch.ones(1, 1, dtype=torch.bool), torch.tensor([1])
    )
    expected = bptt_gradient(cell, batch)
    got = rule_gradients(RTRL(), cell, batch, "native")
    assert float(got["start.0"].abs().max()) > 0
    torch.testing.assert_close(got, expected)
