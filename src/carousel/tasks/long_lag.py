"""Long time lags: the last of p + 1 symbols is the first, however many came between.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, experiments 2a and 2b. A sequence begins and ends with x or with y,
each with probability 1/2; between them are, in 2a, a1 to a(p-1) in this order, and in 2b, p - 1 of these drawn at random. At
every step the next symbol is to be told.

- 2a: a sequence is wrong where any output is further than 0.25 from its target at any step.
- 2b: only the last step can be foretold, and only there is a sequence wrong or right; what is learned from is every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.drawing import WIDTH, strips
from carousel.tasks.lag import LagTask, one_hot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Variant = Literal["2a", "2b"]


class LongLag(LagTask):
    """Input: a symbol of a1..a(p-1), x, y. Outputs: the next one. Lengths: `length` in steps, for 2b only.

    Args:
        p:        the lag: steps of a sequence.
        variant:  "2a" or "2b".
    """

    tolerance = 0.25

    def __init__(self, p: int = 100, variant: Variant = "2a") -> None:
        if p < 2:
            raise InputError(f"LongLag: expected p of at least 2, got {p}")
        if variant not in get_args(Variant):
            raise InputError(f"LongLag: expected variant to be one of {', '.join(get_args(Variant))}, got {variant!r}")
        self.p, self.variant = p, variant
        self.input_size = self.output_size = p + 1
        self.channels = (*(f"a{n}" for n in range(1, p)), "x", "y")

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences of p steps; in 2b of `length` steps where it is given."""
        steps = self.p
        for name, length in lengths.items():
            if name != "length" or self.variant == "2a":
                raise InputError(f"LongLag: no length {name!r}, expected 'length', and in 2b only")
            if length < 2:
                raise InputError(f"LongLag: expected length of at least 2, got {length}")
            steps = length
        symbols = torch.arange(-1, steps)[:, None].expand(steps + 1, B).clone()
        if self.variant == "2b":
            symbols = torch.randint(self.p - 1, (steps + 1, B), generator=generator)
        symbols[0] = symbols[-1] = self.p - 1 + torch.randint(2, (B,), generator=generator)
        hot = one_hot(symbols, self.p + 1)
        return Batch(hot[:-1], hot[1:], torch.ones(steps, B, dtype=torch.bool), torch.full((B,), steps))

    def wrong(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of each sequence whether it is wrong, (B,) bool; in 2b, at its last step."""
        if self.variant == "2a":
            return super().wrong(outputs, batch)
        return self.distances(outputs, batch)[-1].amax(1) > self.tolerance

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence over time, a row a symbol with x and y at the bottom: input, target and, with outputs, the answer."""
        from matplotlib.figure import Figure

        column = {"input": batch.inputs[:, 0].numpy(), "target": batch.targets[:, 0].numpy()}
        if outputs is not None:
            column["output"] = outputs[:, 0].detach().cpu().numpy()
        figure = Figure(figsize=(WIDTH, 1 + 2 * len(column)), layout="constrained")
        strips(figure, [column])
        return figure
