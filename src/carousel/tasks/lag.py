"""LagTask: what the experiments of the LSTM paper share. Answers lie in (0, 1), errors are distances, a sequence is right or wrong.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 5. A sequence is right where no output that
counts is further than the tolerance from its target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.task import Task
from carousel.tasks.drawing import WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LagTask(Task):
    """Base of the tasks of 1997; y is what the output units say, after their squashing.

    Attributes:
        tolerance:  the largest distance from the target of an output that is right.
        channels:   names of the inputs, for the picture.
        answers:    the smallest and the largest target.
    """

    input_size: int
    tolerance: float
    channels: tuple[str, ...]
    answers: tuple[float, float] = (0.0, 1.0)

    @staticmethod
    def loss(y: Tensor, target: Tensor) -> Tensor:
        """sum (target - y)^2 / 2, whose error at unit k is (t_k - y_k) as in the paper."""
        return ((target - y) ** 2).sum() / 2

    def distances(self, outputs: Tensor, batch: Batch) -> Tensor:
        """abs(target - y) (T, B, K), nothing where no answer is asked for."""
        return torch.where(batch.mask[..., None], (outputs - batch.targets).abs(), 0.0)

    def wrong(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of each sequence whether it is wrong, (B,) bool."""
        return self.distances(outputs, batch).amax((0, 2)) > self.tolerance

    def error(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The distance from the target, averaged over the steps that count and the outputs, (B,)."""
        asked = batch.mask.sum(0) * self.output_size
        return self.distances(outputs, batch).sum((0, 2)) / asked

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        """Percent of the sequences that are wrong, and the mean error."""
        wrong = 100 * self.wrong(outputs, batch).double().mean()
        return {"wrong": float(wrong), "error": float(self.error(outputs, batch).double().mean())}

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence over time: each input as a line, the targets as circles, the outputs as dots."""
        from matplotlib.figure import Figure

        steps = int(batch.lengths[0])
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        if len(self.channels) > 3:  # symbols, one at a step
            symbols = batch.inputs[:steps, 0].argmax(1)
            above.plot(range(1, steps + 1), symbols, "s", markersize=2.5, color="#0072B2")
            above.set_yticks(range(len(self.channels)), self.channels, fontsize=7)
            above.set_ylabel("symbol")
        else:
            for n, name in enumerate(self.channels):
                above.plot(range(1, steps + 1), batch.inputs[:steps, 0, n], linewidth=0.9, label=name)
            above.set_ylabel("input")
            above.legend(loc="upper right", ncols=len(self.channels), fontsize=8)
        asked = batch.mask[:steps, 0].nonzero()[:, 0]
        for k in range(self.output_size):
            colour = f"C{k}"
            below.plot(asked + 1, batch.targets[asked, 0, k], "o", markerfacecolor="none", color=colour, clip_on=False)
            if outputs is not None:
                below.plot(range(1, steps + 1), outputs[:steps, 0, k].detach(), ".-", markersize=2, linewidth=0.6, color=colour)
        low, high = self.answers
        below.set(xlabel="step", ylabel="target", ylim=(low - 0.05, high + 0.05), xlim=(0, steps + 1))
        return figure


def drawn_lengths(
    who: str, low: int, high: int, B: int, generator: torch.Generator, lengths: dict[str, int], shortest: int | None = None
) -> Tensor:
    """(B,) lengths from low..high, or `length` for every sequence where it is given, no less than `shortest` (None: low)."""
    shortest = low if shortest is None else shortest
    for name in lengths:
        if name != "length":
            raise InputError(f"{who}: no length {name!r}, expected 'length'")
    if "length" not in lengths:
        return torch.randint(low, high + 1, (B,), generator=generator)
    if lengths["length"] < shortest:
        raise InputError(f"{who}: expected length of at least {shortest}, got {lengths['length']}")
    return torch.full((B,), lengths["length"])


def answered_at_the_end(inputs: Tensor, target: Tensor, lengths: Tensor) -> Batch:
    """A batch of inputs (T, B, I) with one target (B, K) at each sequence's last step; what is past the end is set to zero."""
    T, B = inputs.shape[:2]
    step = torch.arange(T)[:, None]
    mask = step == lengths - 1
    targets = torch.where(mask[..., None], target.expand(T, B, -1), 0.0)
    return Batch(torch.where((step < lengths)[..., None], inputs, 0.0), targets, mask, lengths)


def one_hot(symbols: Tensor, size: int) -> Tensor:
    """(..., size) in the default dtype, a one at each symbol's place."""
    return torch.zeros(*symbols.shape, size).scatter_(-1, symbols[..., None], 1)
