"""TwoClasses: what the benchmarks of weight guessing share. A sequence is of one of two classes, told at its end.

Schmidhuber, Hochreiter & Bengio, "Evaluating long-term dependency benchmark problems by random guessing". There are 100
sequences to learn from and 100 to be tested on, half of them of each class; their lengths are 500 to 600 steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.tasks.lag import LagTask

SHORTEST, LONGEST = 500, 600
"""Steps of a training sequence."""

SEQUENCES = 100
"""In the training set, and in the test set."""


class TwoClasses(LagTask):
    """Base of the tasks with two classes, 0 and 1. Output: the class. Lengths: `length`, in steps."""

    output_size = 1

    def of_classes(self, classes: Tensor, generator: torch.Generator, **lengths: int) -> Batch:
        """A sequence of each of these classes (B,), int64; their lengths are drawn, or all `length`."""
        raise NotImplementedError

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences, each of either class with probability 1/2; their lengths are drawn, or all `length`."""
        return self.of_classes(torch.randint(2, (B,), generator=generator), generator, **lengths)

    def halves(self, generator: torch.Generator, **lengths: int) -> Batch:
        """A set as the paper has it: 100 sequences, the classes by turns."""
        return self.of_classes(torch.arange(SEQUENCES) % 2, generator, **lengths)
