"""Real-time recurrent learning: the exact gradient, carried forward.

Williams & Zipser, Neural Computation 1(2), 1989. With s (n,) the state, w the parameters and P = ds/dw, a step is::

    dE/dw  =  (dE/dw at s' fixed) + dE/ds' P'       the gradient of this step's loss
    P      =  J P' + (ds/dw at s' fixed)            J (n, n) = ds/ds'

P(0) is the derivative of the initial state, zero where that is not learned. Memory is n W numbers, time n^2 W a step, W
the number of weights. With an update at every step, P still holds the derivatives at the weights of earlier steps: the
gradient is exact in the limit of small rates, as the paper says.

Teacher forcing (the paper, section 2.2) puts the target in an output unit's place once its error is known, for the
steps after, and sets its row of P to zero. It is for `FullyRecurrent`, whose outputs are units.

SnAp-1 (Menick et al., ICLR 2021) keeps of P only the entries that a single step makes: those of a weight on what it
reaches at once. They are kept in as few rows as weights have common targets: 1 for `Elman`, 2 (h and c) for the `LSTM`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from carousel.cell import Cell, State, initial_state_of
from carousel.cells import FullyRecurrent
from carousel.errors import InputError
from carousel.learn.online import (
    Every,
    OnlineCell,
    OnlineRule,
    OnlineStep,
    Parameters,
    entries,
    learns_its_start,
)
from carousel.learn.sparsity import colouring, dependences
from carousel.network import StepLoss
from carousel.torch_private import pytree

Approximation = Literal["snap1"]


@dataclass(frozen=True)
class RTRL(OnlineRule):
    """Real-time recurrent learning, for any network with a state.

    Args:
        every:            "step": an update at every step that counts; "sequence": one at a sequence's end, from the
                          exact gradient.
        approximation:    None: exact. "snap1": of the sensitivities only those that one step makes.
        teacher_forcing:  targets stand in the place of output units after the steps that count.
    """

    approximation: Approximation | None = None
    teacher_forcing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.approximation not in (None, *get_args(Approximation)):
            raise InputError(f"RTRL: expected approximation None or 'snap1', got {self.approximation!r}")
        if self.approximation and self.teacher_forcing:
            raise InputError("RTRL: expected teacher_forcing without an approximation")

    def cell(self, network: Cell, loss: StepLoss, rate: float) -> OnlineCell:
        if self.teacher_forcing and not isinstance(network, FullyRecurrent):
            raise InputError(f"RTRL: expected a FullyRecurrent network for teacher forcing, got {type(network).__name__}")
        if self.approximation:
            return _SnAp1(network, loss, rate, self.every)
        return _Exact(network, loss, rate, self.every, self.teacher_forcing)


class _Forward(OnlineCell):
    """What the exact rule and its approximation share: every number of the state carries error."""

    units: Tensor

    def __init__(self, network: Cell, loss: StepLoss, rate: float, every: Every) -> None:
        super().__init__(network, loss, rate, every)
        state = network.initial_state()
        self.marked = tuple(leaf.is_floating_point() for leaf in pytree.tree_leaves(state))
        if not any(self.marked):
            raise InputError(f"RTRL: expected a network with a state of floating point, {type(network).__name__} has none")
        s = entries(state, self.marked)
        self.register_buffer("units", torch.eye(len(s), dtype=s.dtype, device=s.device))


class _Exact(_Forward):
    """Its traces: P by the parameters' names, (n, ...)."""

    def __init__(self, network: Cell, loss: StepLoss, rate: float, every: Every, teacher_forcing: bool) -> None:
        parameters = list(network.parameters())
        n = sum(leaf.numel() for leaf in pytree.tree_leaves(network.initial_state()))
        weights = sum(parameter.numel() for parameter in parameters)
        # Before a step's end there are P', J P' and the new P.
        need, there = sum(3 * n * parameter.numel() * parameter.element_size() for parameter in parameters), _memory()
        if need > there:
            raise InputError(
                f"RTRL: {type(network).__name__} with {n} numbers of state and {weights} weights needs 3 x {n} x {weights} "
                f"numbers, {need / 1e9:.3g} GB, and this machine has {there / 1e9:.3g} GB; "
                "expected a smaller network, or approximation='snap1'"
            )
        super().__init__(network, loss, rate, every)
        self.teacher_forcing, self.learned_start = teacher_forcing, learns_its_start(network)

    def first_traces(self, parameters: Parameters) -> Parameters:
        n = len(self.units)
        if not self.learned_start:
            return {name: value.new_zeros(n, *value.shape) for name, value in parameters.items()}
        return jacrev(lambda parameters: entries(initial_state_of(self.network, parameters), self.marked))(parameters)

    def learn(
        self, parameters: Parameters, x: OnlineStep, network: State, traces: Parameters
    ) -> tuple[Any, State, Parameters, Parameters]:
        y, after, found, error, pull = self.derivatives(parameters, x, network, self.marked)
        fresh, J = vmap(pull)(self.units)
        new_traces: Parameters = {}
        for name, P in traces.items():
            flat = P.reshape(len(J), -1)
            found[name] = found[name] + (error @ flat).reshape(found[name].shape)
            new_traces[name] = (J @ flat).reshape(P.shape) + fresh[name]
        if self.teacher_forcing:
            K = len(y)
            after = torch.where(x.counts, torch.cat([x.target, after[K:]]), after)
            # 0 for the rows of units whose place a target takes.
            kept = torch.cat([(~x.counts).to(after.dtype).expand(K), after.new_ones(len(after) - K)])
            new_traces = {name: kept.reshape(-1, *(1,) * (P.dim() - 1)) * P for name, P in new_traces.items()}
        return y, after, new_traces, found


class _SnAp1(_Forward):
    """Its traces (C, |w|): row c holds each weight's derivative of the one entry of colour c that it reaches at once."""

    owner: Tensor
    colours: Tensor
    pairs: Tensor
    reached: Tensor

    def __init__(self, network: Cell, loss: StepLoss, rate: float, every: Every) -> None:
        super().__init__(network, loss, rate, every)
        if network.input_size is None:
            raise InputError(f"RTRL: SnAp-1 expects a network whose input is a vector, got {type(network).__name__}")
        if learns_its_start(network):
            raise InputError(f"RTRL: SnAp-1 expects a fixed initial state; that of {type(network).__name__} is learned")
        parameters: Parameters = dict(network.named_parameters())
        _, patterns = dependences(network, self.marked, parameters)
        reach = torch.cat([pattern.flatten(1) for pattern in patterns.values()], 1)  # (n, |w|)
        groups = colouring(patterns)
        colours = torch.stack([self.units[group].sum(0) for group in groups])
        owner = torch.stack([torch.tensor(group)[reach[group].long().argmax(0)] for group in groups])
        self.register_buffer("colours", colours)
        self.register_buffer("owner", owner)
        self.register_buffer("reached", torch.stack([reach[group].any(0) for group in groups]).to(self.units))
        # Where J[owner of a, owner of b] stands in J, for every pair of colours and every weight.
        self.register_buffer("pairs", (owner[:, None] * len(self.units) + owner[None]).reshape(-1))

    def first_traces(self, parameters: Parameters) -> Tensor:
        return torch.zeros_like(self.reached)

    def learn(self, parameters: Parameters, x: OnlineStep, network: State, traces: Tensor) -> tuple[Any, State, Tensor, Parameters]:
        y, after, found, error, pull = self.derivatives(parameters, x, network, self.marked)
        C, weights = traces.shape
        fresh, _ = vmap(pull)(self.colours)
        _, J = vmap(pull)(self.units)
        carried = J.reshape(-1).index_select(0, self.pairs).reshape(C, C, weights)
        new_traces = self.reached * (carried * traces).sum(1) + torch.cat([part.reshape(C, -1) for part in fresh.values()], 1)
        through = (error.index_select(0, self.owner.reshape(-1)).reshape(C, weights) * traces).sum(0)
        first = 0
        for name, value in found.items():
            found[name] = value + through[first : first + value.numel()].reshape(value.shape)
            first += value.numel()
        return y, after, new_traces, found


def _memory() -> int:
    """The machine's main memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
