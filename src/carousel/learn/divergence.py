"""Where a number that is not finite comes from: found before it does harm, and named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.cell import State
from carousel.errors import InputError
from carousel.loop import scan
from carousel.network import Network, Sequence, StepLoss
from carousel.torch_private import pytree


class Diverged(InputError):
    """A loss or a gradient is infinite or not a number; the message says where it began."""


def check_loss(
    value: Tensor, network: Network, batch: Batch, loss: StepLoss, *, state: State, drawn: Tensor | None, start: int
) -> None:
    """Raise Diverged where the objective is not finite, after one more run that finds the first bad step.

    Args:
        value:  the objective of the batch.
        state:  the state that the run started from.
        drawn:  the state of the noise generator before the run.
        start:  the time step that the batch begins with, for windows of a longer one.
    """
    value = value.detach()
    if math.isfinite(value.item()):
        return
    for name, parameter in _named_parameters(network):
        if not torch.isfinite(parameter).all():
            raise Diverged(f"the loss is {float(value)}: parameter {name} is not finite; try a smaller rate, or clip the gradient")
    if not isinstance(network, Sequence):
        raise Diverged(f"the loss is {float(value)}; try a smaller rate, or clip the gradient")
    generator = None if drawn is None else torch.Generator().set_state(drawn)
    with torch.no_grad():
        outputs, _, states = scan(
            network.cell,
            batch.inputs,
            state,
            context=batch.context,
            lengths=batch.lengths,
            generator=generator,
            return_states=True,
            backend="eager",
        )
        each = torch.vmap(torch.vmap(loss))(outputs, batch.targets)
    places = [
        found
        for order, (what, tree) in enumerate((("input", batch.inputs), ("state", states), ("output", outputs), ("loss", each)))
        for path, leaf in pytree.tree_leaves_with_path(tree)
        if (found := _first(leaf, batch, order, what + pytree.keystr(path), counted=what == "loss")) is not None
    ]
    # No place: the sum of finite losses overflowed.
    where = "the sum over the steps overflows"
    if places:
        step, _, sequence, name = min(places)
        where = f"{name} is first not finite at time step {start + step} of sequence {sequence}"
    raise Diverged(f"the loss is {float(value)}: {where}; try a smaller rate, or clip the gradient")


def check_gradients(gradients: list[Tensor], network: Network) -> None:
    """Raise Diverged where a parameter's gradient is not finite.

    Args:
        gradients:  those of all parameters, as `flat_gradients` has them.
    """
    # A norm is found in a tenth of the time; it may be infinite where no number is.
    if all(math.isfinite(gradient.norm().item()) for gradient in gradients):
        return
    for name, parameter in _named_parameters(network):
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise Diverged(
                f"the gradient of parameter {name} is not finite though the loss is; try a smaller rate, or shorter windows"
            )


def _named_parameters(network: Network) -> Iterator[tuple[str, Tensor]]:
    """By the names that the user's own model has."""
    return (network.cell if isinstance(network, Sequence) else network).named_parameters()


def _first(leaf: Tensor, batch: Batch, order: int, name: str, counted: bool) -> tuple[int, int, int, Any] | None:
    """(time step, order within the step, sequence, name) of the first entry that is not finite, where there is one."""
    if not leaf.is_floating_point():
        return None
    bad = ~torch.isfinite(leaf).flatten(2).all(-1) if leaf.dim() > 2 else ~torch.isfinite(leaf)
    inside = batch.mask.cpu() if counted else torch.arange(batch.steps)[:, None] < batch.lengths
    found = (bad.cpu() & inside).nonzero()
    return None if len(found) == 0 else (int(found[0, 0]), order, int(found[0, 1]), name)
