"""Learner: how a network is changed by a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from carousel.batch import Batch
from carousel.cell import Cell, State
from carousel.network import Network, StepLoss


class Learner:
    """Base class of the learning rules."""

    def train_on(
        self,
        network: Network | Cell,
        batch: Batch,
        loss: StepLoss,
        optimizer: Optimizer,
        *,
        state: State = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Any, State]:
        """Make all the updates that the rule makes on one batch.

        Args:
            network:    what is trained, in training mode where its noise is wanted.
            batch:      B sequences.
            loss:       (y, target) of one step of one sequence -> scalar tensor.
            optimizer:  over the network's parameters.
            state:      the state to start from, tree of (B, ...); None for the network's own.
            generator:  the source of the network's noise.

        Returns:
            (objective, outputs, final state), all detached; see `carousel.network.objective`.

        Raises:
            InputError: a network that the rule does not know.
            Diverged: a value or a gradient is not finite; no update is made from it.
        """
        raise NotImplementedError

    def fusion_refusal(self, network: Network | Cell, batch: Batch, loss: StepLoss) -> str | None:
        """Why the loss runs outside of the compiled step, on batches like this one; None where it does not."""
        return None
