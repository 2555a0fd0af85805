"""Experiment 2c with hidden units that see the inputs alone, all trials as one population.

Without recurrent connections the rule of 1997 cuts nothing, so it is BPTT with an update a sequence. The columns of W are
looked up by the symbols that are shown: a sequence of 1000 steps with 1004 different symbols costs no more than one with 54.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from carousel.cells import LSTM1997
from carousel.loop import scan
from carousel.recipes.lstm1997_trials import SECONDS, TESTED, Experiment, OnFresh, Trial, entry
from carousel.tasks import VeryLongLag

AT_ONCE = 256
"""Sequences that are tested at a time, at most; the first tests are of a few."""


def run_population(experiment: Experiment, group: int, most: int) -> dict[str, Any]:
    """As `lstm1997_trials.run_group`, for networks that are not recurrent on sequences of symbols."""
    began = time.monotonic()
    task, (criterion,) = experiment.task, experiment.criteria.values()
    assert isinstance(task, VeryLongLag)
    assert isinstance(criterion.stop, OnFresh)
    assert experiment.every is not None
    size = experiment.trials // experiment.groups
    trials = [Trial(seed, torch.Generator().manual_seed(seed)) for seed in range(group * size, (group + 1) * size)]
    columns, V = first_weights(experiment, trials)
    running = list(trials)
    while running and time.monotonic() - began < SECONDS:
        learn(experiment, running, columns, V)
        going = []
        for r, trial in enumerate(running):
            trial.sequences += experiment.every
            if all_right(task, columns[r], V[r], criterion.stop.sequences, trial.fresh):
                wrong = count_wrong(task, columns[r], V[r], TESTED, trial.fresh)
                trial.met[""] = {"sequences": trial.sequences, f"wrong of {TESTED}": wrong}
            elif trial.sequences < most:
                going.append(r)
        running, columns, V = [running[r] for r in going], columns[going], V[going]
    return entry(experiment, trials, group, most, time.monotonic() - began)


def first_weights(experiment: Experiment, trials: list[Trial]) -> tuple[Tensor, Tensor]:
    """W by columns (P, I, n) and V (P, K, cells), drawn as `lstm1997_trials` draws them."""
    columns, V = [], []
    for trial in trials:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trial.seed)
            network = experiment.network()
        assert isinstance(network, LSTM1997)
        columns.append(network.W.detach().T)
        V.append(network.V.detach())
    return torch.stack(columns), torch.stack(V)


def learn(experiment: Experiment, trials: list[Trial], columns: Tensor, V: Tensor) -> None:
    """Change the weights by `experiment.every` sequences of each trial, one after the other."""
    task, count = experiment.task, experiment.every
    assert isinstance(task, VeryLongLag)
    assert count is not None
    drawn = [task.symbols(count, trial.generator) for trial in trials]
    for n in range(count):
        steps = torch.stack([lengths[n] for _, _, lengths in drawn])
        # What is shown past a sequence's end does not matter.
        symbols = torch.nn.utils.rnn.pad_sequence([one[: lengths[n], n] for one, _, lengths in drawn])
        targets = F.one_hot(torch.stack([which[n] for _, which, _ in drawn]), 2).to(V.dtype)
        leaves = [weights.clone().requires_grad_() for weights in (columns, V)]
        y = answers(leaves[0], leaves[1], symbols[:, :, None], steps[:, None])[:, 0]
        found = torch.autograd.grad(((targets - y) ** 2).sum() / 2, leaves)
        columns -= experiment.rate * found[0]
        V -= experiment.rate * found[1]


def answers(columns: Tensor, V: Tensor, symbols: Tensor, steps: Tensor) -> Tensor:
    """The networks' outputs (P, B, K) at the last of `steps` (P, B), of symbols (T, P, B)."""
    P, I, n = columns.shape
    places = (symbols + I * torch.arange(P)[:, None]).flatten()
    seen = columns.reshape(P * I, n).gather(0, places[:, None].expand(-1, n))  # F.embedding's way back takes four times as long
    cells = scan(_hidden(n, V.shape[2], V.dtype), seen.reshape(len(symbols), -1, n))[0]
    at_end = cells[steps.flatten() - 1, torch.arange(steps.numel())].reshape(*steps.shape, -1)
    return torch.sigmoid(at_end @ V.mT)


@cache
def _hidden(n: int, cells: int, dtype: torch.dtype) -> LSTM1997:
    """The hidden units, whose inputs are what W makes of a symbol, and whose outputs are the cells' activations."""
    network = LSTM1997(n, cells, blocks=cells, biases="none", recurrent=False, output="identity", dtype=dtype)
    network.W.data, network.V.data = torch.eye(n, dtype=dtype), torch.eye(cells, dtype=dtype)
    return network.requires_grad_(False)


def all_right(task: VeryLongLag, columns: Tensor, V: Tensor, sequences: int, generator: torch.Generator) -> bool:
    """Whether one network is right on so many fresh sequences."""
    return count_wrong(task, columns, V, sequences, generator, most=0) == 0


@torch.no_grad()
def count_wrong(
    task: VeryLongLag, columns: Tensor, V: Tensor, sequences: int, generator: torch.Generator, most: int | None = None
) -> int:
    """How many of fresh sequences one network has wrong; ends once there are more than `most`."""
    wrong, done, at_once = 0, 0, 8
    while done < sequences and (most is None or wrong <= most):
        count = min(at_once, sequences - done)
        symbols, which, steps = task.symbols(count, generator)
        y = answers(columns[None], V[None], symbols[:, None], steps[None])[0]
        wrong += int(((y - F.one_hot(which, 2)).abs().amax(1) > task.tolerance).sum())
        done, at_once = done + count, min(2 * at_once, AT_ONCE)
    return wrong
