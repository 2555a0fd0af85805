"""What several cells share: starting values, and the noise that regularises."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from carousel.errors import InputError


def identity(net: Tensor) -> Tensor:
    """net as it is: a linear unit."""
    return net


SQUASHING: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": identity,
}


def uniform_(parameters: Iterable[Tensor | None], bound: float) -> None:
    """Start the parameters that are there as U(-bound, bound)."""
    for parameter in parameters:
        if parameter is not None:
            nn.init.uniform_(parameter, -bound, bound)


def squashing(cell: str, option: str, name: str, offered: tuple[str, ...]) -> Callable[[Tensor], Tensor]:
    """The squashing function called `name`; InputError where it is not among those the cell offers."""
    if name not in offered:
        raise InputError(f"{cell}: expected {option} to be one of {', '.join(offered)}, got {name!r}")
    return SQUASHING[name]


def check_sizes(cell: str, **sizes: int) -> None:
    """InputError for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{cell}: expected {name} of 1 or more, got {size}")


def check_probability(cell: str, **options: float) -> None:
    """InputError for an option outside [0, 1)."""
    for option, value in options.items():
        if not 0 <= value < 1:
            raise InputError(f"{cell}: expected {option} in [0, 1), got {value}")


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
