"""Dropout between the layers of a stack, one mask a sequence.

Srivastava et al., JMLR 15, 2014, with the mask of Gal & Ghahramani, arXiv 1512.05287v5, which stays
the same over a sequence. A step gives::

    y = x * m / (1 - q)        in training, each entry of m being 0 with probability q, else 1
    y = x                      in evaluation

and there is no state.

Not here: masks inside of a recurrent layer; those are options of the LSTM and the GRU.
"""

from __future__ import annotations

from torch import Tensor

from carousel.cell import Cell, NoiseShapes
from carousel.cells._common import check_probability, check_sizes, dropped


class Dropout(Cell):
    """One step of dropout; y has the length of x, the state is ().

    Args:
        input_size:  I, length of x.
        rate:        q, the share of entries that are dropped, in [0, 1).
    """

    input_size: int
    output_size: int

    def __init__(self, input_size: int, rate: float) -> None:
        super().__init__()
        check_sizes("Dropout", input_size=input_size)
        check_probability("Dropout", rate=rate)
        self.input_size = self.output_size = input_size
        self.rate = rate

    def initial_state(self) -> tuple[()]:
        return ()

    def noise_shapes(self) -> NoiseShapes:
        return {"mask": ("sequence", (self.input_size,))} if self.rate else {}

    def step(self, x: Tensor, state: tuple[()], *, noise: dict[str, Tensor] | None = None) -> tuple[Tensor, tuple[()]]:
        return dropped(x, self.rate, noise, "mask"), state
