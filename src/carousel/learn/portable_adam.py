"""Adam in single IEEE operations, for training that repeats to the last bit on every machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from carousel.errors import InputError


class PortableAdam(Optimizer):
    """Adam (Kingma and Ba 2015), each multiplication, addition, division and root rounded on its own, in one order.

    PyTorch's versions round some of them together, others not, by processor. With gradients of ``bits="portable"``
    the weights are the same to the last bit on every machine. Powers of the betas are running products in float64.

    Args:
        parameters:  float32 tensors on the CPU.
        lr:          above 0.
        betas:       decay of the means of gradients and of their squares, each in 0..1 (1 excluded).
        eps:         added to the root of the mean square, at least 0.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        if not (lr > 0 and eps >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise InputError(f"PortableAdam: expected lr > 0, eps >= 0 and betas in 0..1, got {lr}, {eps} and {betas}")
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            if parameter.dtype is not torch.float32 or not parameter.is_cpu:
                raise InputError(f"PortableAdam: expected float32 on the CPU, got {parameter.dtype} on {parameter.device}")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._change(parameter, parameter.grad, group["lr"], group["betas"], group["eps"])
        return loss

    def _change(self, parameter: Tensor, gradient: Tensor, lr: float, betas: tuple[float, float], eps: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter), powers=(1.0, 1.0))
        mean, square = state["mean"], state["square"]
        first, second = state["powers"] = tuple(power * beta for power, beta in zip(state["powers"], betas, strict=True))
        mean.mul_(betas[0]).add_(gradient * (1 - betas[0]))
        square.mul_(betas[1]).add_((gradient * gradient).mul_(1 - betas[1]))
        size = square * (1 / (1 - second))
        np.sqrt(size.numpy(), out=size.numpy())  # PyTorch's root is not always the nearest number
        size.add_(eps)
        parameter.sub_((mean * (lr / (1 - first))).div_(size))
