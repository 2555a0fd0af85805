"""Window: the last inputs side by side, the memory of a network that has no recurrence.

The state is the last k inputs; a step gives::

    y(i) = [x(i-k); ...; x(i-1); x(i)]          oldest first, zeros before the sequence's start

so a readout on top of Window(0) sees X(i) -> y(i), one on top of Window(1) sees
[X(i-1), X(i)] -> y(i). These are the baselines that a recurrent network must beat (a time-delay
network: Waibel et al., IEEE Trans. ASSP 37(3), 1989, with one layer of delays).

Not here: anything trained.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.errors import InputError


class Window(Cell):
    """The last k inputs and the present one. The state is a tensor (k, I), oldest input first.

    Args:
        k:           number of earlier inputs remembered, 0 or more.
        input_size:  I, length of x; y has length (k + 1) * I.
    """

    output_size: int

    def __init__(
        self, k: int, input_size: int = 1, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        if k < 0 or input_size < 1:
            raise InputError(f"Window: expected k >= 0 and input_size >= 1, got k = {k} and input_size = {input_size}")
        self.k, self.input_size, self.output_size = k, input_size, (k + 1) * input_size
        # There are no parameters; what comes before the start tells dtype and device instead.
        self.before = torch.nn.Buffer(torch.zeros(k, input_size, device=device, dtype=dtype), persistent=False)

    def initial_state(self) -> Tensor:
        return self.before

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        window = torch.cat([state, x[None]])
        return window.flatten(), window[1:]
