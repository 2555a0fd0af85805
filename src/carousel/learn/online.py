"""Online learning: the rule as one step of a cell, whose state carries the parameters.

An online rule needs no way back through time: at every step it has the gradient of that step's loss. Written as
the step of a cell, network and rule run by `scan` like any other: natively, many steps a call, and each row a trial
with parameters of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.func import functional_call, vjp
from torch.optim import SGD, Optimizer

from carousel.batch import Batch
from carousel.cell import Cell, State, initial_state_of
from carousel.engine.made import refuse_made_weights
from carousel.errors import InputError
from carousel.learn.divergence import Diverged
from carousel.learn.learner import Learner
from carousel.loop import scan
from carousel.network import Network, StepLoss, cell_of, objective
from carousel.torch_private import pytree

Every = Literal["step", "sequence"]
Parameters = dict[str, Tensor]


class OnlineStep(NamedTuple):
    """What an `OnlineCell` gets at a step: the network's input, the target, and three flags (bool).

    counts: the target counts here; first, last: this step begins, ends a sequence.
    """

    input: Any
    target: Any
    counts: Tensor
    first: Tensor
    last: Tensor


class OnlineState(NamedTuple):
    """The parameters by name, the learning rate, the network's state, the rule's own memory, and what a sequence has
    added up of the gradient (empty where there is an update at every step)."""

    parameters: Parameters
    rate: Tensor
    network: State
    traces: Any
    gradient: Parameters


class OnlineCell(Cell):
    """A network under an online rule: `step` makes a step of the network and the update that follows from it.

    y is the network's, made before the update. The state begins with the network's own parameters.

    Args:
        network:  the cell that learns.
        loss:     (y, target) of one step -> scalar tensor.
        rate:     the learning rate; a rate of 0 changes nothing.
        every:    "step": an update at every step that counts; "sequence": one at a sequence's end.
    """

    is_differentiated = False  # PyTorch's third derivative of layer_norm is wrong, for one

    def __init__(self, network: Cell, loss: StepLoss, rate: float, every: Every) -> None:
        super().__init__()
        if network.training and network.noise_shapes():
            raise InputError(f"{type(self).__name__}: expected a network without noise, got {type(network).__name__}; call .eval()")
        if next(network.parameters(), None) is None:
            raise InputError(f"{type(self).__name__}: expected a network with parameters, {type(network).__name__} has none")
        refuse_made_weights(type(self).__name__, network)
        self.network, self.loss, self.rate, self.every = network, loss, rate, every

    def first_traces(self, parameters: Parameters) -> Any:
        """The rule's memory before a sequence's first step."""
        raise NotImplementedError

    def learn(self, parameters: Parameters, x: OnlineStep, network: State, traces: Any) -> tuple[Any, State, Any, Parameters]:
        """(y, next state of the network, next traces, gradient of this step's loss)."""
        raise NotImplementedError

    def derivatives(
        self, parameters: Parameters, x: OnlineStep, network: State, marked: Sequence[bool]
    ) -> tuple[Any, State, Parameters, Tensor, Any]:
        """(y, next state, dE/dw at s' fixed, dE/ds', pull) of one step, s the entries of the marked leaves of the state.

        pull(v) gives v ds/dw by name and v ds/ds'.
        """

        def loss(parameters: Parameters, s: Tensor) -> tuple[Tensor, tuple[Any, State]]:
            y, after = functional_call(self.network, parameters, (x.input, with_entries(network, marked, s)))
            return self.loss(y, x.target), (y, after)

        def carry(parameters: Parameters, s: Tensor) -> Tensor:
            return entries(loss(parameters, s)[1][1], marked)

        before = entries(network, marked)
        value, pull_loss, (y, after) = vjp(loss, parameters, before, has_aux=True)  # type: ignore[misc]
        found, error = pull_loss(torch.ones_like(value))
        _, pull = vjp(carry, parameters, before)  # type: ignore[misc]
        return y, after, found, error, pull

    def initial_state(self) -> OnlineState:
        parameters = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        one = next(iter(parameters.values()))
        gradient = {} if self.every == "step" else _zeros(parameters)
        start = _plain(self.network.initial_state())
        return OnlineState(parameters, one.new_tensor(self.rate), start, _plain(self.first_traces(parameters)), gradient)

    def step(self, x: OnlineStep, state: OnlineState) -> tuple[Any, OnlineState]:
        begun = initial_state_of(self.network, state.parameters), self.first_traces(state.parameters)
        network, traces = _where(x.first, begun, (state.network, state.traces))
        # A target that does not count may be anything, NaN included.
        target = pytree.tree_map(lambda leaf: torch.where(x.counts, leaf, 0.0) if leaf.is_floating_point() else leaf, x.target)
        y, network, traces, found = self.learn(state.parameters, x._replace(target=target), network, traces)
        parameters, rate = state.parameters, state.rate
        if self.every == "step":
            rate = torch.where(x.counts, rate, 0.0)
            updated = {name: parameters[name] - rate * found[name] for name in parameters}
            return y, OnlineState(updated, state.rate, network, traces, {})
        share = x.counts.to(rate.dtype)
        gradient = {name: state.gradient[name] + share * found[name] for name in parameters}
        rate = torch.where(x.last, rate, 0.0)
        updated = {name: parameters[name] - rate * gradient[name] for name in parameters}
        gradient = {name: torch.where(x.last, 0.0, gradient[name]) for name in gradient}
        return y, OnlineState(updated, state.rate, network, traces, gradient)


@dataclass(frozen=True)
class OnlineRule(Learner):
    """Base of the rules that learn while the sequence runs, one sequence after the other, with plain SGD.

    Args:
        every:  "step": an update at every step that counts; "sequence": one at a sequence's end.
    """

    every: Every = "step"

    def __post_init__(self) -> None:
        if self.every not in get_args(Every):
            raise InputError(f"{type(self).__name__}: expected every to be one of {', '.join(get_args(Every))}, got {self.every!r}")

    def cell(self, network: Cell, loss: StepLoss, rate: float) -> OnlineCell:
        """Network and rule as one cell, for streams of sequences and for trials side by side."""
        raise NotImplementedError

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
        """As `Learner.train_on`, the batch's sequences one after the other. Every one begins in the cell's own state, so
        `state` must be None, and None is given for the final one."""
        cell = cell_of(network, type(self).__name__)
        if batch.context is not None:
            raise InputError(f"{type(self).__name__}: expected a batch without context")
        if state is not None:
            raise InputError(f"{type(self).__name__}: every sequence begins in the cell's own state; expected state=None")
        online = self.cell(cell, loss, _plain_rate(type(self).__name__, optimizer))
        with torch.no_grad():
            flat, final = scan(online, stream(batch))
            for name, value in final.parameters.items():
                if not torch.isfinite(value).all():
                    raise Diverged(f"parameter {name} is not finite after the update; try a smaller rate")
            outputs = pytree.tree_map(lambda leaf: as_batch(leaf[:, 0], batch), flat)
            value = objective(outputs, batch, loss)
            if not torch.isfinite(value):
                raise Diverged(f"the loss is {float(value)}; try a smaller rate")
            for name, parameter in cell.named_parameters():
                parameter.copy_(final.parameters[name][0])
        return value, outputs, None


def learns_its_start(network: Cell) -> bool:
    """Whether the network's initial state depends on its parameters."""
    with torch.enable_grad():
        return any(leaf.requires_grad for leaf in pytree.tree_leaves(network.initial_state()))


def entries(state: State, marked: Sequence[bool]) -> Tensor:
    """s (n,): the entries of the marked leaves of a state, one after the other."""
    parts = [leaf.reshape(-1) for leaf, mark in zip(pytree.tree_leaves(state), marked, strict=True) if mark]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def with_entries(state: State, marked: Sequence[bool], s: Tensor) -> State:
    """The state with s in it, as `entries` orders it."""
    leaves, spec = pytree.tree_flatten(state)
    first = 0
    for number, mark in enumerate(marked):
        if mark:
            size, shape = leaves[number].numel(), leaves[number].shape
            leaves[number] = (s if size == len(s) else s[first : first + size]).reshape(shape)
            first += size
    return pytree.tree_unflatten(leaves, spec)


def stream(batch: Batch) -> OnlineStep:
    """The sequences of a batch one after the other, as the steps of one row: leaves (N, 1, ...), N the sum of the lengths."""
    inside = (torch.arange(batch.steps) < batch.lengths[:, None]).flatten().nonzero()[:, 0]  # of (B, T)
    sequence, step = inside // max(batch.steps, 1), inside % max(batch.steps, 1)
    place = step * batch.size + sequence  # of (T, B)

    def joined(leaf: Tensor) -> Tensor:
        return leaf.flatten(0, 1).index_select(0, place)[:, None]

    first, last = step == 0, step == batch.lengths[sequence] - 1
    inputs, targets = (pytree.tree_map(joined, tree) for tree in (batch.inputs, batch.targets))
    return OnlineStep(inputs, targets, joined(batch.mask), first[:, None], last[:, None])


def side_by_side(cells: Sequence[OnlineCell]) -> OnlineState:
    """The first states of several networks under one rule, as the rows of a `scan` of any of these cells."""
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *(cell.initial_state() for cell in cells))


def half_squared_error(y: Tensor, target: Tensor) -> Tensor:
    """sum (target - y)^2 / 2 of one step: with it the error of output unit k is (t_k - y_k), as in the papers of the rules."""
    return ((target - y) ** 2).sum() / 2


def as_batch(leaf: Tensor, batch: Batch) -> Tensor:
    """(T, B, ...) of what a stream of the batch's sequences has, (N, ...); zero past a sequence's end."""
    inside = torch.arange(batch.steps) < batch.lengths[:, None]
    result = leaf.new_zeros(batch.size, batch.steps, *leaf.shape[1:])
    result[inside] = leaf
    return result.transpose(0, 1)


def _plain_rate(rule: str, optimizer: Optimizer) -> float:
    rates = {group["lr"] for group in optimizer.param_groups}
    options = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
    if (
        not isinstance(optimizer, SGD)
        or len(rates) != 1
        or any(group[name] for group in optimizer.param_groups for name in options)
    ):
        raise InputError(f"{rule}: it makes its updates itself; expected plain torch.optim.SGD with one rate (optimizer 'sgd')")
    return float(rates.pop())


def _where(flag: Tensor, yes: Any, no: Any) -> Any:
    return pytree.tree_map(lambda a, b: torch.where(flag, a, b), yes, no)


def _zeros(tree: Any) -> Any:
    return pytree.tree_map(torch.zeros_like, tree)


def _plain(tree: Any) -> Any:
    return pytree.tree_map(Tensor.detach, tree)
