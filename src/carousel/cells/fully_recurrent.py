"""FullyRecurrent: every unit sees the input, every unit and itself.

Williams & Zipser, Neural Computation 1(2), 1989, equations 1-3 (m inputs, n units)::

    z(t)   = [x(t); y(t); 1]
    y(t+1) = f(W z(t))              W (n, m + n + 1), the last column for the bias

The first units are the output units. What a step gives is y(t+1): an output answers inputs up to
x(t), one step after them, as in the paper.

Any network of units is this one with connections missing or not trained. Two masks of W's shape
say which; a weight that is not trained stands in a buffer, so no optimiser can move it::

    W = V where trained, fixed elsewhere         V the parameter, fixed the buffer

A connection that does not exist is a fixed weight of 0.

Not here: teacher forcing, which a learner or a task does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.cells._common import SQUASHING, check_sizes, squashing, uniform_
from carousel.errors import InputError


class FullyRecurrent(Cell):
    """One step of a fully recurrent network. The state is the tensor y (n,) of all units.

    Args:
        input_size:   m, length of x.
        units:        n, number of units.
        output_size:  the first that many units are the output; None for all of them.
        f:            a unit's squashing function: "sigmoid", "tanh", "relu" or "identity".
        exists:       (n, m + n + 1) bool, which connections there are: row k is what unit k sees, the
                      columns being inputs, units and bias; None for all.
        trained:      (n, m + n + 1) bool, which of them the parameter V holds; None for all. The
                      others keep the values they start with; write to ``cell.fixed`` to set them.

    Every weight that exists starts as U(-bound, bound), bound = 1/sqrt(m + n + 1).
    """

    input_size: int
    output_size: int

    def __init__(
        self,
        input_size: int,
        units: int,
        *,
        output_size: int | None = None,
        f: str = "sigmoid",
        exists: Tensor | None = None,
        trained: Tensor | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("FullyRecurrent", input_size=input_size, units=units)
        shape = (units, input_size + units + 1)
        if output_size is not None and not 1 <= output_size <= units:
            raise InputError(f"FullyRecurrent: expected output_size in 1..{units}, the number of units, got {output_size}")
        for name, mask in (("exists", exists), ("trained", trained)):
            if mask is not None and (mask.shape != shape or mask.dtype != torch.bool):
                raise InputError(
                    f"FullyRecurrent: expected {name} {shape} (units; inputs, units, bias) torch.bool, "
                    f"got {tuple(mask.shape)} {mask.dtype}"
                )
        self.f = squashing("FullyRecurrent", "f", f, tuple(SQUASHING))
        self.input_size, self.units, self.output_size = input_size, units, output_size or units

        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.V = nn.Parameter(torch.empty(shape, **like))
        uniform_([self.V], shape[1] ** -0.5)
        everything = torch.ones(shape, dtype=torch.bool)
        exists = everything if exists is None else exists.cpu()
        trained = exists if trained is None else trained.cpu() & exists
        self.trained = nn.Buffer(trained.to(self.V.device))
        with torch.no_grad():
            self.fixed = nn.Buffer(self.V.masked_fill((trained | ~exists).to(self.V.device), 0))
            self.V.masked_fill_(~self.trained, 0)

    @property
    def W(self) -> Tensor:
        """The weights in use, (n, m + n + 1): trained ones from V, the others from fixed."""
        return torch.where(self.trained, self.V, self.fixed)

    def initial_state(self) -> Tensor:
        return self.V.new_zeros(self.units)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.cat([x, state, x.new_ones(1)])
        y = self.f(self.W @ z)
        return y[: self.output_size], y
