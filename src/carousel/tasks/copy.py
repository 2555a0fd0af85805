"""Copy: give back a sequence of binary vectors.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, section 4.1. Shown are `length` random vectors, one a step,
then a step with a one on the delimiter's input; then the same vectors are asked for, in as many steps
without input. Training draws the length from 1..20.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from carousel.tasks.binary import BinaryTask, random_bits


class Copy(BinaryTask):
    """Inputs: the vector's bits, the delimiter. Outputs: the vector's bits. Lengths: `length`, in vectors.

    Args:
        bits:     of a vector.
        longest:  length that training goes up to.
    """

    def __init__(self, bits: int = 8, longest: int = 20) -> None:
        self.input_size, self.output_size = bits + 1, bits
        self.ranges = {"length": (1, longest)}

    def sequence(self, generator: torch.Generator, **lengths: int) -> tuple[Tensor, Tensor]:
        vectors = random_bits(lengths["length"], self.output_size, generator)
        shown = F.pad(vectors, (0, 1, 0, 1))
        shown[-1, -1] = 1
        return shown, vectors
