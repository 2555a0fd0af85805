"""A plan's stages over forests: a loop runs over heights instead of steps, and the state before it is gathered by an index.

The plan is that of any step: what is in no cycle (products with x, sums for the weights' gradients) is done
for all nodes at once. In a loop, the nodes of one height are the rows of one step. Before it their
children's states are gathered from where they were written; backward, each node gathers what its
parents' steps gave for it, in the order of the parents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from carousel.cell import Cell
from carousel.engine import batched
from carousel.engine.ir import STEP, Carry, Graph, Loop, Value
from carousel.engine.lock import LOCK
from carousel.engine.loop_distribution import Batched, Recurrence, Shift, Stage
from carousel.engine.lowering import Gathering, HeightsRunner, Lowering
from carousel.engine.packing import packing
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

    @cached_property
    def bounds(self) -> Tensor:
        """The offsets as a tensor."""
        return torch.tensor(self.offsets)

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
    """The states as they come about: those of the leaves, and of each carry (inner, ...) what the nodes with children give."""

    def __init__(self, levels: Levels, leaf_states: Env) -> None:
        self.levels = levels
        self.leaf_states = {before: leaf.contiguous() for before, leaf in leaf_states.items()}
        self.made: Env = {}

    def have(self, carry: Carry, made: Tensor) -> None:
        """Take (inner, ...) what a loop gives, which later nodes gather; it need not be written yet."""
        self.made[carry.before] = made

    def gathering(self, before: Value) -> Gathering:
        """The children's states of each node, (inner, K, ...)."""
        target = like_node(before, self.levels.inner)
        return Gathering(target, self.levels.children.contiguous(), self.leaf_states[before], self.made[before])

    def settle(self, carry: Carry, made: Tensor) -> Tensor:
        """Take a state that is known for all nodes, and give what each reads."""
        self.have(carry, made.expand(self.levels.inner, *carry.after.shape).contiguous())
        return self.gather_all(carry.before)

    def gather_all(self, before: Value) -> Tensor:
        return self.gathering(before).all()


class _Downward:
    """The cotangents: of each carry what the nodes' states have from outside, and (inner, K, ...) what each gives its children."""

    def __init__(self, levels: Levels, given: Env) -> None:
        self.levels, self.given = levels, given
        self.sent: Env = {}

    def have(self, carry: Carry, made: Tensor) -> None:
        self.sent[carry.before] = made

    def gathering(self, before: Value) -> Gathering:
        """The cotangent of each node's state, (inner, ...)."""
        given = self.given[before].contiguous()
        return self._from_parents(before, self.levels.parents[self.levels.leaves :], given)

    def settle(self, carry: Carry, made: Tensor) -> Tensor:
        self.have(carry, made.expand(self.levels.inner, *carry.after.shape).contiguous())
        return self.gathering(carry.before).all()

    def of_leaves(self, before: Value) -> Tensor | None:
        if before not in self.sent:
            return None
        nothing = self.given[before].new_zeros((self.levels.leaves, *before.shape))
        return self._from_parents(before, self.levels.parents[: self.levels.leaves], nothing).all()

    def _from_parents(self, before: Value, index: Tensor, given: Tensor) -> Gathering:
        sent = self.sent[before].flatten(0, 1)
        return Gathering(torch.empty_like(given), index.contiguous(), None, sent, given)


_States = _Upward | _Downward


def _at_once(stage: Batched, lead: Mapping[Value, int], graph: Graph) -> Callable[..., None]:
    made = batched.instructions(stage.ops, lambda value: lead[value] == STEP, graph.stopped)
    return lambda env, states, lowering: batched.run(made, env)


def _shift(stage: Shift) -> Callable[..., None]:
    def run(env: Env, states: _States, lowering: Lowering) -> None:
        env[stage.carry.before] = states.settle(stage.carry, env[stage.carry.after])

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
        flat: Loop = replace(loop, per_step=(*loop.per_step, *self.befores), carried=(), written=(*self.afters, *self.others))
        self.run_loop: HeightsRunner = lowering.over_heights(flat)

    def __call__(self, env: Env, states: _States, lowering: Lowering) -> None:
        levels = states.levels
        shared = [env[value].contiguous() for value in self.shared]
        per_node = [env[value].contiguous() for value in self.per_node]
        results = {after: like_node(after, levels.inner) for after in self.afters}
        for carry in self.carries:
            states.have(carry, results[carry.after])
        gathering = [states.gathering(before) for before in self.befores]
        gathered = [one.target for one in gathering]
        others = [like_node(value, levels.inner) for value in self.others]
        sums = [torch.zeros((lowering.sum_parts(), *total.output.shape), dtype=total.output.dtype) for total in self.totals]
        self.run_loop([*shared, *per_node, *gathered, *results.values(), *others, *sums], gathering, levels.bounds)
        env.update(zip(self.befores, gathered, strict=True))
        env.update(results)
        env.update(zip(self.others, others, strict=True))
        env.update((total.output, parts.sum(0)) for total, parts in zip(self.totals, sums, strict=True))


def like_node(value: Value, inner: int) -> Tensor:
    return torch.empty((inner, *value.shape), dtype=value.dtype)


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
