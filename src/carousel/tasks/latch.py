"""Latch: hold one bit, told at the first step, while noise comes in.

Bengio, Simard & Frasconi (1994), with the lengths of Schmidhuber, Hochreiter & Bengio, "Evaluating long-term dependency benchmark
problems by random guessing". Which of two classes a sequence is of is told at its first step; at every later step the
input is Gaussian noise of mean 0 and variance 0.2. The class is asked at the end.

- I:  the network is shown at the first step which class it is, 1 on an input for class 1 or on an input for class 0, so that
  the two weights from these are free initial values, as in the paper; the noise comes by a third input. Targets 0.8 and -0.8.
- II: the first input is 1 for class 1 and -1 for class 0, on the line of the noise. Targets 1 and -1.

A sequence is right where its answer falls short of the target by less than 0.1. This is our reading: an answer beyond the
target, on its side, counts as no error, since a unit that has latched is at 1 or -1, not at 0.8 or -0.8.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import answered_at_the_end, drawn_lengths
from carousel.tasks.two_classes import LONGEST, SHORTEST, TwoClasses

Variant = Literal["I", "II"]


class Latch(TwoClasses):
    """Input: the noise, after the classes in I. Output: the target's sign tells the class. Lengths: `length`, in steps.

    Args:
        variant:   "I" or "II".
        variance:  of the noise.
    """

    tolerance = 0.1
    answers = (-1.0, 1.0)

    def __init__(self, variant: Variant = "II", variance: float = 0.2) -> None:
        if variant not in get_args(Variant):
            raise InputError(f"Latch: expected variant to be one of {', '.join(get_args(Variant))}, got {variant!r}")
        if variance < 0:
            raise InputError(f"Latch: expected variance of at least 0, got {variance}")
        self.variant, self.variance = variant, variance
        self.channels = ("class 1", "class 0", "noise") if variant == "I" else ("number",)
        self.input_size = len(self.channels)

    def of_classes(self, classes: Tensor, generator: torch.Generator, **lengths: int) -> Batch:
        B = len(classes)
        steps = drawn_lengths("Latch", SHORTEST, LONGEST, B, generator, lengths, shortest=1)
        sign = 2.0 * classes - 1
        inputs = torch.zeros(int(steps.max()), B, self.input_size)
        inputs[1:, :, -1] = torch.randn(len(inputs) - 1, B, generator=generator) * self.variance**0.5
        if self.variant == "I":
            inputs[0, :, 0], inputs[0, :, 1] = classes, 1 - classes
        else:
            inputs[0, :, 0] = sign
        return answered_at_the_end(inputs, (sign if self.variant == "II" else 0.8 * sign)[:, None], steps)

    def distances(self, outputs: Tensor, batch: Batch) -> Tensor:
        """By how much the answer falls short of the target (T, B, 1); nothing where it is beyond it, or none is asked for."""
        short = batch.targets.abs() - outputs * batch.targets.sign()
        return torch.where(batch.mask[..., None], short.clamp(min=0), 0.0)
