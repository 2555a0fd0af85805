"""Strongly delayed exclusive or: do two marked bits differ, that lie far apart in noise?

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 6, "limitations": the exclusive or of two widely separated inputs
of a noisy sequence, which the truncated rule will not easily learn: to hold one of them does not make the error any smaller.
The paper gives no more; places, noise and lengths are ours, after experiments 3 to 6. A sequence has T to 1.1 T pairs of a number
and a marker; the numbers are Gaussian noise of mean 0 and variance 0.2, but for 1 or -1 at the two marked steps, one among the
first T/10 and one among the T/10 from T/2 on. At the end the target is 1 where the two differ, else 0. A sequence is
right where the error is at most 0.3, as in experiment 6.
"""

from __future__ import annotations

import torch

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, answered_at_the_end, drawn_lengths
from carousel.tasks.two_sequences import INPUT_VARIANCE


class DelayedXOR(LagTask):
    """Inputs: the number, the marker. Output: 1 where the marked numbers differ. Lengths: `length`, in steps.

    Args:
        T:  the least length in training.
    """

    input_size, output_size, tolerance = 2, 1, 0.3
    channels = ("number", "marker")

    def __init__(self, T: int = 100) -> None:
        if T < 10:
            raise InputError(f"DelayedXOR: expected T of at least 10, got {T}")
        self.T = T

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences; their lengths are drawn, or all `length`."""
        steps = drawn_lengths("DelayedXOR", self.T, self.T + self.T // 10, B, generator, lengths)
        bits = torch.randint(2, (2, B), generator=generator)
        inputs = torch.zeros(int(steps.max()), B, 2)
        inputs[..., 0] = torch.randn(len(inputs), B, generator=generator) * INPUT_VARIANCE**0.5
        row = torch.arange(B)
        for bit, begin in zip(bits, (0, self.T // 2), strict=True):
            at = begin + torch.randint(self.T // 10, (B,), generator=generator)
            inputs[at, row] = torch.stack([2.0 * bit - 1, torch.ones(B)], 1)
        return answered_at_the_end(inputs, (bits[0] != bits[1])[:, None].to(inputs.dtype), steps)
