"""Learner: how a network is changed by a batch; and the objective that every rule lowers."""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from carousel.batch import Batch
from carousel.cell import Cell, NoiseShapes, State
from carousel.loop import scan
from carousel.torch_private import pytree

StepLoss = Callable[[Any, Any], Tensor]
"""(y, target) of one step of one sequence -> scalar. A plain function (no method, no closure) gives the same for the same; it
may become part of the cell's step, and is then called when that is captured only."""


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
    targets = _counted(batch.targets, batch.mask)
    flat_outputs, flat_targets = pytree.tree_map(lambda leaf: leaf.flatten(0, 1), (outputs, targets))
    each = torch.vmap(loss)(flat_outputs, flat_targets).reshape(batch.mask.shape)  # (T, B)
    return torch.where(batch.mask, each, 0.0).sum(0).mean()


class Judged(Cell):
    """A cell with the loss of its step, so that the engine runs and differentiates both.

    x is (x, target, whether the step counts), y is (y, loss), the loss zero where the step does not count.
    """

    def __init__(self, cell: Cell, loss: StepLoss) -> None:
        super().__init__()
        self.cell, self.loss = cell, loss

    def initial_state(self) -> State:
        return self.cell.initial_state()

    def noise_shapes(self) -> NoiseShapes:
        return self.cell.noise_shapes()

    def step(self, x: Any, state: State, *, noise: dict[str, Tensor] | None = None) -> tuple[Any, State]:
        x, target, counts = x
        y, state = self.cell(x, state, noise=noise)
        each = self.loss(y, _counted(target, counts))
        return (y, torch.where(counts, each, torch.zeros_like(each))), state

    @classmethod
    def of(cls, cell: Cell, loss: StepLoss, batch: Batch, state: State) -> Judged | None:
        """The two together; None where the loss may change from call to call, or has no native form (on batches like this one)."""
        if not isinstance(loss, FunctionType) or loss.__closure__ is not None:
            return None
        unchanging = (type(None), type, ModuleType, FunctionType, BuiltinFunctionType)
        if not all(isinstance(loss.__globals__.get(name), unchanging) for name in loss.__code__.co_names):
            return None
        judged = cls(cell, loss)
        judged.training = cell.training
        try:
            with torch.no_grad():
                inputs = batch.inputs, batch.targets, batch.mask
                scan(judged, inputs, state, lengths=batch.lengths, generator=torch.Generator(), backend="native")
        except Exception:  # whatever is wrong is said where the cell runs alone
            return None
        return judged


def _counted(targets: Any, mask: Tensor) -> Any:
    """The targets, zero where none counts: there they may be anything, NaN included, and none of it may reach a gradient."""
    return pytree.tree_map(lambda leaf: torch.where(_like(mask, leaf), leaf, leaf.new_zeros(())), targets)


def _like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (leaf.dim() - mask.dim()))
