"""Many tensors as the parts of one: what is done to all parameters is then one operation, not one for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from carousel.torch_private import base, flatten, unflatten


def with_gradients(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """The parameters that have a gradient, those of one dtype and device together."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    return list(kinds.values())


def whole(parts: Sequence[Tensor]) -> Tensor | None:
    """The flat tensor that consists of these parts in this order; None where there is none."""
    flat = base(parts[0])
    if flat is None or flat.dim() != 1:
        return None
    start = 0
    for part in parts:
        if base(part) is not flat or part.storage_offset() != start:
            return None
        start += part.numel()
    return flat if start == flat.numel() else None


def flattened(parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """(a new flat tensor with the entries of all, its parts in the shapes of those given)."""
    flat = flatten(parts)
    return flat, list(unflatten(flat, parts))


@torch.no_grad()
def flat_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[Tensor]:
    """The gradients of all parameters, flat, one tensor for each dtype and device; each `grad` is a part of one afterwards."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    made = []
    for group in with_gradients(parameters):
        flat, parts = flattened([parameter.grad for parameter in group if parameter.grad is not None])
        for parameter, part in zip(group, parts, strict=True):
            parameter.grad = part
        made.append(flat)
    return made
