"""RepeatCopy: give back a sequence of binary vectors so many times, then an end marker.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, section 4.2. Shown are `length` random vectors, one a step,
then a step with a one on the delimiter's input and the number of repeats on its own input, normalised
to mean 0 and variance 1 over what training draws. Asked for, without input, are the vectors `repeats`
times over, then a step with a one on the end marker's output and zeros on the others. Training draws
both numbers from 1..10. Vectors of six bits, for which the paper's LSTM has the parameters that its table says.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.tasks.binary import BinaryTask, random_bits


class RepeatCopy(BinaryTask):
    """Inputs: the vector's bits, the delimiter, the repeats. Outputs: the vector's bits, the end marker.

    Lengths: `length`, in vectors, and `repeats`.

    Args:
        bits:     of a vector.
        longest:  length that training goes up to.
        most:     repeats that training goes up to, at least 2.
    """

    def __init__(self, bits: int = 6, longest: int = 10, most: int = 10) -> None:
        self.bits_of_vector = bits
        self.input_size, self.output_size = bits + 2, bits + 1
        self.ranges = {"length": (1, longest), "repeats": (1, most)}
        # Of whole numbers drawn uniformly from 1..most.
        self.mean, self.deviation = (most + 1) / 2, ((most**2 - 1) / 12) ** 0.5

    def sequence(self, generator: torch.Generator, **lengths: int) -> tuple[Tensor, Tensor]:
        length, repeats = lengths["length"], lengths["repeats"]
        vectors = random_bits(length, self.bits_of_vector, generator)
        shown = vectors.new_zeros(length + 1, self.input_size)
        shown[:length, : self.bits_of_vector] = vectors
        shown[length, -2] = 1
        shown[length, -1] = (repeats - self.mean) / self.deviation
        answer = vectors.new_zeros(length * repeats + 1, self.output_size)
        answer[:-1, :-1] = vectors.repeat(repeats, 1)
        answer[-1, -1] = 1
        return shown, answer

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        """What BinaryTask tells, and "right end": percent of sequences with the end marker where it belongs and nowhere else."""
        marked = (outputs[:, :, -1] > 0) == (batch.targets[:, :, -1] > 0.5)
        right = torch.where(batch.mask, marked, True).all(0).to(torch.float64)
        return super().score(outputs, batch) | {"right end": float(100 * right.mean())}
