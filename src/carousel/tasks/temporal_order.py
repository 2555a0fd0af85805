"""Temporal order: in which order did the few symbols come that matter, among many that do not?

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, experiment 6. A sequence begins with E, ends with B and is 100 to
110 symbols long; the others are drawn from a, b, c, d, but for an X or a Y at two places (6a: steps 10-20 and 50-60) or
three (6b: 10-20, 33-43 and 66-76). Each order is a class, of which the last step is asked.
"""

from __future__ import annotations

import torch

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, answered_at_the_end, drawn_lengths, one_hot

PLACES = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}
"""Steps, from 1, between which each of the symbols that matter lies."""


class TemporalOrder(LagTask):
    """Inputs: one of E, B, a, b, c, d, X, Y. Outputs: a class each (the first X most significant, Y 1). Lengths: `length`.

    Args:
        relevant:  2 (experiment 6a, four classes) or 3 (6b, eight).
    """

    input_size, tolerance = 8, 0.3
    channels = ("E", "B", "a", "b", "c", "d", "X", "Y")

    def __init__(self, relevant: int = 2) -> None:
        if relevant not in PLACES:
            raise InputError(f"TemporalOrder: expected relevant to be one of {', '.join(map(str, PLACES))}, got {relevant}")
        self.relevant, self.output_size = relevant, 2**relevant

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences; their lengths are drawn, or all `length`."""
        steps = drawn_lengths("TemporalOrder", 100, 110, B, generator, lengths)
        row = torch.arange(B)
        symbols = torch.randint(2, 6, (int(steps.max()), B), generator=generator)
        symbols[0] = 0
        symbols[steps - 1, row] = 1
        which = torch.zeros(B, dtype=torch.int64)
        for low, high in PLACES[self.relevant]:
            place = torch.randint(low, high + 1, (B,), generator=generator) - 1
            told = torch.randint(2, (B,), generator=generator)
            symbols[place, row] = 6 + told
            which = 2 * which + told
        return answered_at_the_end(one_hot(symbols, 8), one_hot(which, self.output_size), steps)
