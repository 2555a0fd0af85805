"""Adding: the sum of two marked numbers, hundreds of steps after they were seen.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, experiment 4. A step is a number from U[-1, 1] and a marker.
Exactly two numbers are marked with 1: one of the first ten, then one of the first T/2 - 1 that are not marked yet. The
markers of the first and the last step are -1, all others 0. The length is from T to 1.1 T, and the target at the last
step is 0.5 + (X1 + X2) / 4. A number that is marked at the first step counts as 0, and its marker stays -1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, answered_at_the_end, drawn_lengths

FIRST = 10
"""The first marked step is one of so many."""


class Adding(LagTask):
    """Inputs: the number, the marker. Output: the sum, scaled into (0, 1). Lengths: `length`, in steps.

    Args:
        T:  the least length in training.
    """

    input_size, output_size, tolerance = 2, 1, 0.04
    channels = ("number", "marker")

    def __init__(self, T: int = 100) -> None:
        if T < 2 * FIRST:
            raise InputError(f"{type(self).__name__}: expected T of at least {2 * FIRST}, got {T}")
        self.T = T

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences; their lengths are drawn, or all `length`."""
        steps = drawn_lengths(type(self).__name__, self.T, self.T + self.T // 10, B, generator, lengths)
        numbers = torch.rand(int(steps.max()), B, generator=generator) * 2 - 1
        inputs, first, second = marked(numbers, steps, self.T, generator)
        of_first, of_second = self.values(numbers, first, 0.0), self.values(numbers, second, 0.0)
        return answered_at_the_end(inputs, (0.5 + (of_first + of_second) / 4)[:, None], steps)

    @staticmethod
    def values(numbers: Tensor, at: Tensor, of_first_step: float) -> Tensor:
        """The numbers (B,) of the marked steps; of the first step another one, since its mark cannot be seen."""
        return torch.where(at == 0, of_first_step, numbers.gather(0, at[None])[0])


def marked(numbers: Tensor, lengths: Tensor, T: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(inputs (T, B, 2), first marked step (B,), second one (B,)) of numbers (T, B)."""
    B = numbers.shape[1]
    first = torch.randint(FIRST, (B,), generator=generator)
    second = torch.randint(T // 2 - 1, (B,), generator=generator)
    second += second >= first  # among the steps that are not marked yet
    row = torch.arange(B)
    markers = torch.zeros_like(numbers)
    markers[first, row] = 1
    markers[second, row] = 1
    markers[0] = -1
    markers[lengths - 1, row] = -1
    return torch.stack([numbers, markers], 2), first, second
