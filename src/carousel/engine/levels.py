"""A plan's stages over forests: a loop runs over heights instead of steps, and the state before it is gathered by an index.

The plan is that of any step: what is in no cycle (products with x, sums for the weights' gradients) is done
for all nodes at once. In a loop, the nodes of one height are the rows of one step. Before it their
children's states are gathered from where they were written; backward, each node gathers what its
parents' steps gave for it, in the order of the parents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from carousel.cell import Cell
from carousel.engine import batched
from carousel.engine.ir import STEP, Graph, Loop, Value
from carousel.engine.lock import LOCK
from carousel.engine.loop_distribution import Batched, Recurrence, Shift, Stage
from carousel.engine.lowering import LoopRunner, Lowering
from carousel.engine.packing import Packing, packing
from carousel.engine.plan import Plan, make_plan
from carousel.engine.scan_call import Call
from carousel.engine.scan_function import Lowered, lower
from carousel.engine.sums_over_time import compute

Env = dict[Value, Tensor]


@dataclass(frozen=True)
class Levels:
    """Where the nodes of a forest stand; as in `carousel.forest.Schedule`."""

    leaves: int
    offsets: list[int]
    children: Tensor
    parents: Tensor

    @property
    def inner(self) -> int:
        """How many nodes have children."""
        return len(self.children)


def run(cell: Cell, call: Call, levels: Levels, leaf_states: Sequence[Tensor], lowering: Lowering) -> tuple[Tensor, ...]:
    """The states (inner, ...) of the nodes that have children, leaf by leaf of the state's tree.

    Args:
        call:         inputs (1, inner, ...) and, for their shapes only, the children's states (inner, K, ...).
        leaf_states:  (leaves, ...) those of the nodes without children.

    Raises:
        UnsupportedStep: the merge has an operation that cannot be lowered.
    """
    lowered = lower(cell, call, lowering)
    graph = lowered.graph
    env = dict(graph.constants)
    env.update(zip(graph.weights, call.cell_now.weights.values(), strict=True))
    env.update(zip(graph.inputs, [leaf[0] for leaf in call.leaves[0]], strict=True))
    rows = packing(1, levels.inner, None)
    for stage in lowered.prelude:
        stage(env, {}, rows, None)
    arguments = [env[value] for value in lowered.arguments]
    grad = torch.is_grad_enabled()
    needs = tuple(grad and leaf.requires_grad for leaf in arguments)
    state_needs = tuple(grad and leaf.requires_grad for leaf in leaf_states)
    program = _program(lowered, needs, state_needs)
    if True in needs or True in state_needs:
        made: tuple[Tensor, ...] = _Fold.apply(program, levels, *arguments, *leaf_states)
        return made
    return program.run_forward(levels, arguments, leaf_states)[0]


_programs: WeakKeyDictionary[Lowered, dict[Any, LevelProgram]] = WeakKeyDictionary()


def _program(lowered: Lowered, needs: tuple[bool, ...], state_needs: tuple[bool, ...]) -> LevelProgram:
    """The program for these gradients; made when first asked for."""
    with LOCK:
        own = _programs.setdefault(lowered, {})
        if (needs, state_needs) not in own:
            own[needs, state_needs] = LevelProgram(
                make_plan(lowered.graph, needs, state_needs, return_states=False), lowered.lowering
            )
        return own[needs, state_needs]


class LevelProgram:
    """A plan made ready to run over forests."""

    def __init__(self, plan: Plan, lowering: Lowering) -> None:
        self.plan, self.lowering = plan, lowering
        lead = plan.graph.lead if plan.backward is None else plan.backward.lead

        def ready(stages: Sequence[Stage]) -> list[Callable[..., None]]:
            return [
                _at_once(stage, lead, plan.graph)
                if isinstance(stage, Batched)
                else _shift(stage)
                if isinstance(stage, Shift)
                else _Loop(stage, lowering)
                for stage in stages
            ]

        self.forward = ready(plan.stages)
        self.invariant, self.backward, self.closing = (
            ([], [], [])
            if plan.backward is None
            else map(ready, (plan.backward.invariant, plan.backward.stages, plan.backward.closing))
        )

    def run_forward(
        self, levels: Levels, arguments: Sequence[Tensor], leaf_states: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """(states (inner, ...), what backward needs)."""
        plan, lead = self.plan, self.plan.graph.lead
        env = {**plan.graph.constants, **dict(zip(plan.arguments, arguments, strict=True))}
        states = _Upward(levels, dict(zip((carry.before for carry in plan.carries), leaf_states, strict=True)))
        for stage in self.forward:
            stage(env, states, self.lowering)
        made = []
        for carry in plan.carries:
            after = env[carry.after]
            made.append(after if lead[carry.after] == STEP else after.expand(levels.inner, *after.shape))
        return tuple(made), [env[value] if value in env else states.gather_all(value) for value in plan.saved]

    def run_backward(
        self, levels: Levels, arguments: Sequence[Tensor], saved: Sequence[Tensor], cotangents: Sequence[Tensor]
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """(gradients of the arguments, of the leaves' states), None where there is none."""
        plan, backward = self.plan, self.plan.backward
        assert backward is not None
        env = {**plan.graph.constants, **backward.constants}
        env.update(zip((*plan.arguments, *plan.saved), (*arguments, *saved), strict=True))
        given = {carry.before: g for carry, g in zip(backward.carries, cotangents, strict=True) if carry is not None}
        states = _Downward(levels, given)
        for stage in (*self.invariant, *self.backward):
            stage(env, states, self.lowering)
        rows = packing(1, levels.inner, None)
        for total in backward.totals:
            env[total.output] = compute(total, rows, None, [env[value] for value in total.inputs])
        for stage in self.closing:
            stage(env, states, self.lowering)
        gradients: list[Tensor | None] = []
        for value, tensor, needed in zip(plan.arguments, arguments, backward.needing, strict=True):
            found = backward.gradients.get(value)
            gradients.append(env[found] if found is not None else torch.zeros_like(tensor) if needed else None)
        return gradients, [None if carry is None else states.of_leaves(carry.before) for carry in backward.carries]


class _Upward:
    """The states as they come about: of each carry (leaves + inner + 1, ...), the last row zero for a child that is not there."""

    def __init__(self, levels: Levels, leaf_states: dict[Value, Tensor]) -> None:
        self.levels = levels
        self.bounds = list(pairwise(levels.offsets))
        self.buffers: Env = {}
        for value, leaf in leaf_states.items():
            buffer = leaf.new_empty((levels.leaves + levels.inner + 1, *leaf.shape[1:]))
            buffer[: levels.leaves] = leaf
            buffer[-1] = 0
            self.buffers[value] = buffer

    def place(self, value: Value) -> Tensor:
        """Where a loop reads what it gathers, (inner, K, ...)."""
        like = self.buffers[value]
        return like.new_empty((self.levels.inner, *value.shape))

    def gather(self, value: Value, place: Tensor, start: int, stop: int) -> None:
        """The children's states of some nodes, to their place."""
        index = self.levels.children[start:stop].reshape(-1)
        torch.index_select(self.buffers[value], 0, index, out=place[start:stop].reshape(len(index), *place.shape[2:]))

    def gather_all(self, value: Value) -> Tensor:
        place = self.place(value)
        self.gather(value, place, 0, self.levels.inner)
        return place

    def results(self, before: Value, after: Value) -> Tensor:
        """Where a loop writes what later nodes gather, (inner, ...)."""
        return self.buffers[before][self.levels.leaves : -1]

    def settle(self, before: Value, after: Value, made: Tensor) -> Tensor:
        """Take a state that is known for all nodes, and give what each reads."""
        self.results(before, after).copy_(made)
        return self.gather_all(before)


class _Downward:
    """The cotangents: of each carry what the nodes' states have from outside, and (inner * K + 1, ...) what each gives a child."""

    def __init__(self, levels: Levels, given: Env) -> None:
        self.levels = levels
        self.bounds = list(pairwise(levels.offsets))[::-1]
        self.given = given
        self.sent: Env = {}

    def place(self, value: Value) -> Tensor:
        return self.given[value].new_empty((self.levels.inner, *value.shape))

    def gather(self, value: Value, place: Tensor, start: int, stop: int) -> None:
        leaves = self.levels.leaves
        came = self._from_parents(value, start + leaves, stop + leaves)
        torch.add(self.given[value][start:stop], came, out=place[start:stop])

    def results(self, before: Value, after: Value) -> Tensor:
        return self._sent(before, after)[:-1].reshape(self.levels.inner, *after.shape)

    def settle(self, before: Value, after: Value, made: Tensor) -> Tensor:
        self.results(before, after).copy_(made)
        place = self.place(before)
        self.gather(before, place, 0, self.levels.inner)
        return place

    def of_leaves(self, value: Value) -> Tensor | None:
        return self._from_parents(value, 0, self.levels.leaves) if value in self.sent else None

    def _sent(self, before: Value, after: Value) -> Tensor:
        if before not in self.sent:
            slots = self.levels.inner * after.shape[0]
            self.sent[before] = self.given[before].new_empty((slots + 1, *after.shape[1:]))
            self.sent[before][-1] = 0
        return self.sent[before]

    def _from_parents(self, value: Value, start: int, stop: int) -> Tensor:
        index = self.levels.parents[start:stop]
        came = self.sent[value].index_select(0, index.reshape(-1))
        if index.shape[1] == 1:
            return came
        total, *others = came.reshape(*index.shape, *came.shape[1:]).unbind(1)
        for other in others:  # in the order of the parents, whatever their number
            total = total + other
        return total


_States = _Upward | _Downward


def _at_once(stage: Batched, lead: Mapping[Value, int], graph: Graph) -> Callable[..., None]:
    made = batched.instructions(stage.ops, lambda value: lead[value] == STEP, graph.stopped)
    return lambda env, states, lowering: batched.run(made, env)


def _shift(stage: Shift) -> Callable[..., None]:
    before, after = stage.carry.before, stage.carry.after

    def run(env: Env, states: _States, lowering: Lowering) -> None:
        env[before] = states.settle(before, after, env[after])

    return run


class _Loop:
    """A recurrence: for one height after the other it gathers, runs the nodes as the rows of one step, and leaves its results."""

    def __init__(self, stage: Recurrence, lowering: Lowering) -> None:
        loop = stage.loop
        self.carries, self.totals = loop.carried, stage.totals
        self.befores = tuple(carry.before for carry in loop.carried)
        self.afters = tuple(dict.fromkeys(carry.after for carry in loop.carried))
        self.others = tuple(value for value in loop.written if value not in self.befores and value not in self.afters)
        self.shared, self.per_node = loop.shared, loop.per_step
        flat: Loop = replace(
            loop,
            per_step=(*loop.per_step, *self.befores),
            carried=(),
            written=(*self.afters, *self.others),
            reverse=False,
        )
        self.run_loop: LoopRunner = lowering.compile(flat)

    def __call__(self, env: Env, states: _States, lowering: Lowering) -> None:
        levels = states.levels
        shared = [env[value].contiguous() for value in self.shared]
        per_node = [env[value].contiguous() for value in self.per_node]
        gathered = [states.place(value) for value in self.befores]
        results = {carry.after: states.results(carry.before, carry.after) for carry in reversed(self.carries)}
        others = [like_node(value, levels.inner) for value in self.others]
        sums = [torch.zeros((lowering.sum_parts(), *total.output.shape), dtype=total.output.dtype) for total in self.totals]
        again = [(carry, results[carry.after]) for carry in self.carries[1:] if self._is_copy(carry.before)]
        per_node += gathered
        written = [*(results[value] for value in self.afters), *others]
        for start, stop in states.bounds:
            for value, place in zip(self.befores, gathered, strict=True):
                states.gather(value, place, start, stop)
            parts = [tensor[start:stop] for tensor in per_node], [tensor[start:stop] for tensor in written]
            self.run_loop([*shared, *parts[0], *parts[1], *sums], level(stop - start))
            for carry, made in again:
                states.results(carry.before, carry.after)[start:stop] = made[start:stop]
        env.update(zip(self.befores, gathered, strict=True))
        env.update(results)
        env.update(zip(self.others, others, strict=True))
        env.update((total.output, parts.sum(0)) for total, parts in zip(self.totals, sums, strict=True))

    def _is_copy(self, before: Value) -> bool:
        """Whether the state after a carry is that of an earlier one too, so that its results are copied."""
        afters = [carry.after for carry in self.carries]
        n = self.befores.index(before)
        return afters[n] in afters[:n]


def like_node(value: Value, inner: int) -> Tensor:
    return torch.empty((inner, *value.shape), dtype=value.dtype)


def level(n: int) -> Packing:
    return packing(1, n, None)


class _Fold(torch.autograd.Function):
    """The states of the nodes that have children, flat."""

    @staticmethod
    def forward(ctx: Any, program: LevelProgram, levels: Levels, *tensors: Tensor) -> Any:
        count = len(program.plan.arguments)
        made, saved = program.run_forward(levels, tensors[:count], tensors[count:])
        ctx.program, ctx.levels = program, levels
        ctx.save_for_backward(*tensors[:count], *saved)
        seen: set[int] = set(map(id, tensors))
        flat = []
        for leaf in made:
            flat.append(leaf.clone() if id(leaf) in seen else leaf)
            seen.add(id(leaf))
        ctx.mark_non_differentiable(*(leaf for leaf in flat if not leaf.is_floating_point()))
        return tuple(flat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        count = len(ctx.program.plan.arguments)
        tensors = ctx.saved_tensors
        cotangents = tuple(g.contiguous() for g in cotangents)
        gradients, of_leaves = ctx.program.run_backward(ctx.levels, tensors[:count], tensors[count:], cotangents)
        return (None, None, *gradients, *of_leaves)
