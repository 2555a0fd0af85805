"""Task: what a learner is to do, independent of any model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carousel.batch import Batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy of one step in nats; y (C,) are logits, the target is a class."""
    return -torch.log_softmax(y, 0).gather(0, target[None])[0]


class Task:
    """Makes batches, scores answers by its own criterion and draws a sample.

    Attributes:
        input_size:   length of the vector that a step of the input is; None where it is an index.
        output_size:  length of the vector y that a network must give.
        loss:         (y, target) of one step of one sequence -> scalar tensor. A static method, or an instance of a frozen
                      dataclass with ``__call__``, becomes part of the compiled step; a method runs outside of it.
    """

    input_size: int | None
    output_size: int
    loss: Callable[[Any, Any], Tensor]

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences drawn from `generator`, never from the global seed; lengths as the task names them."""
        raise NotImplementedError

    def validation(self) -> Batch:
        """The batch that training is watched on, the same at every call; data held back where there is any."""
        return self.sample(256, torch.Generator().manual_seed(0x5EED))

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """What the task's own source reports of the outputs (T, B, ...), by name."""
        raise NotImplementedError

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """A picture of the batch's first sequence: input, target and, where given, output."""
        raise NotImplementedError
