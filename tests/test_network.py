"""Network: what fit trains; a cell as a network; the loss as part of the compiled step, for every job's task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel import Batch, Cell, Network, Sequence, fit, pad_context, scan
from carousel.checkpoint import load_weights
from carousel.data.classification import Classification, Part
from carousel.data.forecast import Forecast
from carousel.data.tagging import Tagging
from carousel.data.text import Language
from carousel.engine import scan_function
from carousel.errors import InputError
from carousel.learn import BPTT, RTRL, Diverged, Truncated1997, WeightGuessing
from carousel.models import build
from carousel.network import as_network, why_unfused
from carousel.task import Task
from carousel.tasks import TASKS
from tiny import RunningMean, network


def squares(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().sum()


class Moments(Network):
    """Not a cell over sequences: at each step the mean of all inputs of the sequence, times a learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch, state: Any = None, *, generator: Any = None) -> tuple[Tensor, None]:
        return self.factor * batch.inputs.mean(0).expand(batch.targets.shape), None


class Means(RunningMean):
    """The mean of the whole sequence at every step."""

    loss = staticmethod(squares)

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        x = torch.randn(6, B, 1, generator=generator)
        return Batch(x, x.mean(0).expand(6, B, 1), torch.ones(6, B, dtype=torch.bool), torch.full((B,), 6))


def test_fit_trains_any_network_and_its_checkpoint_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    options: dict[str, Any] = {"rate": 0.05, "batch_size": 10, "evaluate_every": 100, "progress": False}
    whole = fit(Moments(), Means(), sequences=1000, out=tmp_path / "whole", **options)
    assert whole.cell.factor.item() == pytest.approx(1, abs=0.05)
    again = Moments()
    load_weights(again, tmp_path / "whole" / "best" / "weights.safetensors")
    assert torch.equal(again.factor, whole.cell.factor)

    class Interrupting(Means):
        left = 50

        def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return super().sample(B, generator, **lengths)

    with pytest.raises(KeyboardInterrupt):
        fit(Moments(), Interrupting(), sequences=1000, out=tmp_path / "cut", **options)
    resumed = fit(Moments(), Means(), sequences=1000, out=tmp_path / "cut", resume=True, **options)
    assert torch.equal(resumed.cell.factor, whole.cell.factor)


def test_a_cell_is_a_sequence_of_it() -> None:
    options: dict[str, Any] = {"sequences": 60, "batch_size": 10, "evaluate_every": 30, "progress": False}
    as_cell = fit(network(), Means(), **options)
    as_sequence = fit(Sequence(network()), Means(), **options)
    assert as_sequence.best == as_cell.best
    assert all(map(torch.equal, as_sequence.cell.parameters(), as_cell.cell.parameters()))


@pytest.mark.parametrize("rule", [RTRL(), Truncated1997()])
def test_a_rule_for_cells_says_so(rule: Any) -> None:
    batch = Means().sample(2, torch.Generator())
    optimizer = torch.optim.SGD(Moments().parameters(), 0.1)
    with pytest.raises(
        InputError, match=f"{type(rule).__name__}: expected a carousel.Cell over sequences, got Moments; train other networks"
    ):
        rule.train_on(Moments(), batch, squares, optimizer)
    with pytest.raises(InputError, match=r"WeightGuessing: expected a carousel\.Cell over sequences, got Moments"):
        WeightGuessing(-1, 1).guess(Moments(), batch, lambda y, b: y, trials=1, generator=torch.Generator())


def test_windows_are_cut_of_sequences() -> None:
    with pytest.raises(InputError, match="BPTT: expected window=None for a Moments"):
        fit(Moments(), Means(), learner=BPTT(window=2), progress=False)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected a carousel\.Network or carousel\.Cell, got Linear"):
        fit(nn.Linear(1, 1), Means())


def test_another_network_that_diverges_says_so() -> None:
    with pytest.raises(Diverged, match=r"the loss is (inf|nan)"):
        fit(Moments(), Means(), optimizer=lambda p: torch.optim.SGD(p, 1e38), sequences=100, batch_size=10, progress=False)


# The loss as part of the step


def _job(name: str) -> tuple[Task, Cell]:
    drawn = torch.Generator().manual_seed(0)
    if name.startswith("forecast"):
        series = torch.randn(300, generator=drawn).cumsum(0).double().numpy()
        series[40] = float("nan")
        task: Task = Forecast(series, horizon=3, history=8, quantiles=(0.1, 0.5, 0.9) if "quantiles" in name else ())
    elif name == "classify":
        part = Part([torch.randn(5 + n % 3, 2, generator=drawn) for n in range(12)], [torch.tensor(n % 3) for n in range(12)])
        task = Classification(part, part, list("abc"))
    elif name == "tag":
        words = [torch.randint(7, (4 + n % 3,), generator=drawn) for n in range(12)]
        task = Tagging(part := Part(words, [word % 3 for word in words]), part, list("abc"))
    elif name == "language":
        task = Language(torch.randint(9, (200,), generator=drawn), torch.randint(9, (90,), generator=drawn), 9, length=12)
    else:
        task = TASKS[name]()
    size = task.input_size
    return task, build("lstm", size or 4, task.output_size, hidden=5, symbols=0 if size else 60)


@pytest.mark.parametrize("name", ["forecast", "forecast-quantiles", "classify", "tag", "language", "copy", "adding"])
def test_the_loss_of_every_job_is_part_of_the_compiled_step(name: str) -> None:
    task, cell = _job(name)
    batch = task.sample(4, torch.Generator().manual_seed(1))
    if batch.steps > 60:
        batch = batch.window(batch.steps - 60, batch.steps)
    together = Sequence(cell)
    assert together.fusion_refusal(batch, task.loss) is None
    found = []
    for run in (together.run_with_loss, lambda *given: Network.run_with_loss(together, *given)):
        outputs, state, value = run(batch, task.loss)
        found.append((outputs, state, value, torch.autograd.grad(value, list(cell.parameters()), allow_unused=True)))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_of_every_task_gives_the_same_for_the_same(name: str) -> None:
    assert why_unfused(TASKS[name]().loss) is None


@dataclass(frozen=True)
class Weighted:
    weight: float

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        return self.weight * (y - target).square().sum()


@dataclass
class Changing:
    weight: float

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        return self.weight * (y - target).square().sum()


WEIGHT = 2.0


def weighted(y: Tensor, target: Tensor) -> Tensor:
    return WEIGHT * (y - target).square().sum()


def test_a_frozen_dataclass_is_a_loss_with_options() -> None:
    task = Means()
    batch = task.sample(3, torch.Generator().manual_seed(0))
    one = Sequence(network())
    assert one.fusion_refusal(batch, Weighted(1.0)) is None
    values = [float(one.run_with_loss(batch, Weighted(weight))[2].detach()) for weight in (1.0, 3.0, 1.0)]
    assert values[1] == pytest.approx(3 * values[0], rel=1e-5)
    assert values[2] == values[0]


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (RunningMean().loss, "RunningMean.loss is a method, which may read what changes"),
        (weighted, "weighted reads the global WEIGHT, which may change"),
        (Changing(1.0), "Changing is a Changing, which may change"),
        (lambda y, target: torch.lgamma(1 + (y - target).square()).sum(), "has no aten.lgamma"),
    ],
)
def test_a_loss_outside_of_the_step_says_why_and_counts_the_same(loss: Any, reason: str) -> None:
    batch = Means().sample(3, torch.Generator().manual_seed(0))
    one = as_network(network())
    refusal = one.fusion_refusal(batch, loss)
    assert refusal is not None
    assert reason in refusal
    torch.testing.assert_close(one.run_with_loss(batch, loss), Network.run_with_loss(one, batch, loss))


def test_the_run_folder_and_the_terminal_say_where_the_loss_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"sequences": 20, "batch_size": 10, "evaluate_every": 20}
    fit(network(), Means(), out=tmp_path / "in", **options)
    assert 'loss = "part of the compiled step"' in (tmp_path / "in" / "config.toml").read_text()
    assert "loss is not" not in capsys.readouterr().err
    fit(network(), RunningMean(), out=tmp_path / "out", **options)
    assert "not part of the compiled step: RunningMean.loss is a method" in (tmp_path / "out" / "config.toml").read_text()
    assert "the loss is not part of the compiled step: RunningMean.loss is a method" in capsys.readouterr().err


# Context


class Attention(Cell):
    """A recurrent unit that looks at a source (S, 3): softmax of the products of its state with the steps of the source."""

    input_size, output_size = 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)) / 2)

    def initial_state(self) -> Tensor:
        return torch.zeros(3)

    def step(self, x: Tensor, h: Tensor, *, context: Any) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        scores = torch.where(context.mask, context.values @ h, -torch.inf)
        h = torch.tanh(self.W @ x + torch.softmax(scores, 0) @ context.values)
        return h, h


def test_context_travels_in_the_batch_and_many_lengths_compile_a_handful_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    captures = []
    monkeypatch.setattr(scan_function, "capture", lambda *given: captures.append(1) or capture(*given))
    cell = Attention()
    one = Sequence(cell)
    drawn = torch.Generator().manual_seed(1)
    for length in range(5, 61):
        sources = [torch.randn(length - n, 3, generator=drawn) for n in range(3)]
        x = torch.randn(4, 3, 2, generator=drawn)
        batch = Batch(x, torch.zeros(4, 3, 3), torch.ones(4, 3, dtype=torch.bool), torch.full((3,), 4), pad_context(sources))
        assert one.fusion_refusal(batch, squares) is None
        outputs, _, value = one.run_with_loss(batch, squares)
        torch.testing.assert_close(value, outputs.square().sum(2).sum(0).mean())
        if length % 11 == 0:  # unpadded, one at a time, by PyTorch
            for b, source in enumerate(sources):
                exact = carousel.batch.Padded(source[None], torch.ones(1, len(source), dtype=torch.bool))
                alone, _ = scan(cell, x[:, b : b + 1], context=exact, backend="eager")
                torch.testing.assert_close(outputs[:, b], alone[:, 0])
    assert 1 <= len(captures) <= 5


capture = scan_function.capture


def test_pad_context_refuses_what_does_not_fit_together() -> None:
    with pytest.raises(InputError, match="pad_context: expected sequences"):
        pad_context([])
    with pytest.raises(InputError, match=r"got \[\(3, 2\), \(3, 1\)\]"):
        pad_context([torch.zeros(3, 2), torch.zeros(3, 1)])
