"""Lowering: the seam between what the engine knows of a run and the code that runs it on a device.

Everything that names such code is behind it: how rows lie side by side, what threads do, which
library makes a product. `native/` is machine code for the CPU; `reference.py` is for the tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.engine.ir import Loop
from carousel.engine.packing import Packing
from carousel.engine.scan_call import Call
from carousel.torch_private import function_modes

if TYPE_CHECKING:
    from carousel.engine.scan_function import Lowered

LoopRunner = Callable[[Sequence[Tensor], Packing], None]
"""Runs a loop on its buffers, in the order that `Loop` gives, on the rows of a packing."""


class WholeStep(Protocol):
    """A whole step of one sequence, ready to be called; by several threads at once too."""

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is what this was made for, with its weights and the context unchanged."""

    def __call__(self, x: Any, state: Any) -> tuple[Any, Any] | None:
        """(y, next state); None where x or state is not like those that this was made for."""


class Lowering(ABC):
    """How loops are run.

    name:    of the backend.
    device:  PyTorch's name of where the buffers are.
    """

    name: str
    device: str

    def refuses(self, tensors: Iterable[Tensor]) -> str | None:
        """Why it cannot take these tensors, whatever the step does; None where it can."""
        return None

    def placing(self) -> AbstractContextManager[Any]:
        """Where tensors are made on its device, whatever the default device is."""
        return torch.device(self.device) if function_modes() else nullcontext()

    @abstractmethod
    def compile(self, loop: Loop) -> LoopRunner:
        """The loop made ready to run.

        Raises:
            InputError: an operation or element type that it has no code for.
        """

    def sum_parts(self) -> int:
        """In how many parts a run makes what a loop sums over all rows and steps: the first axis of `summed` buffers."""
        return 1

    def step(self, call: Call, lowered: Lowered) -> WholeStep | None:
        """The step of a call of one step of one sequence, weights and context kept as the code reads them; None for none."""
        return None

    def code(self, loop: Loop) -> str:
        """The text of what it makes of a loop."""
        return ""
