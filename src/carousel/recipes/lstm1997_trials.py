"""Trials of the LSTM paper's experiments, side by side, each until its stopping criteria are met.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 5. A group of trials is one unit of work: the rows of one
`scan`, each with its own weights and its own sequences. A training ends at the very sequence at which its stopping criterion
is met, and the weights of that moment are tested on fresh sequences.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from carousel.batch import Batch
from carousel.cell import Cell
from carousel.cells import LSTM1997
from carousel.learn import OnlineCell, OnlineState, OnlineStep, Truncated1997, as_batch, side_by_side, stream
from carousel.learn.online import OnlineRule
from carousel.loop import scan
from carousel.network import StepLoss
from carousel.recipes.lstm1997_growth import add_block, has_stopped_decreasing, shut
from carousel.recipes.recipe import Claim
from carousel.tasks import EmbeddedReber
from carousel.tasks.lag import LagTask
from carousel.torch_private import pytree

PAPER = "Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997"
TESTED = 2560  # fresh sequences that a trained network is tested on
STEPS = 100_000  # of a trial, about, between two looks at its stopping criterion
LARGEST = 2**24  # numbers in the inputs of the sequences that are tested at a time
SECONDS = 110 * 60  # after which a unit ends; trials that have not met their criterion by then have failed
TIMES = 5  # the budget of a trial, in published means

Weights = Callable[[int], tuple[int, dict[str, Tensor]]]
"""Of a batch that was learned from, n of its sequences -> (after how many, from n on, there are weights; these weights)."""


@dataclass(frozen=True)
class Recent:
    """Met at a sequence when, of the latest `window` training sequences, at most `wrong` were wrong, each as it was before
    its own update, and their mean error was below `error`."""

    wrong: int = 0
    error: float = float("inf")
    window: int = 2000


@dataclass(frozen=True)
class OnFresh:
    """Met when, of `sequences` random sequences that are not learned from, at most `wrong` are wrong, and their mean error is
    below `error`; looked at every `Experiment.every` sequences."""

    wrong: int = 0
    error: float = float("inf")
    sequences: int = 256


@dataclass(frozen=True)
class OnSets:
    """Met when all strings of the training set and of the test set are right; looked at every `Experiment.every` sequences."""


@dataclass(frozen=True)
class Criterion:
    """A stopping criterion with the paper's figures for it.

    sequences:  mean number of training sequences until it was met; infinite where it never was.
    wrong:      mean number of 2560 test sequences that were wrong then; None where the paper has none.
    solved:     percent of the trials that met it; None where the paper has none.
    """

    stop: Recent | OnFresh | OnSets
    sequences: float
    wrong: float | None = None
    solved: float | None = 100


@dataclass(frozen=True)
class Experiment:
    """A row of the paper's tables: the task, the network, the rate, and the criteria, each met no earlier than the one before.

    trials, groups:  how many, and in how many units of work they are done.
    sets:            tasks that the trials are shared out to, in place of `task`, where the paper has several.
    every:           sequences between two looks at the criteria; None: those of about STEPS steps.
    rule:            how the network learns.
    starts_with:     memory cell blocks that the network has at first, one more coming whenever the mean error between two looks
                     is not 1 % below that of the look before; None: all.
    times:           the budget of a trial, in published means.
    loss:            what is made small, where it is not the task's.
    """

    task: LagTask
    network: Callable[[], Cell]
    rate: float
    criteria: Mapping[str, Criterion]
    trials: int = 10
    groups: int = 1
    deviations: tuple[str, ...] = field(default=())
    sets: tuple[LagTask, ...] = ()
    every: int | None = None
    rule: OnlineRule = field(default_factory=Truncated1997)
    starts_with: int | None = None
    times: float = TIMES
    loss: StepLoss | None = None

    def learning(self, network: Cell) -> OnlineCell:
        """The network with its rule as one cell."""
        return self.rule.cell(network, self.loss or self.task.loss, self.rate)

    def task_of(self, seed: int) -> LagTask:
        """The task of one of the trials."""
        return self.sets[seed * len(self.sets) // self.trials] if self.sets else self.task

    def suffix(self, criterion: str) -> str:
        """What the names of a criterion's measures end in."""
        return f" ({criterion})" if len(self.criteria) > 1 else ""

    def claims(self) -> tuple[Claim, ...]:
        """The paper's figures."""
        claims: list[Claim] = []
        for name, criterion in self.criteria.items():
            figures = {
                "solved": (criterion.solved, "%"),
                "sequences": (criterion.sequences if math.isfinite(criterion.sequences) else None, "sequences"),
                f"wrong of {TESTED}": (None if criterion.wrong is None else round(criterion.wrong, 2), "sequences"),
            }
            claims += [
                Claim(measure + self.suffix(name), figure, unit, PAPER)
                for measure, (figure, unit) in figures.items()
                if figure is not None
            ]
        return tuple(claims)


@dataclass
class Trial:
    """One training under way.

    wrong, error:  of the latest training sequences.
    met:           criterion -> {"sequences", "wrong of 2560", "mean squared error"}.
    errors:        mean errors between two looks since a block was added.
    blocks:        after how many sequences each block was added, where they are added one after another.
    fresh:         what the sequences of its tests are drawn with, others at each.
    """

    seed: int
    generator: torch.Generator
    sequences: int = 0
    wrong: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    error: np.ndarray = field(default_factory=lambda: np.zeros(0))
    met: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    fresh: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.fresh = torch.Generator().manual_seed(2**40 + self.seed)  # not what it learns from


# --- One unit --------------------------------------------------------------------------------------


@torch.no_grad()
def run_group(experiment: Experiment, group: int, most: int) -> dict[str, Any]:
    """The trials of one of an experiment's groups, each of at most `most` sequences, as an entry of a row's runs."""
    began = time.monotonic()
    size = experiment.trials // experiment.groups
    seeds = range(group * size, (group + 1) * size)
    trials = [Trial(seed, torch.Generator().manual_seed(seed)) for seed in seeds]
    cells = [_learning(experiment, trial.seed) for trial in trials]
    cell, state = cells[0], side_by_side([_with_fewer_blocks(experiment, one) for one in cells])
    chunk = experiment.every or max(STEPS // experiment.task.sample(8, torch.Generator().manual_seed(0)).steps, 1)
    running = list(trials)
    while running and time.monotonic() - began < SECONDS:
        batches = [experiment.task_of(trial.seed).sample(chunk, trial.generator) for trial in running]
        steps, lengths = _side_by_side([stream(batch) for batch in batches])
        outputs, after = scan(cell, steps, state)
        for r, (trial, batch) in enumerate(zip(running, batches, strict=True)):
            weights = _weights_in(batch, cell, steps, r, state, after)
            answers = as_batch(outputs[: lengths[r], r], batch)
            look(experiment, trial, batch, answers, cell.network, weights)
            if experiment.starts_with is not None:
                trial.errors.append(float(experiment.task_of(trial.seed).error(answers, batch).mean()))
                drawn, own = cells[trial.seed - seeds[0]].network, {name: rows[r] for name, rows in after.parameters.items()}
                _grow(experiment.starts_with, trial, drawn, own)
        going = [r for r, trial in enumerate(running) if len(trial.met) < len(experiment.criteria) and trial.sequences < most]
        running = [running[r] for r in going]
        state = pytree.tree_map(lambda leaf, going=going: leaf[going], after)
    return entry(experiment, trials, group, most, time.monotonic() - began)


def _learning(experiment: Experiment, seed: int) -> OnlineCell:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = experiment.network()
    return experiment.learning(network)


def _with_fewer_blocks(experiment: Experiment, cell: OnlineCell) -> OnlineCell:
    """The cell, or one like it in which the blocks that are added later are shut."""
    if experiment.starts_with is None:
        return cell
    network = deepcopy(cell.network)
    assert isinstance(network, LSTM1997)
    for block in range(experiment.starts_with, network.blocks):
        shut(network, block)
    return experiment.learning(network)


def _grow(first: int, trial: Trial, drawn: Cell, parameters: dict[str, Tensor]) -> None:
    """Add the next block, with the weights that were drawn for it, if the error has stopped decreasing.

    Args:
        first:  blocks that the network had at first.
    """
    assert isinstance(drawn, LSTM1997)
    block = first + len(trial.blocks)
    if block < drawn.blocks and has_stopped_decreasing(trial.errors):
        add_block(drawn, block, parameters)
        trial.blocks.append(trial.sequences)
        trial.errors.clear()


def _side_by_side(streams: list[OnlineStep]) -> tuple[OnlineStep, list[int]]:
    """(the streams as rows, padded to the longest with steps that do not count; their lengths)."""
    lengths = [len(one.first) for one in streams]
    flat = [pytree.tree_flatten(one) for one in streams]
    leaves = []
    for parts in zip(*(leaves for leaves, _ in flat), strict=True):
        joined = parts[0].new_zeros(max(lengths), len(parts), *parts[0].shape[2:])
        for r, part in enumerate(parts):
            joined[: len(part), r] = part[:, 0]
        leaves.append(joined)
    return pytree.tree_unflatten(leaves, flat[0][1]), lengths


def _weights_in(batch: Batch, cell: OnlineCell, steps: OnlineStep, r: int, before: OnlineState, after: OnlineState) -> Weights:
    """The weights of row r within a batch that was learned from: all rows once more, up to there, so that every bit is the same."""

    def weights(done: int) -> tuple[int, dict[str, Tensor]]:
        if done == batch.size:
            return done, {key: value[r] for key, value in after.parameters.items()}
        there = int(batch.lengths[:done].sum())
        until_there = pytree.tree_map(lambda leaf: leaf[:there], steps)
        return done, {key: value[r] for key, value in scan(cell, until_there, before)[1].parameters.items()}

    return weights


def look(experiment: Experiment, trial: Trial, batch: Batch, outputs: Tensor, network: Cell, weights: Weights) -> None:
    """Take note of a batch that a trial has learned from, and of the criteria that it met on the way.

    Args:
        outputs:  those from before the updates, (T, B, K).
        network:  a network of the experiment; its own weights do not matter.
        weights:  the trial's.
    """
    task = experiment.task_of(trial.seed)
    window = max((one.stop.window for one in experiment.criteria.values() if isinstance(one.stop, Recent)), default=0)
    old, wrong, error = len(trial.wrong), trial.wrong, trial.error
    if window:
        wrong = np.concatenate([wrong, task.wrong(outputs, batch).numpy()])
        error = np.concatenate([error, task.error(outputs, batch).numpy()])
    for name, criterion in experiment.criteria.items():
        if name in trial.met:
            continue
        stop = criterion.stop
        if isinstance(stop, Recent):
            place = first_met(wrong, error, stop, old)
            if place is None:
                break
            done, parameters = weights(place + 1 - old)
        else:
            done, parameters = weights(batch.size)
            if isinstance(stop, OnSets):
                assert isinstance(task, EmbeddedReber)
                if any(task.wrong(_answers(network, parameters, one), one).any() for one in task.parts()):
                    break
            else:
                figures = _tested(task, network, parameters, stop.sequences, trial.fresh, most=stop.wrong)
                if figures["wrong"] > stop.wrong or not figures["error"] < stop.error:
                    break
        figures = _tested(task, network, parameters, TESTED, trial.fresh)
        trial.met[name] = {
            "sequences": trial.sequences + done,
            f"wrong of {TESTED}": figures["wrong"],
            "mean squared error": figures["squared"],
        }
    trial.sequences += batch.size
    trial.wrong, trial.error = wrong[-window:], error[-window:]


def first_met(wrong: np.ndarray, error: np.ndarray, stop: Recent, start: int) -> int | None:
    """The first place, from `start`, at which the `window` sequences that end there meet the criterion."""
    ends = np.arange(max(start, stop.window - 1), len(wrong))
    if not len(ends):
        return None
    so_far, error_so_far = (np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)]) for values in (wrong, error))
    met = (so_far[ends + 1] - so_far[ends + 1 - stop.window] <= stop.wrong) & (
        error_so_far[ends + 1] - error_so_far[ends + 1 - stop.window] < stop.error * stop.window
    )
    return int(ends[met.argmax()]) if met.any() else None


def _tested(
    task: LagTask,
    network: Cell,
    parameters: dict[str, Tensor],
    sequences: int,
    generator: torch.Generator,
    most: int | None = None,
) -> dict[str, float]:
    """Of fresh sequences: how many are wrong, their mean error, their mean squared error. Ends once more than `most` are wrong."""
    wrong, error, squared, first = 0, 0.0, 0.0, 0
    largest = max(1, min(256, LARGEST // task.sample(1, torch.Generator().manual_seed(0)).inputs.numel()))
    at_once = largest if most is None else min(8, largest)  # a network that has not learned shows it soon
    while first < sequences and (most is None or wrong <= most):
        batch = task.sample(min(at_once, sequences - first), generator)
        first, at_once = first + batch.size, min(2 * at_once, largest)
        outputs = _answers(network, parameters, batch)
        distances = task.distances(outputs, batch)
        wrong += int(task.wrong(outputs, batch).sum())
        error += float(task.error(outputs, batch).sum())
        squared += float((distances.square().sum((0, 2)) / (batch.mask.sum(0) * task.output_size)).sum())
    return {"wrong": wrong, "error": error / first, "squared": squared / first}


def _answers(network: Cell, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
    """The network's outputs (T, B, K) with these weights."""
    return functional_call(_Scanned(network), {f"network.{name}": value for name, value in parameters.items()}, (batch,))


class _Scanned(torch.nn.Module):
    """A network over whole batches, as a module, so that it can be called with other weights."""

    def __init__(self, network: Cell) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        return scan(self.network, batch.inputs, lengths=batch.lengths)[0]


def entry(experiment: Experiment, trials: list[Trial], unit: int, most: int, seconds: float) -> dict[str, Any]:
    """The unit's entry: figures of each criterion over the trials that met it, and every trial."""
    measures: dict[str, float] = {}
    for name in experiment.criteria:
        suffix = experiment.suffix(name)
        met = [trial.met[name] for trial in trials if name in trial.met]
        measures[f"solved{suffix}"] = 100 * len(met) / len(trials)
        if met:
            counts = [one["sequences"] for one in met]
            measures |= {f"sequences{suffix}": fmean(counts), f"median sequences{suffix}": median(counts)}
            measures |= {f"fewest sequences{suffix}": min(counts), f"most sequences{suffix}": max(counts)}
            for figure in (f"wrong of {TESTED}", "mean squared error"):
                if figure in met[0]:
                    measures[figure + suffix] = fmean(one[figure] for one in met)
    return {
        "seed": unit,
        "solved": all(len(trial.met) == len(experiment.criteria) for trial in trials),
        "sequences": sum(trial.sequences for trial in trials),
        "seconds": round(seconds, 1),
        "backend": "auto",
        "measures": {name: float(f"{value:.6g}") for name, value in measures.items()},
        "curve": [],
        "budget": most,
        "trials": [_told(trial) for trial in trials],
    }


def _told(trial: Trial) -> dict[str, Any]:
    told = {"seed": trial.seed, "sequences": trial.sequences, "met": trial.met}
    return {**told, "blocks added after": trial.blocks} if trial.blocks else told
