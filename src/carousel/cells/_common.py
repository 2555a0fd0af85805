"""What several cells share: starting values, and the noise that regularises."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from carousel.errors import InputError


def uniform_(parameters: Iterable[Tensor | None], bound: float) -> None:
    """Start the parameters that are there as U(-bound, bound)."""
    for parameter in parameters:
        if parameter is not None:
            nn.init.uniform_(parameter, -bound, bound)


def check_probability(name: str, **options: float) -> None:
    """InputError for an option outside [0, 1)."""
    for option, value in options.items():
        if not 0 <= value < 1:
            raise InputError(f"{name}: expected {option} in [0, 1), got {value}")


def dropped(value: Tensor, rate: float, noise: dict[str, Tensor] | None, name: str) -> Tensor:
    """value with entries dropped at `rate` and the rest scaled by 1 / (1 - rate); as it is in evaluation."""
    if not rate or noise is None:
        return value
    return torch.where(noise[name] < rate, 0.0, value / (1 - rate))


def zoned_out(new: Tensor, old: Tensor, rate: float, noise: dict[str, Tensor] | None, name: str) -> Tensor:
    """In training old where the draw is below `rate`, else new; in evaluation the expected value."""
    if not rate:
        return new
    if noise is None:
        return rate * old + (1 - rate) * new
    return torch.where(noise[name] < rate, old, new)
