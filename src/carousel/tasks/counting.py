"""Counting: was the signal 99 steps ago, or 100?

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 6, "limitations": it makes a difference whether a signal
occurred 99 or 100 steps ago, for which an LSTM needs something that counts; 3 against 11 steps are no problem to it. The paper
gives no task; this one is ours. The input is 1 at one step, which has 0 to 9 steps before it, and 0 at all others. At
the end, `far` or `near` steps after it, the target is 1 or 0. A sequence is right where the error is at most 0.2, as in
experiment 3.
"""

from __future__ import annotations

import torch

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, answered_at_the_end

BEFORE = 10
"""How many numbers of steps before the signal there are, so that the length does not tell the class."""


class Counting(LagTask):
    """Input: the signal. Output: 1 where it was `far` steps ago. Lengths: `near` and `far`, in place of the task's own.

    Args:
        near, far:  steps from the signal to the end, of either class.
    """

    input_size, output_size = 1, 1
    tolerance = 0.2
    channels = ("signal",)

    def __init__(self, near: int = 99, far: int = 100) -> None:
        _check(near, far)
        self.near, self.far = near, far

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences, each of either class with probability 1/2."""
        for name in lengths:
            if name not in ("near", "far"):
                raise InputError(f"Counting: no length {name!r}, expected 'near' or 'far'")
        near, far = lengths.get("near", self.near), lengths.get("far", self.far)
        _check(near, far)
        classes = torch.randint(2, (B,), generator=generator)
        before = torch.randint(BEFORE, (B,), generator=generator)
        steps = before + 1 + torch.where(classes == 1, far, near)
        inputs = torch.zeros(int(steps.max()), B, 1)
        inputs[before, torch.arange(B)] = 1
        return answered_at_the_end(inputs, classes[:, None].to(inputs.dtype), steps)


def _check(near: int, far: int) -> None:
    if not 1 <= near < far:
        raise InputError(f"Counting: expected 1 <= near < far, got {near} and {far}")
