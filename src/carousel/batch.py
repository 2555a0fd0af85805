"""Batch: what tasks and data give, and what learners take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from carousel.errors import InputError
from carousel.torch_private import pytree


@dataclass(frozen=True)
class Batch:
    """B sequences side by side, time first; or a forest of B trees, whose inputs are a `Forest`, targets and mask (n, ...) of its
    nodes, and lengths the trees' numbers of nodes.

    Attributes:
        inputs:   a tensor (T, B, ...) or a NamedTuple of such tensors.
        targets:  likewise, (T, B, ...).
        mask:     (T, B) bool; True where an output is asked for and counts in the loss.
        lengths:  (B,) int64, 1 <= length <= T; a sequence's state stops at its own end.
        context:  tree of (B, ...), constant over time, for networks that read one; None for no context.
    """

    inputs: Any
    targets: Any
    mask: Tensor
    lengths: Tensor
    context: Any = None

    @property
    def size(self) -> int:
        """B, the number of sequences, or of trees."""
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """T, the number of time steps of the longest sequence."""
        return self.mask.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device (lengths stay where the loop reads them, on the CPU)."""

        def move(tree: Any) -> Any:
            return pytree.tree_map(lambda leaf: None if leaf is None else leaf.to(device), tree)

        return replace(self, inputs=move(self.inputs), targets=move(self.targets), mask=move(self.mask), context=move(self.context))

    def window(self, start: int, stop: int, counts_from: int = 0) -> Batch:
        """The time steps start..stop-1, of which those from `counts_from` on may count; sequences that have ended before have
        length 0 there."""

        def cut(tree: Any) -> Any:
            return pytree.tree_map(lambda leaf: leaf[start:stop], tree)

        if start == 0 and stop >= self.steps and counts_from <= 0:
            return self
        steps = min(stop, self.steps) - start
        mask = self.mask[start:stop]
        if counts_from > start:
            mask = mask & (torch.arange(start, start + steps, device=mask.device) >= counts_from)[:, None]
        lengths = (self.lengths - start).clamp(0, steps)
        return replace(self, inputs=cut(self.inputs), targets=cut(self.targets), mask=mask, lengths=lengths)


class Padded(NamedTuple):
    """Sequences side by side on one axis S, as a cell's context. The cell sees values (S, ...) and mask (S,)."""

    values: Tensor
    """(B, S, ...), zero past a sequence's end."""
    mask: Tensor
    """(B, S) bool, True within a sequence."""


def pad_context(sequences: Sequence[Tensor]) -> Padded:
    """Sources of different lengths, (length, ...) each, as context for a cell that attends to them.

    S is 8, 16, 32 and so on, whichever holds the longest: a cell is compiled for the shapes of its context, and so for a
    handful of them rather than for every length.

    Raises:
        InputError: no sequences, or shapes that differ in more than the length.
    """
    if not sequences or any(leaf.shape[1:] != sequences[0].shape[1:] for leaf in sequences):
        raise InputError(
            f"pad_context: expected sequences (length, ...) of one kind, got {[tuple(leaf.shape) for leaf in sequences]}"
        )
    lengths = torch.tensor([len(leaf) for leaf in sequences])
    S = max(8, 1 << (int(lengths.max()) - 1).bit_length())
    values = sequences[0].new_zeros(len(sequences), S, *sequences[0].shape[1:])
    for row, leaf in zip(values, sequences, strict=True):
        row[: len(leaf)] = leaf
    return Padded(values, (torch.arange(S) < lengths[:, None]).to(values.device))
