"""Batch: what tasks and data give, and what learners take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from carousel.torch_private import pytree


@dataclass(frozen=True)
class Batch:
    """B sequences side by side, time first.

    Attributes:
        inputs:   a tensor (T, B, ...) or a NamedTuple of such tensors.
        targets:  likewise, (T, B, ...).
        mask:     (T, B) bool; True where an output is asked for and counts in the loss.
        lengths:  (B,) int64, 1 <= length <= T; a sequence's state stops at its own end.
    """

    inputs: Any
    targets: Any
    mask: Tensor
    lengths: Tensor

    @property
    def size(self) -> int:
        """B, the number of sequences."""
        return self.mask.shape[1]

    @property
    def steps(self) -> int:
        """T, the number of time steps of the longest sequence."""
        return self.mask.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device (lengths stay where the loop reads them, on the CPU)."""

        def move(tree: Any) -> Any:
            return pytree.tree_map(lambda leaf: leaf.to(device), tree)

        return replace(self, inputs=move(self.inputs), targets=move(self.targets), mask=move(self.mask))

    def window(self, start: int, stop: int) -> Batch:
        """The time steps start..stop-1; sequences that have ended before have length 0 there."""

        def cut(tree: Any) -> Any:
            return pytree.tree_map(lambda leaf: leaf[start:stop], tree)

        if start == 0 and stop >= self.steps:
            return self
        steps = min(stop, self.steps) - start
        return Batch(cut(self.inputs), cut(self.targets), self.mask[start:stop], (self.lengths - start).clamp(0, steps))
