"""Backpropagation through time, full and truncated.

Werbos, Proc. IEEE 78(10), 1990; Williams & Peng, Neural Computation 2(4), 1990.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from carousel.batch import Batch
from carousel.cell import Cell, State
from carousel.engine.scan_call import mapped
from carousel.errors import InputError
from carousel.learn.divergence import check_gradients, check_loss
from carousel.learn.flat_parameters import flat_gradients
from carousel.learn.learner import Learner
from carousel.network import Network, Sequence, StepLoss, as_network
from carousel.torch_private import pytree


@dataclass(frozen=True)
class BPTT(Learner):
    """The error goes back through the whole sequence, or through a window of it.

    Args:
        window:      None: the whole sequence, one update a batch. h: the sequence is cut into windows of
                     h steps; the state is carried from one to the next, the error is not, and there is
                     an update a window (windows without a step that counts make none). The noise that a
                     cell draws once a sequence is drawn once a window.
        every:       None: an update every `window` steps, as above. h': an update every h' steps, for the loss of
                     these h' steps, whose error goes back through h steps, BPTT(h; h') of Williams & Peng. The
                     steps before the last h' are run again, from the state that was there, with the weights of now.
        clip_norm:   scale the gradient down to this norm, all parameters together.
        clip_value:  clip every entry of the gradient to [-clip_value, clip_value], before clip_norm.
    """

    window: int | None = None
    every: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    _last: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)  # the model of the last batch

    def __post_init__(self) -> None:
        for name, value in (
            ("window", self.window),
            ("every", self.every),
            ("clip_norm", self.clip_norm),
            ("clip_value", self.clip_value),
        ):
            if value is not None and not value > 0:
                raise InputError(f"BPTT: expected {name} above 0 or None, got {value}")
        if self.window is not None and not isinstance(self.window, int):
            raise InputError(f"BPTT: expected window in whole steps or None, got {self.window}")
        if self.every is not None and (not isinstance(self.every, int) or self.window is None or self.window % self.every):
            raise InputError(
                f"BPTT: expected every to divide a window of whole steps, got every={self.every}, window={self.window}"
            )

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
        network = self._network(network)
        steps = self.every or self.window or max(batch.steps, 1)
        reach = (self.window or steps) // steps  # blocks that the error goes through
        states = [state]  # before each of the last blocks, the one to come among them
        parts, values = [], []
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        for start in range(0, max(batch.steps, 1), steps):
            states = states[-reach:]
            begin = start - (len(states) - 1) * steps
            seen = batch.window(begin, start + steps, counts_from=start)
            drawn = None if generator is None else generator.get_state()
            outputs, state, value = network.run_with_loss(seen, loss, states[0], generator=generator)
            check_loss(value, network, seen, loss, state=states[0], drawn=drawn, start=begin)
            if seen.mask.any():
                for parameter in parameters:
                    parameter.grad = None
                gradients = flat_gradients(learned, torch.autograd.grad(value, learned, allow_unused=True))
                check_gradients(gradients, network)
                self._clip(gradients)
                optimizer.step()
            states.append(_detached(state))
            parts.append(_detached(outputs if start == begin else pytree.tree_map(lambda leaf: leaf[start - begin :], outputs)))  # noqa: B023
            values.append(value.detach())
        outputs = parts[0] if len(parts) == 1 else pytree.tree_map(lambda *leaves: torch.cat(leaves), *parts)
        return torch.stack(values).sum(), outputs, states[-1]

    def fusion_refusal(self, network: Network | Cell, batch: Batch, loss: StepLoss) -> str | None:
        return self._network(network).fusion_refusal(batch, loss)

    def _network(self, model: Network | Cell) -> Network:
        """What a model is as a network; a cell's is kept from batch to batch, since it knows how cell and loss run as one."""
        if model is not self._last.get("model"):
            self._last.update(model=model, network=as_network(model))
        network: Network = self._last["network"]
        if self.window is not None and not isinstance(network, Sequence):
            raise InputError(f"BPTT: expected window=None for a {type(network).__name__}; windows are cut of sequences")
        return network

    def _clip(self, gradients: list[Tensor]) -> None:
        if self.clip_value is not None:
            for gradient in gradients:
                gradient.clamp_(-self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            norm = math.hypot(*(gradient.norm().item() for gradient in gradients))
            if norm > self.clip_norm:
                for gradient in gradients:
                    gradient.mul_(self.clip_norm / norm)


def _detached(tree: Any) -> Any:
    return None if tree is None else mapped(Tensor.detach, tree)
