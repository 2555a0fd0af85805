"""Parity: is the number of ones even or odd, over more than 500 steps?

Bengio, Simard & Frasconi (1994), with the lengths of Schmidhuber, Hochreiter & Bengio, "Evaluating long-term dependency benchmark
problems by random guessing". A sequence consists of 1 and -1, each with probability 1/2; at its end the target is 1 where
the number of ones is odd and 0 where it is even. It is an exclusive or of all inputs, so no input may be forgotten and none
tells anything without all others. A sequence is right where the error at its end is less than 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import answered_at_the_end, drawn_lengths
from carousel.tasks.two_classes import LONGEST, SHORTEST, TwoClasses


class Parity(TwoClasses):
    """Input: 1 or -1. Output: 1 for an odd number of ones. Lengths: `length`, in steps.

    Args:
        noise:  U(-noise, noise) is added to every input; 0.2 where the paper has noisy inputs.
    """

    input_size = 1
    tolerance = 0.1
    channels = ("number",)

    def __init__(self, noise: float = 0.0) -> None:
        if noise < 0:
            raise InputError(f"Parity: expected noise of at least 0, got {noise}")
        self.noise = noise

    def of_classes(self, classes: Tensor, generator: torch.Generator, **lengths: int) -> Batch:
        B = len(classes)
        steps = drawn_lengths("Parity", SHORTEST, LONGEST, B, generator, lengths, shortest=1)
        ones = torch.randint(2, (int(steps.max()), B), generator=generator)
        inside = torch.arange(len(ones))[:, None] < steps
        # All sequences of a class are equally likely: the first input is what the others and the class leave.
        ones[0] = (classes - (ones[1:] * inside[1:]).sum(0)) % 2
        numbers = 2.0 * ones - 1
        if self.noise:
            numbers = numbers + self.noise * (2 * torch.rand(numbers.shape, generator=generator) - 1)
        return answered_at_the_end(numbers[..., None], classes[:, None].to(numbers.dtype), steps)
