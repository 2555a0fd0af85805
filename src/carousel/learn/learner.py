"""Learner: how a network is changed by a batch; and the objective that every rule lowers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from carousel.batch import Batch
from carousel.cell import Cell, State

StepLoss = Callable[[Any, Any], Tensor]
"""(y, target) of one step of one sequence -> scalar."""


class Learner:
    """Base class of the learning rules."""

    def train_on(
        self,
        cell: Cell,
        batch: Batch,
        loss: StepLoss,
        optimizer: Optimizer,
        *,
        state: State = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Any, State]:
        """Make all the updates that the rule makes on one batch.

        Args:
            cell:       the network, in training mode where its noise is wanted.
            batch:      B sequences.
            loss:       (y, target) of one step of one sequence -> scalar tensor.
            optimizer:  over the cell's parameters.
            state:      the state to start from, tree of (B, ...); None for the cell's own.
            generator:  the source of the cell's noise.

        Returns:
            (objective, outputs, final state), all detached; see `objective`.

        Raises:
            Diverged: a value or a gradient is not finite; no update is made from it.
        """
        raise NotImplementedError


def objective(outputs: Any, batch: Batch, loss: StepLoss) -> Tensor:
    """The sum of the loss over the steps that count, averaged over the B sequences.

    Args:
        outputs:  tree of (T, B, ...), as `scan` gives them.
        batch:    targets (T, B, ...) and mask (T, B).
        loss:     (y, target) of one step of one sequence -> scalar tensor.
    """
    # Targets that do not count may be anything, NaN included; none of it may reach a gradient.
    targets = pytree.tree_map(lambda leaf: torch.where(_like(batch.mask, leaf), leaf, leaf.new_zeros(())), batch.targets)
    flat_outputs, flat_targets = pytree.tree_map(lambda leaf: leaf.flatten(0, 1), (outputs, targets))
    each = torch.vmap(loss)(flat_outputs, flat_targets).reshape(batch.mask.shape)  # (T, B)
    return torch.where(batch.mask, each, 0.0).sum(0).mean()


def _like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (leaf.dim() - mask.dim()))
