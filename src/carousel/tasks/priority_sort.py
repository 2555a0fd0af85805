"""PrioritySort: put binary vectors in the order of their priorities.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, section 4.5. Shown are `vectors` random vectors of eight bits,
one a step, each with its priority from U[-1, 1] on an input of its own, then a step with a one on the
delimiter's input. Asked for, without input, are the `answers` vectors of highest priority, the highest
first. Training has 20 vectors and 16 answers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.errors import InputError
from carousel.tasks.binary import BinaryTask, random_bits


class PrioritySort(BinaryTask):
    """Inputs: the vector's bits, its priority, the delimiter. Outputs: the vector's bits. Lengths: `vectors`, `answers`.

    Args:
        bits:     of a vector.
        vectors:  shown in training.
        answers:  asked for in training.
    """

    def __init__(self, bits: int = 8, vectors: int = 20, answers: int = 16) -> None:
        self.input_size, self.output_size = bits + 2, bits
        self.ranges = {"vectors": (vectors, vectors), "answers": (answers, answers)}

    def sequence(self, generator: torch.Generator, **lengths: int) -> tuple[Tensor, Tensor]:
        count, asked = lengths["vectors"], lengths["answers"]
        if asked > count:
            raise InputError(f"PrioritySort: expected at most as many answers as vectors, got {asked} of {count}")
        vectors = random_bits(count, self.output_size, generator)
        priorities = 2 * torch.rand(count, generator=generator, dtype=vectors.dtype) - 1
        shown = vectors.new_zeros(count + 1, self.input_size)
        shown[:count, :-2], shown[:count, -2], shown[count, -1] = vectors, priorities, 1
        return shown, vectors[priorities.argsort(descending=True)[:asked]]
