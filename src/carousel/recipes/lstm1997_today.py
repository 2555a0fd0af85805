"""The experiments of the LSTM paper by today's practice: LSTM with a forget gate, BPTT, Adam, batches.

Tasks, stopping criteria and measures are those of the recipe lstm1997 (Hochreiter & Schmidhuber, Neural Computation 9(8),
1997, section 5), so that the rows of both can be read side by side. In common to all rows: one layer of LSTM, a readout of
all cells, batches that are drawn anew, the gradient scaled down to norm 1.

A forget gate whose bias is 1 keeps 0.73 of a cell at each step, and so nothing of an error over 100 steps. Where the lag is known
to be T, the *chrono initialisation* of Tallec & Ollivier ("Can recurrent neural networks warp time?", ICLR 2018) lets cells
forget over 1 to T steps, and keeps their input gates nearly closed as the paper of 1997 does::

    b_f = log u,  b_i = -b_f        u from U[1, T - 1], one a cell
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy
from torch.optim import Adam, Optimizer

from carousel.cell import Cell, Stack
from carousel.cells import LSTM
from carousel.learn import BPTT, Learner, half_squared_error
from carousel.network import StepLoss
from carousel.recipes.lstm1997 import EXPERIMENTS, INPUTS_ONLY, VERY_LONG_LAGS, Line, criteria_of, draw_lines, recorded
from carousel.recipes.lstm1997_trials import PAPER, SECONDS, Experiment, Recent, Trial, entry, look
from carousel.recipes.recipe import Goal, Recipe, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LITTLE = 100_000  # sequences of a trial that is not expected to learn, or of a thousand steps
VANISHED = "Of an error at the end nothing is left at the beginning: forget gates of 0.73 over this many steps."
FEW = "The budget is a fifth of the sequences that the paper's LSTM took."
PLATEAU = (
    "All that is left in the end is whether x or y comes last, a loss of log 2, and there it stays. Why is not known: in one trial "
    "each, neither outputs that see the inputs as in 1997 nor a decay of 0.95 in Adam's second moment changed that."
)
DROWNED = (
    "What the last step says of x and y stands in each gradient beside 99 steps whose symbols cannot be foretold, with a loss of "
    "4.6 each. It is learned that one of the two comes, and not which."
)


def cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    """- sum t log y of one step, y and target (K,) being probabilities."""
    return -(target * y.clamp_min(1e-30).log()).sum()


OUTPUTS: dict[str, tuple[Callable[[], nn.Module], StepLoss]] = {
    "softmax": (partial(nn.Softmax, dim=-1), cross_entropy),
    "sigmoid": (nn.Sigmoid, partial(binary_cross_entropy, reduction="sum")),
    "linear": (nn.Identity, half_squared_error),
}
"""name -> (the readout's last layer, the loss that goes with it)."""


@dataclass(frozen=True)
class Practice:
    """How one of the experiments is learned today.

    published:   the row of lstm1997 whose task, criteria and figures these are.
    output:      one of OUTPUTS.
    lag:         T of the chrono initialisation; None: forget gates' biases start at 1.
    hidden:      cells of the LSTM.
    rate:        of Adam.
    batch_size:  sequences an update.
    most:        sequences after which a trial has failed.
    seeds:       how many trials.
    reason:      why trials do, where they do.
    """

    published: str
    output: str
    lag: int | None = None
    hidden: int = 32
    rate: float = 0.01
    batch_size: int = 32
    most: int = 500_000
    seeds: int = 5
    reason: str = ""

    def network(self) -> Cell:
        task, (squashing, _), H = EXPERIMENTS[self.published].task, OUTPUTS[self.output], self.hidden
        layer = LSTM(task.input_size, H, forget_bias=1)
        if self.lag is not None:
            assert layer.b is not None
            with torch.no_grad():
                layer.b[H : 2 * H] = torch.empty(H).uniform_(1, self.lag - 1).log()
                layer.b[:H] = -layer.b[H : 2 * H]
        return Stack(layer, readout=nn.Sequential(nn.Linear(H, task.output_size), squashing()))


def run_unit(row: str, unit: int | str, budget: int | None = None) -> dict[str, Any]:
    """One seed of a row; `budget`: at most so many sequences in place of the recipe's."""
    practice = PRACTICES[row]
    experiment = replace(EXPERIMENTS[practice.published], network=practice.network, trials=practice.seeds)
    return run_batches(
        experiment,
        int(unit),
        budget or practice.most,
        learner=BPTT(clip_norm=1.0),
        loss=OUTPUTS[practice.output][1],
        optimizer=partial(Adam, lr=practice.rate),
        batch_size=practice.batch_size,
    )


def run_batches(
    experiment: Experiment,
    seed: int,
    most: int,
    *,
    learner: Learner,
    loss: StepLoss,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    batch_size: int,
) -> dict[str, Any]:
    """One trial of an experiment, of at most `most` sequences, with an update a batch; an entry of a row's runs.

    A criterion is met at the end of a batch, since only there are new weights.
    """
    began = time.monotonic()
    task, generator = experiment.task_of(seed), torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = experiment.network()
    updates = optimizer(network.parameters())
    trial = Trial(seed, generator)
    every = experiment.every or 1
    if any(isinstance(criterion.stop, Recent) for criterion in experiment.criteria.values()):
        every = 1  # it takes every sequence

    def weights(done: int) -> tuple[int, dict[str, Tensor]]:
        return batch.size, {name: parameter.detach() for name, parameter in network.named_parameters()}

    while len(trial.met) < len(experiment.criteria) and trial.sequences < most and time.monotonic() - began < SECONDS:
        batch = task.sample(min(batch_size, most - trial.sequences), generator)
        _, outputs, _ = learner.train_on(network, batch, loss, updates)
        if (trial.sequences + batch.size) // every > trial.sequences // every:
            with torch.no_grad():
                look(experiment, trial, batch, outputs, network, weights)
        else:
            trial.sequences += batch.size
    return entry(experiment, [trial], seed, most, time.monotonic() - began)


# --- The rows and their picture --------------------------------------------------------------------

PRACTICES: dict[str, Practice] = {
    "1": Practice("1-3x2-0.5", "softmax"),
    "2a": Practice("2a", "softmax", lag=100, hidden=16, batch_size=8, most=20_000, seeds=3, reason=PLATEAU),
    "2b": Practice("2b", "softmax", lag=100, hidden=16, batch_size=8, most=20_000, seeds=3, reason=DROWNED),
    "2c-50-50": Practice("2c-50-50", "softmax", lag=50),
    "2c-50-50-bias-1": Practice("2c-50-50", "softmax", most=LITTLE, reason=VANISHED),
    "2c-100-100": Practice("2c-100-100", "softmax", lag=100),
    **{
        f"2c-{q}-{p}": Practice(f"2c-{q}-{p}{INPUTS_ONLY}", "softmax", lag=q, most=20_000, seeds=3)
        for q, p in VERY_LONG_LAGS
        if q > 100
    },
    "3a-100-3": Practice("3a-100-3", "sigmoid", lag=100),
    "3a-100-1": Practice("3a-100-1", "sigmoid", lag=100),
    "3a-1000-3": Practice("3a-1000-3", "sigmoid", lag=1000, most=LITTLE, seeds=3),
    "3b-100-3": Practice("3b-100-3", "sigmoid", lag=100),
    "3b-100-1": Practice("3b-100-1", "sigmoid", lag=100),
    "3b-1000-1": Practice("3b-1000-1", "sigmoid", lag=1000, most=LITTLE, seeds=3, reason=FEW),
    "3c-100-3": Practice("3c-100-3", "linear", lag=100),
    "3c-100-1": Practice("3c-100-1", "linear", lag=100),
    "4-100": Practice("4-100-linear", "linear", lag=100),
    "4-500": Practice("4-500-linear", "linear", lag=500, most=LITTLE, seeds=3),
    "4-1000": Practice("4-1000-linear", "linear", lag=1000, most=LITTLE, seeds=3),
    "4-100-bias-1": Practice("4-100-linear", "linear", most=LITTLE, reason=VANISHED),
    "5": Practice("5", "linear", lag=100),
    "6a": Practice("6a", "softmax", lag=100),
    "6a-bias-1": Practice("6a", "softmax", most=LITTLE, reason=VANISHED),
    "6b": Practice("6b", "softmax", lag=100),
}
"""By the names of the paper's experiments; -bias-1: with forget gates' biases of 1, where the row itself has others."""


def _row(name: str, practice: Practice) -> Row:
    experiment = EXPERIMENTS[practice.published]
    goals = [Goal(f"solved{experiment.suffix(criterion)}", "%", at_least=100) for criterion in experiment.criteria]
    start = "The forget gates' biases start at 1"
    if practice.lag is not None:
        start = f"The forget gates' biases start at log U(1, {practice.lag - 1}), the input gates' at the negative of that"
    settings = (
        f"{start}. {practice.hidden} cells, {practice.output} output; Adam at {practice.rate}, {practice.batch_size} sequences an "
        f"update, at most {practice.most:,} sequences.",
        "A criterion is met at the end of a batch, or some batches on where the row of lstm1997 looks every so many sequences.",
    )
    deviations = (*settings, practice.reason) if practice.reason else settings
    return Row(name, tuple(range(practice.seeds)), experiment.claims(), tuple(goals), deviations)


def draw(rows: Sequence[dict[str, Any]], by_1997: Sequence[dict[str, Any]] = ()) -> Figure | None:
    """Training sequences until a criterion is met, on a logarithmic axis: the paper's mean (open circle), today's LSTM (dot: the
    mean of the trials that met it; line: from the fewest to the most), and how many of its trials did.
    """
    rule = {row["row"]: row for row in by_1997}
    lines: list[Line] = []
    for row in rows:
        before = rule.get(PRACTICES[row["row"]].published)
        for criterion, paper in criteria_of(row):
            labels = {"today": recorded(row, criterion)} | ({"rule of 1997": recorded(before, criterion)} if before else {})
            lines.append((row["row"] + criterion, paper, labels))
    return draw_lines(lines)


RECIPE = Recipe(
    name="lstm1997-today",
    paper=PAPER,
    about="The paper's experiments, as the recipe lstm1997 has them, by LSTM with a forget gate, BPTT, Adam and batches.",
    rows=tuple(_row(name, practice) for name, practice in PRACTICES.items()),
    run_unit=run_unit,
    pictures={"Published and today": draw},
)
