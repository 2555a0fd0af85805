"""A task and a network that train in milliseconds."""

from typing import Any

import torch
from torch import Tensor, nn

from carousel import Batch, Stack
from carousel.cells import LSTM
from carousel.task import Task


class RunningMean(Task):
    """Give the mean of the inputs so far; lengths differ."""

    input_size = 1
    output_size = 1

    def loss(self, y: Tensor, target: Tensor) -> Tensor:
        return (y - target).square().sum()

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        steps = lengths.get("steps", 6)
        x = torch.randn(steps, B, 1, generator=generator)
        own = torch.randint(1, steps + 1, (B,), generator=generator)
        count = torch.arange(1, steps + 1)[:, None]
        return Batch(x, x.cumsum(0) / count[..., None], count <= own, own)

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        return {"MAE": float((outputs - batch.targets).abs()[batch.mask].mean())}


def network(seed: int = 0, **options: Any) -> Stack:
    """A small LSTM with a readout; the same weights for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Stack(LSTM(1, 5, **options), readout=nn.Linear(5, 1))
