"""Very long time lags without local regularities: what was the second symbol, when at last one asks for it?

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, experiment 2c. There are p + 4 symbols: the distractors a1 to ap, and
b, e, x, y. A sequence is b, then x or y, then q distractors drawn at random, then further ones until, each time with
probability 1/10, an e comes instead; after e the second symbol is asked for. Until there it is q + 12 steps on average.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, answered_at_the_end, one_hot

ENDS = 0.1  # the chance of an e at each step after q distractors


class VeryLongLag(LagTask):
    """Input: a symbol of a1..ap, b, e, x, y. Outputs: x, y. Lengths: `length`, in steps, the e included.

    Args:
        q:  the least number of distractors in training.
        p:  of which so many are different.
    """

    output_size, tolerance = 2, 0.2

    def __init__(self, q: int = 100, p: int = 100) -> None:
        if min(q, p) < 1:
            raise InputError(f"VeryLongLag: expected q and p of at least 1, got {q} and {p}")
        self.q, self.p, self.input_size = q, p, p + 4
        self.channels = (*(f"a{n}" for n in range(1, p + 1)), "b", "e", "x", "y")

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences; their lengths are drawn, or all `length`."""
        symbols, which, steps = self.symbols(B, generator, **lengths)
        return answered_at_the_end(one_hot(symbols, self.input_size), one_hot(which, 2), steps)

    def symbols(self, B: int, generator: torch.Generator, **lengths: int) -> tuple[Tensor, Tensor, Tensor]:
        """The sequences of `sample` as numbers: symbols (T, B), whether y (B,), lengths (B,)."""
        for name, length in lengths.items():
            if name != "length":
                raise InputError(f"VeryLongLag: no length {name!r}, expected 'length'")
            if length < 3:
                raise InputError(f"VeryLongLag: expected length of at least 3, got {length}")
        # How often in a row there was no e: the inverse of the geometric distribution.
        chance = 1 - torch.rand(B, generator=generator, dtype=torch.float64)
        drawn = self.q + 3 + (chance.log() / math.log(1 - ENDS)).to(torch.int64)
        steps = torch.full((B,), lengths["length"]) if lengths else drawn
        symbols = torch.randint(self.p, (int(steps.max()), B), generator=generator)
        which = torch.randint(2, (B,), generator=generator)
        symbols[0], symbols[1] = self.p, self.p + 2 + which
        symbols[steps - 1, torch.arange(B)] = self.p + 1
        return symbols, which, steps
