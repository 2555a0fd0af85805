"""BinaryTask: what the five tasks of the Neural Turing Machine share. Answers are binary vectors, scored in bits.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, section 4: a network's outputs are probabilities of ones,
trained by cross-entropy and reported as bits per sequence. Here y are logits, so that no probability
rounds to 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.task import Task
from carousel.tasks.drawing import WIDTH, height, strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class BinaryTask(Task):
    """A sequence is what the network is shown, then an answer that it must give without further input.

    Attributes:
        ranges:  name of a length -> the smallest and largest that training draws, uniformly.
    """

    input_size: int
    ranges: dict[str, tuple[int, int]]

    @staticmethod
    def loss(y: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats, summed over the outputs; y are logits."""
        return F.binary_cross_entropy_with_logits(y, target, reduction="sum")

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences; a length that is not given is drawn for each sequence from its range."""
        drawn = {name: self._draw_length(name, lengths, B, generator) for name in self.ranges}
        self._refuse_others(lengths)
        return _padded([self.sequence(generator, **{name: values[b] for name, values in drawn.items()}) for b in range(B)])

    def sequence(self, generator: torch.Generator, **lengths: int) -> tuple[Tensor, Tensor]:
        """One sequence: what is shown (steps, I), and the answer (steps, O) that is asked for after it."""
        raise NotImplementedError

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        """Means over sequences: bits of cross-entropy, outputs on the wrong side of 1/2, percent without such an output."""
        wrong = self.wrong_bits(outputs, batch)
        perfect = 100 * (wrong == 0).to(torch.float64).mean()
        return {"bits": float(self.bits(outputs, batch).mean()), "wrong bits": float(wrong.mean()), "perfect": float(perfect)}

    def bits(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of each sequence in bits, (B,) float64."""
        each = F.binary_cross_entropy_with_logits(outputs.double(), batch.targets.double(), reduction="none")
        return _over_answer(each, batch) / math.log(2)

    def wrong_bits(self, outputs: Tensor, batch: Batch) -> Tensor:
        """How many outputs of each sequence lie on the wrong side of 1/2, (B,) float64."""
        return _over_answer(((outputs > 0) != (batch.targets > 0.5)).double(), batch)

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence over time: what is shown, the answer and, with outputs, the network's answer and its error."""
        from matplotlib.figure import Figure

        steps = int(batch.lengths[0])
        asked = batch.mask[:steps, 0, None]
        target = torch.where(asked, batch.targets[:steps, 0], torch.nan)
        rows = {"input": batch.inputs[:steps, 0], "target": target}
        if outputs is not None:
            given = torch.where(asked, torch.sigmoid(outputs[:steps, 0].detach()), torch.nan)
            rows |= {"output": given, "error": given - target}
        column = {name: values.cpu().numpy() for name, values in rows.items()}
        figure = Figure(figsize=(WIDTH, height(column)), layout="constrained")
        strips(figure, [column])
        return figure

    def _draw_length(self, name: str, lengths: dict[str, int], B: int, generator: torch.Generator) -> list[int]:
        low, high = self.ranges[name]
        if name not in lengths:
            return torch.randint(low, high + 1, (B,), generator=generator).tolist()
        if lengths[name] < 1:
            raise InputError(f"{type(self).__name__}: expected {name} of at least 1, got {lengths[name]}")
        return [lengths[name]] * B

    def _refuse_others(self, lengths: dict[str, int]) -> None:
        for name in lengths:
            if name not in self.ranges:
                raise InputError(f"{type(self).__name__}: no length {name!r}, expected one of: {', '.join(self.ranges)}")


def random_bits(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """(rows, columns) of 0 and 1, each with probability 1/2."""
    return torch.randint(0, 2, (rows, columns), generator=generator, dtype=torch.get_default_dtype())


def _padded(sequences: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Sequences side by side; each is shown first, and answered in as many further steps as its answer has."""
    begins = [len(shown) for shown, _ in sequences]
    ends = [begin + len(answer) for begin, (_, answer) in zip(begins, sequences, strict=True)]
    steps, B = max(ends), len(sequences)
    first_shown, first_answer = sequences[0]
    inputs = first_shown.new_zeros(steps, B, first_shown.shape[1])
    targets = first_answer.new_zeros(steps, B, first_answer.shape[1])
    mask = torch.zeros(steps, B, dtype=torch.bool)
    into_inputs, into_targets, into_mask = inputs.numpy(), targets.numpy(), mask.numpy()  # a tenth of PyTorch's time
    for b, (begin, end, (shown, answer)) in enumerate(zip(begins, ends, sequences, strict=True)):
        into_inputs[:begin, b] = shown.numpy()
        into_targets[begin:end, b] = answer.numpy()
        into_mask[begin:end, b] = True
    return Batch(inputs, targets, mask, torch.tensor(ends))


def _over_answer(each: Tensor, batch: Batch) -> Tensor:
    """The sum (B,) of (T, B, O) over the steps that count and the outputs."""
    return torch.where(batch.mask, each.sum(2), 0.0).sum(0)
