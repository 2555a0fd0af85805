"""Weight guessing: draw all weights anew until a network is right on every training sequence.

Schmidhuber & Hochreiter, "Guessing can outperform many long time lag algorithms", IDSIA-19-96, 1996. There is no
gradient. A task that it solves in few trials says little about a rule that learns.

A population of networks runs side by side (`scan` with params); sequence after sequence,
the networks that are wrong drop out. The trials are counted as if the networks had come one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.cell import Cell
from carousel.errors import InputError
from carousel.loop import scan
from carousel.network import Network, cell_of
from carousel.torch_private import pytree

Wrong = Callable[[Any, Batch], Tensor]
"""(outputs (T, B, ...), batch) -> (B,) bool, as `LagTask.wrong`."""


class Guess(NamedTuple):
    """How many networks were drawn, the last one right if any was; and whether it was."""

    trials: int
    solved: bool


@dataclass(frozen=True)
class WeightGuessing:
    """Every weight of every trial is U(low, high).

    Args:
        low, high:   the range that weights are drawn from.
        population:  networks that run side by side; it changes the time, not the result.
    """

    low: float
    high: float
    population: int = 256

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"WeightGuessing: expected low < high, got {self.low} and {self.high}")
        if self.population < 1:
            raise InputError(f"WeightGuessing: expected a population of 1 or more, got {self.population}")

    @torch.no_grad()
    def guess(self, network: Network | Cell, training: Batch, wrong: Wrong, *, trials: int, generator: torch.Generator) -> Guess:
        """Guess until a network is right on all sequences of training; the cell then has its weights, else its own.

        Args:
            network:   a cell, or a `Sequence` of one, without noise.
            training:  the sequences.
            wrong:     which sequences of a batch an output is wrong on.
            trials:    the most networks to draw.
        """
        cell = cell_of(network, "WeightGuessing")
        if cell.training and cell.noise_shapes():
            raise InputError(f"WeightGuessing: expected a network without noise, got {type(cell).__name__}; call .eval()")
        own = dict(cell.named_parameters())
        size = sum(parameter.numel() for parameter in own.values())
        like = next(iter(own.values()))
        for drawn in range(0, trials, self.population):
            numbers = torch.rand(min(self.population, trials - drawn), size, generator=generator, dtype=like.dtype).to(like.device)
            flat = (self.low + (self.high - self.low) * numbers).split([parameter.numel() for parameter in own.values()], 1)
            guessed = {name: part.reshape(-1, *parameter.shape) for (name, parameter), part in zip(own.items(), flat, strict=True)}
            right = torch.arange(len(numbers))
            for b in range(training.size):
                one = _repeated(training, b, len(right))
                inputs = pytree.tree_map(lambda leaf: leaf.unsqueeze(2), one.inputs)  # (T, P, 1, ...)
                outputs, _ = scan(cell, inputs, params={name: value[right] for name, value in guessed.items()})
                right = right[~wrong(pytree.tree_map(lambda leaf: leaf.squeeze(2), outputs), one)]
                if not len(right):
                    break
            else:
                for name, parameter in own.items():
                    parameter.copy_(guessed[name][right[0]])
                return Guess(drawn + int(right[0]) + 1, True)
        return Guess(trials, False)


def _repeated(batch: Batch, b: int, times: int) -> Batch:
    """Sequence b, up to its end, so many times."""
    steps = int(batch.lengths[b])

    def repeated(leaf: Tensor) -> Tensor:
        return leaf[:steps, b : b + 1].expand(steps, times, *leaf.shape[2:])

    inputs, targets, mask = pytree.tree_map(repeated, (batch.inputs, batch.targets, batch.mask))
    return Batch(inputs, targets, mask, batch.lengths[b : b + 1].expand(times))
