"""Pipelined exclusive or: two bits at every step, and their exclusive or some updates later, at every step.

Williams & Zipser, Neural Computation 1(2), 1989. Both inputs are 0 or 1 at random. A network that updates all its units at once
needs two updates from two inputs to their exclusive or, one for hidden units and one for the output, and works on the
next inputs meanwhile. An answer is due `delay` updates after its inputs: with delay 2, at the step after them, since an output
at a step has seen the input of that step. The paper's is one endless sequence; here it has an end. A sequence is right
where every output is on the right side of 1/2; the first delay - 1 steps are not asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.drawing import WIDTH, strips
from carousel.tasks.lag import LagTask, drawn_lengths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 100


class PipelinedXOR(LagTask):
    """Inputs: two bits. Output: their exclusive or, later. Lengths: `length`, in steps.

    Args:
        delay:  updates of the units between inputs and their answer.
    """

    input_size, output_size = 2, 1
    tolerance = 0.5
    channels = ("first", "second")

    def __init__(self, delay: int = 2) -> None:
        if not 1 <= delay <= STEPS:
            raise InputError(f"PipelinedXOR: expected delay in 1..{STEPS}, got {delay}")
        self.delay = delay

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences of 100 steps, or of `length`."""
        steps = drawn_lengths("PipelinedXOR", STEPS, STEPS, B, generator, lengths, shortest=self.delay)
        bits = torch.randint(2, (int(steps.max()), B, 2), generator=generator).to(torch.get_default_dtype())
        return answered_later(bits, (bits[..., :1] != bits[..., 1:]).to(bits.dtype), self.delay, steps)

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence over time: the two bits, the answers that are asked for and, with outputs, the network's."""
        return bits_over_time(batch, outputs, self.channels, ("xor",))


def answered_later(inputs: Tensor, answers: Tensor, delay: int, lengths: Tensor) -> Batch:
    """Inputs (T, B, I) whose answers (T, B, K) are due delay - 1 steps after them; lengths all T."""
    T, B = inputs.shape[:2]
    targets = torch.zeros_like(answers)
    targets[delay - 1 :] = answers[: T - delay + 1]
    return Batch(inputs, targets, (torch.arange(T) >= delay - 1)[:, None].expand(T, B).clone(), lengths)


def bits_over_time(batch: Batch, outputs: Tensor | None, inputs: Sequence[str], answers: Sequence[str]) -> Figure:
    """The first sequence as strips, a row a bit, named by `inputs` and `answers`: input, target and, where given, output."""
    from matplotlib.figure import Figure

    steps = int(batch.lengths[0])
    asked = batch.mask[:steps, 0, None]
    column = {"input": batch.inputs[:steps, 0], "target": torch.where(asked, batch.targets[:steps, 0], torch.nan)}
    if outputs is not None:
        column["output"] = torch.where(asked, outputs[:steps, 0].detach().cpu(), torch.nan)
    names = [inputs] + [answers] * (len(column) - 1)
    figure = Figure(figsize=(WIDTH, 0.8 + 0.3 * sum(map(len, names))), layout="constrained")
    strips(figure, [{name: values.numpy() for name, values in column.items()}])
    for axes, rows in zip(figure.axes, names, strict=True):
        axes.set_yticks(range(len(rows)), rows, fontsize=7)
    return figure
