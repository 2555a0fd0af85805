"""Multiplication: the product of two marked numbers, hundreds of steps after they were seen.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, experiment 5. As adding, with numbers from U[0, 1] and the
target X1 X2 at the last step. A number that is marked at the first step counts as 1.
"""

from __future__ import annotations

import torch

from carousel.batch import Batch
from carousel.tasks.adding import Adding, marked
from carousel.tasks.lag import answered_at_the_end, drawn_lengths


class Multiplication(Adding):
    """Inputs: the number, the marker. Output: the product. Lengths: `length`, in steps."""

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences; their lengths are drawn, or all `length`."""
        steps = drawn_lengths(type(self).__name__, self.T, self.T + self.T // 10, B, generator, lengths)
        numbers = torch.rand(int(steps.max()), B, generator=generator)
        inputs, first, second = marked(numbers, steps, self.T, generator)
        product = self.values(numbers, first, 1.0) * self.values(numbers, second, 1.0)
        return answered_at_the_end(inputs, product[:, None], steps)
