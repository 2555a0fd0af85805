"""The truncated rule of 1997: against BPTT through a network with the cut connections, and against appendix A.1 by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from carousel import Batch, Cell, Stack, scan
from carousel.cells import GRU, LSTM, LSTM1997, LearnedStart
from carousel.cells.lstm1997 import LSTM1997State
from carousel.errors import InputError
from carousel.learn import BPTT, Diverged, Truncated1997, half_squared_error, objective, side_by_side, stream
from equations import sigmoid

I, K = 3, 2


class Cut(Cell):
    """A network whose state before a step is cut, all but what it carries: what the rule is the gradient of."""

    def __init__(self, network: Cell) -> None:
        super().__init__()
        self.network, self.input_size, self.output_size = network, network.input_size, network.output_size

    def initial_state(self) -> Any:
        return self.network.initial_state()

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if isinstance(self.network, Stack):
            return self.network.step(x, (state[0]._replace(h=state[0].h.detach()),))
        return self.network.step(x, state._replace(y=state.y.detach()))


def networks() -> dict[str, Cell]:
    torch.manual_seed(0)
    return {
        "blocks": LSTM1997(I, K, blocks=2, block_size=2, bound=1.0).double(),
        "some biases": LSTM1997(I, K, blocks=2, block_size=3, biases="gates", bound=1.0).double(),
        "simple": LSTM1997(I, K, blocks=2, biases="none", simple=True, bound=1.0).double(),
        "today": Stack(LSTM(I, 4), readout=nn.Linear(4, K)).double(),
        "peepholes": Stack(LSTM(I, 4, peepholes=True), readout=nn.Linear(4, K)).double(),
        "norms": Stack(LSTM(I, 4, layer_norm=True, proj_size=3), readout=nn.Linear(3, K)).double(),
    }


def batch(B: int = 3, steps: int = 7, lengths: list[int] | None = None) -> Batch:
    draw = torch.Generator().manual_seed(1)
    mask = torch.rand(steps, B, generator=draw) < 0.5
    targets = torch.rand(steps, B, K, generator=draw, dtype=torch.float64)
    targets[~mask] = torch.nan
    lengths_ = torch.tensor(lengths or [steps] * B)
    mask &= torch.arange(steps)[:, None] < lengths_
    return Batch(torch.randn(steps, B, I, generator=draw, dtype=torch.float64), targets, mask, lengths_)


def plain_sgd(cell: Cell, rate: float) -> torch.optim.SGD:
    return torch.optim.SGD(cell.parameters(), rate)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "native") for name in networks()),
        *(pytest.param(name, "eager", marks=() if name == "blocks" else pytest.mark.long) for name in networks()),
    ],
)
def test_a_sequences_gradient_is_that_of_the_cut_network(name: str, backend: str) -> None:
    given = batch(1)
    cut = Cut(networks()[name])
    objective(scan(cut, given.inputs, backend="eager")[0], given, half_squared_error).backward()
    learning = networks()[name]
    online = Truncated1997(every="sequence").cell(learning, half_squared_error, 0.5)
    with torch.no_grad():
        _, final = scan(online, stream(given), backend=backend)
    for (parameter, value), expected in zip(learning.named_parameters(), cut.parameters(), strict=True):
        assert expected.grad is not None
        torch.testing.assert_close((value - final.parameters[parameter][0]) / 0.5, expected.grad, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_another_than_that_of_the_whole_network() -> None:
    """The comparison above can tell the two apart."""
    given, cut, whole = batch(1), Cut(networks()["blocks"]), networks()["blocks"]
    for cell in (cut, whole):
        objective(scan(cell, given.inputs, backend="eager")[0], given, half_squared_error).backward()
    first, second = ([parameter.grad for parameter in cell.parameters()] for cell in (cut, whole))
    assert any(float((a - b).abs().max()) > 1e-3 for a, b in zip(first, second, strict=True))


def appendix(network: LSTM1997, given: Batch, rate: float) -> dict[str, np.ndarray]:
    """Online learning by the formulas of appendix A.1, unit by unit, an update at every step that counts."""
    w = {name: parameter.detach().numpy().copy() for name, parameter in network.named_parameters()}
    N, S = network.blocks, network.block_size
    first = 2 * N  # of the cells among the hidden units
    for b in range(given.size):
        s, y = np.zeros(N * S), np.zeros(network.hidden_size)
        in_trace, cell_trace = np.zeros((N * S, w["W"].shape[1] + 1)), np.zeros((N * S, w["W"].shape[1] + 1))
        for t in range(int(given.lengths[b])):
            z = np.concatenate([given.inputs[t, b].numpy(), y, [1.0]])  # y_m, the bias among them
            net = np.column_stack([w["W"], w["b"]]) @ z
            y_in, y_out = sigmoid(net[:N]), sigmoid(net[N : 2 * N])
            g, slope_g = 4 * sigmoid(net[first:]) - 2, 4 * sigmoid(net[first:]) * (1 - sigmoid(net[first:]))
            for v in range(N * S):
                j = v // S
                in_trace[v] += g[v] * y_in[j] * (1 - y_in[j]) * z
                cell_trace[v] += slope_g[v] * y_in[j] * z
                s[v] += y_in[j] * g[v]
            h, slope_h = 2 * sigmoid(s) - 1, 2 * sigmoid(s) * (1 - sigmoid(s))
            cells = np.repeat(y_out, S) * h
            out = sigmoid(w["V"] @ cells + w["c"])
            y = np.concatenate([y_in, y_out, cells])
            if not given.mask[t, b]:
                continue
            e = out * (1 - out) * (given.targets[t, b].numpy() - out)
            back = w["V"].T @ e
            e_s = np.repeat(y_out, S) * slope_h * back
            w["V"] += rate * np.outer(e, cells)
            w["c"] += rate * e
            for j in range(N):
                block = range(j * S, (j + 1) * S)
                change = rate * sum(e_s[v] * in_trace[v] for v in block)
                e_out = y_out[j] * (1 - y_out[j]) * sum(h[v] * back[v] for v in block)
                for row, delta in (
                    (j, change),
                    (N + j, rate * e_out * z),
                    *((first + v, rate * e_s[v] * cell_trace[v]) for v in block),
                ):
                    w["W"][row] += delta[:-1]
                    w["b"][row] += delta[-1]
    return w


def test_online_learning_is_that_of_the_appendix() -> None:
    given, cell = batch(4, lengths=[7, 5, 1, 6]), networks()["blocks"]
    expected = appendix(cell, given, 0.3)
    before = {name: parameter.detach().clone() for name, parameter in cell.named_parameters()}
    value, outputs, state = Truncated1997().train_on(cell, given, half_squared_error, plain_sgd(cell, 0.3))
    assert state is None
    assert outputs.shape == given.targets.shape
    assert float(value) == pytest.approx(float(objective(outputs, given, half_squared_error)))
    for name, parameter in cell.named_parameters():
        assert not torch.equal(parameter, before[name])
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-10, atol=1e-12)


def test_trials_run_side_by_side() -> None:
    given, learner = [batch(1), batch(3)], Truncated1997()
    cells = [networks()["blocks"], networks()["blocks"]]
    with torch.no_grad():
        for parameter in cells[1].parameters():
            parameter.mul_(0.5)
    online = [learner.cell(cell, half_squared_error, rate) for cell, rate in zip(cells, (0.1, 0.4), strict=True)]
    streams = [
        stream(given[0]),
        stream(Batch(given[1].inputs[:, 1:2], given[1].targets[:, 1:2], given[1].mask[:, 1:2], torch.tensor([7]))),
    ]
    together = type(streams[0])(*(torch.cat(leaves, 1) for leaves in zip(*streams, strict=True)))
    with torch.no_grad():
        y, final = scan(online[0], together, side_by_side(online))
        for row, one in enumerate(streams):
            y_alone, alone = scan(online[row], one)
            torch.testing.assert_close(y[:, row : row + 1], y_alone)
            for name in alone.parameters:
                torch.testing.assert_close(final.parameters[name][row : row + 1], alone.parameters[name])


def test_a_network_at_rate_zero_stays() -> None:
    cell = networks()["today"]
    online = Truncated1997().cell(cell, half_squared_error, 0.0)
    _, final = scan(online, stream(batch()))
    assert all(torch.equal(final.parameters[name][0], parameter) for name, parameter in cell.named_parameters())


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (GRU(I, 3), "GRU names no state that carries error"),
        (Stack(LSTM(I, 3), LSTM(3, 3)), "depends on entry 0 of it at the step before"),
        (LSTM(I, 3, zoneout_c=0.5), "expected a network without noise, got LSTM"),
        (LearnedStart(LSTM(I, 3)), "expected a fixed initial state, LearnedStart learns its own"),
    ],
)
def test_networks_without_a_forward_form_are_refused(cell: Cell, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Truncated1997().cell(cell, half_squared_error, 0.1)


def test_refusals() -> None:
    cell, given = networks()["blocks"], batch()
    with pytest.raises(InputError, match="expected every to be one of step, sequence, got 'day'"):
        Truncated1997(every="day")  # type: ignore[arg-type]
    for optimizer in (torch.optim.Adam(cell.parameters()), torch.optim.SGD(cell.parameters(), 0.1, momentum=0.9)):
        with pytest.raises(InputError, match=r"expected plain torch\.optim\.SGD"):
            Truncated1997().train_on(cell, given, half_squared_error, optimizer)
    with pytest.raises(InputError, match="expected state=None"):
        Truncated1997().train_on(
            cell, given, half_squared_error, plain_sgd(cell, 0.1), state=LSTM1997State(torch.zeros(3, 4), torch.zeros(3, 8))
        )


def test_divergence_is_told_and_leaves_the_network() -> None:
    cell, given = networks()["blocks"], batch()
    given.inputs[2, 1] = torch.inf
    before = [parameter.detach().clone() for parameter in cell.parameters()]
    with pytest.raises(Diverged, match="not finite"):
        Truncated1997().train_on(cell, given, half_squared_error, plain_sgd(cell, 0.1))
    assert all(map(torch.equal, before, cell.parameters()))


def test_it_trains_through_fit_as_bptt_does() -> None:
    from carousel import fit
    from tiny import RunningMean

    torch.manual_seed(0)
    results = [
        fit(
            Stack(LSTM(1, 4), readout=nn.Linear(4, 1)),
            RunningMean(),
            learner=learner,
            optimizer="sgd",
            rate=0.02,
            batch_size=4,
            sequences=200,
            evaluate_every=100,
            progress=False,
        )
        for learner in (Truncated1997(every="sequence"), BPTT())
    ]
    assert all(result.best["loss"] < result.history[1]["value"] * 1.01 for result in results)
