"""Lowering: the seam between what the engine knows of a run and the code that runs it on a device.

Everything that names such code is behind it: how rows lie side by side, what threads do, which
library makes a product. `native/` is machine code for the CPU; `reference.py` is for the tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.engine.ir import Loop, Op
from carousel.engine.packing import Packing
from carousel.engine.scan_call import Call
from carousel.torch_private import function_modes

if TYPE_CHECKING:
    from carousel.engine.scan_function import Lowered

LoopRunner = Callable[[Sequence[Tensor], Packing], None]
"""Runs a loop on its buffers, in the order that `Loop` gives, on the rows of a packing."""


@dataclass(frozen=True)
class Gathering:
    """What the nodes of a forest read of others: by an index, of those that were there before, and of those made on the way.

    target:  (n, J, ...) where the nodes read; (n, ...) if there is `given`.
    index:   (n, J) places: 0 .. len(before) - 1 are in `before`, those that follow in `made`, any further one is nowhere (zero).
    before:  (m, ...) there from the start; None for nothing.
    made:    (l, ...) written on the way, before it is read.
    given:   (n, ...) what the J rows are added to, in their order; None where they stand side by side.
    """

    target: Tensor
    index: Tensor
    before: Tensor | None
    made: Tensor
    given: Tensor | None = None

    def all(self) -> Tensor:
        """What all nodes read, by PyTorch."""
        self.fill(0, len(self.target))
        return self.target

    def fill(self, start: int, stop: int) -> None:
        """Gather what the nodes start .. stop read, by PyTorch."""
        index = self.index[start:stop]
        befores = 0 if self.before is None else len(self.before)
        late = (index - befores).clamp(0, max(len(self.made) - 1, 0))
        rows = self.made.index_select(0, late.reshape(-1)).reshape(*index.shape, *self.made.shape[1:])
        if self.before is not None:
            early = index < befores
            rows[early] = self.before[index[early]]
        rows[index >= befores + len(self.made)] = 0
        if self.given is None:
            self.target[start:stop] = rows
            return
        total = self.given[start:stop]
        for row in rows.unbind(1):
            total = total + row
        self.target[start:stop] = total


HeightsRunner = Callable[[Sequence[Tensor], Sequence[Gathering], Tensor], None]
"""Runs a loop without carries on its buffers over the heights of a forest: the rows of step t are the nodes offsets[t] ..
offsets[t + 1] - 1, what they read is gathered before it, and a loop in reverse begins with the last step."""


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
    fixes_order: everything runs in one order on all machines (`bits="portable"`): what is in no recurrence is a loop too.
    """

    name: str
    device: str
    fixes_order = False

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

    @abstractmethod
    def over_heights(self, loop: Loop) -> HeightsRunner:
        """A loop without carries made ready to run over the heights of a forest; errors as in `compile`."""

    def sum_parts(self) -> int:
        """In how many parts a run makes what a loop sums over all rows and steps: the first axis of `summed` buffers."""
        return 1

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """A B, which sums over time are made by."""
        return a @ b

    def refuses_once(self, op: Op) -> str | None:
        """Why an operation may not be made by PyTorch once a call; None where it may."""
        return None

    def step(self, call: Call, lowered: Lowered) -> WholeStep | None:
        """The step of a call of one step of one sequence, weights and context kept as the code reads them; None for none."""
        return None

    def code(self, loop: Loop) -> str:
        """The text of what it makes of a loop."""
        return ""
