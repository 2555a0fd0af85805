"""The optimisers by name, and the one that torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, Optimizer, RMSprop

from carousel.errors import InputError
from carousel.learn.flat_parameters import flattened, whole, with_gradients
from carousel.names import check_optimizer
from carousel.torch_private import add_to_each


class GravesRMSprop(Optimizer):
    """RMSProp as in Graves, arXiv 1308.0850v5, equations 38-41; the NTM paper trains with it::

        n <- .95 n + .05 g^2;   m <- .95 m + .05 g;   d <- .9 d - rate g / sqrt(n - m^2 + 1e-4);   w <- w + d

    Args:
        params:    parameters, or groups of them, as for every torch optimiser.
        rate:      the learning rate.
        decay:     .95 above.
        momentum:  .9 above.
        eps:       1e-4 above.
    """

    def __init__(
        self, params: Iterable[Any], rate: float = 1e-4, *, decay: float = 0.95, momentum: float = 0.9, eps: float = 1e-4
    ) -> None:
        super().__init__(params, {"lr": rate, "decay": decay, "momentum": momentum, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; closure, where given, computes the loss anew first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            decay, momentum = group["decay"], group["momentum"]
            for w in with_gradients(group["params"]):
                g = [parameter.grad for parameter in w if parameter.grad is not None]
                g_all = whole(g)
                if g_all is None:
                    g_all, _ = flattened(g)
                slots = [self.state[parameter] for parameter in w]
                n, m, d = (_slot(name, w, slots) for name in ("n", "m", "d"))
                n.mul_(decay).addcmul_(g_all, g_all, value=1 - decay)
                m.mul_(decay).add_(g_all, alpha=1 - decay)
                spread = torch.addcmul(n, m, m, value=-1).add_(group["eps"]).sqrt_()
                d.mul_(momentum).addcdiv_(g_all, spread, value=-group["lr"])
                add_to_each(w, [slot["d"] for slot in slots])
        return loss


def _slot(name: str, w: list[Tensor], slots: list[dict[str, Tensor]]) -> Tensor:
    """n, m or d of these parameters as one flat tensor, whose parts the parameters' states, the slots, hold."""
    for parameter, slot in zip(w, slots, strict=True):
        if name not in slot:
            slot[name] = torch.zeros_like(parameter)
    parts = [slot[name] for slot in slots]
    flat = whole(parts)
    if flat is None:
        flat, parts = flattened(parts)
        for slot, part in zip(slots, parts, strict=True):
            slot[name] = part
    return flat


OPTIMIZERS: dict[str, Callable[[Iterable[Tensor], float], Optimizer]] = {
    "sgd": SGD,
    "momentum": partial(SGD, momentum=0.9, fused=True),
    "adam": partial(Adam, fused=True),
    "rmsprop": RMSprop,
    "rmsprop-graves": GravesRMSprop,
    "adagrad": Adagrad,
}
"""name -> factory(parameters, rate); fused where torch can on every device, one pass over the parameters."""


def optimizer_by_name(name: str, parameters: Iterable[Tensor], rate: float) -> Optimizer:
    """The optimiser `name` over the parameters; InputError for a name that is none, or a rate that cannot be."""
    check_optimizer(name)
    if not rate > 0:
        raise InputError(f"optimiser {name}: expected a rate above 0, got {rate}")
    return OPTIMIZERS[name](parameters, rate)
