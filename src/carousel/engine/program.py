"""Run the stages of a plan on tensors, forward and backward, with any executor of loops."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.engine import batched
from carousel.engine.distribute import Batched, Recurrence, Shift, Stage
from carousel.engine.ir import ROW, SHARED, STEP, Carry, Graph, Loop, Value
from carousel.engine.packing import Packing
from carousel.engine.plan import Plan, prelude_of
from carousel.engine.totals import compute

LoopRunner = Callable[[Sequence[Tensor], Packing], None]
"""Runs a loop on its buffers, in the order that `Loop` gives, on the rows of a packing."""

Env = dict[Value, Tensor]
Stager = Callable[[Env, Env, Packing], None]
"""A stage made ready: reads and extends the environment. The second one has, by the `before` of each carry, (B, ...)
what the first step reads; and afterwards what the last step gave."""


@dataclass(frozen=True)
class Program:
    """A plan made ready to run.

    forward, invariant, backward, closing: its stages.
    """

    plan: Plan
    forward: tuple[Stager, ...]
    invariant: tuple[Stager, ...]
    backward: tuple[Stager, ...]
    closing: tuple[Stager, ...]

    def run_forward(
        self, arguments: Sequence[Tensor], initial: Sequence[Tensor], packing: Packing, return_states: bool
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """(outputs (N, ...), final states (B, ...), states after each step (N, ...) if wanted, what backward needs)."""
        plan = self.plan
        env = dict(plan.graph.constants)
        env.update(zip(plan.arguments, arguments, strict=True))
        carried = {carry.before: tensor for carry, tensor in zip(plan.carries, initial, strict=True)}
        for stage in self.forward:
            stage(env, carried, packing)

        def at_all_steps(value: Value) -> Tensor:
            return _spread(env[value], plan.graph.lead[value], packing)

        outputs = [at_all_steps(value) for value in plan.graph.outputs]
        states = [at_all_steps(value) for value in plan.graph.new_state] if return_states else []
        return outputs, [carried[carry.before] for carry in plan.carries], states, [env[value] for value in plan.saved]

    def run_backward(
        self,
        arguments: Sequence[Tensor],
        saved: Sequence[Tensor],
        d_outputs: Sequence[Tensor],
        d_final: Sequence[Tensor],
        d_states: Sequence[Tensor],
        packing: Packing,
    ) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """(gradients of the arguments, gradients of the initial states), None where there is none."""
        plan, backward = self.plan, self.plan.backward
        assert backward is not None
        env = {**plan.graph.constants, **backward.constants}
        env.update(zip(plan.arguments, arguments, strict=True))
        env.update(zip(plan.saved, saved, strict=True))
        env.update((value, tensor) for value, tensor in zip(backward.outputs, d_outputs, strict=True) if value is not None)
        # d_states is empty where the states after each step are not given out; then no value asks for it.
        env.update((value, tensor) for value, tensor in zip(backward.states, d_states, strict=False) if value is not None)
        carried = {carry.before: tensor for carry, tensor in zip(backward.carries, d_final, strict=True) if carry is not None}
        for stage in (*self.invariant, *self.backward):
            stage(env, carried, packing)
        for total in backward.totals:
            env[total.output] = compute(total, packing)(*(env[value] for value in total.inputs))
        for stage in self.closing:
            stage(env, carried, packing)
        gradients: list[Tensor | None] = []
        for value, tensor, needed in zip(plan.arguments, arguments, backward.needing, strict=True):
            if value in backward.gradients:
                gradients.append(env[backward.gradients[value]])
            else:  # what it is used for has no slope, as in floor(x)
                gradients.append(torch.zeros_like(tensor) if needed else None)
        return gradients, [None if carry is None else carried[carry.before] for carry in backward.carries]


def make_prelude(graph: Graph) -> tuple[Stager, ...]:
    """What depends on weights, context and a sequence's noise only."""
    return tuple(_batched(stage, graph.lead, graph.stopped) for stage in prelude_of(graph))


def make_program(plan: Plan, compile_loop: Callable[[Loop], LoopRunner]) -> Program:
    """The plan, with its loops compiled."""
    backward = plan.backward
    lead = plan.graph.lead if backward is None else backward.lead

    def ready(stages: Sequence[Stage], reverse: bool = False) -> tuple[Stager, ...]:
        made = []
        for stage in stages:
            if isinstance(stage, Batched):
                made.append(_batched(stage, lead, plan.graph.stopped))
            elif isinstance(stage, Shift):
                made.append(_shift(stage.carry, lead, reverse))
            else:
                made.append(_recurrence(stage, compile_loop(stage.loop)))
        return tuple(made)

    return Program(
        plan=plan,
        forward=ready(plan.stages),
        invariant=() if backward is None else ready(backward.invariant),
        backward=() if backward is None else ready(backward.stages, reverse=True),
        closing=() if backward is None else ready(backward.closing),
    )


def _spread(tensor: Tensor, lead: int, packing: Packing) -> Tensor:
    """(N, ...) of a tensor with any lead."""
    if lead == STEP:
        return tensor
    return packing.spread(tensor) if lead == ROW else tensor.expand(packing.total, *tensor.shape)


def _batched(stage: Batched, lead: Mapping[Value, int], stopped: Container[Value]) -> Stager:
    made = batched.instructions(stage.ops, lambda value: lead[value] != SHARED, stopped)
    inside = {op.output for op in stage.ops}
    rows = (
        {value for op in stage.ops for value in op.values if value not in inside and lead[value] == ROW}
        if stage.lead == STEP
        else set()
    )

    def run(env: Env, carried: Env, packing: Packing) -> None:
        own = {value: env[value] for value in rows}
        for value in rows:
            env[value] = packing.spread(env[value])
        batched.run(made, env)
        env.update(own)

    return run


def _shift(carry: Carry, lead: Mapping[Value, int], reverse: bool) -> Stager:
    def run(env: Env, carried: Env, packing: Packing) -> None:
        after = _spread(env[carry.after], lead[carry.after], packing)
        initial = carried[carry.before]
        if reverse:
            env[carry.before] = packing.after(after, initial)
            carried[carry.before] = packing.first(after, initial)
        else:
            env[carry.before] = packing.before(torch.cat([initial, after]))
            carried[carry.before] = packing.last(after, initial)

    return run


def _recurrence(stage: Recurrence, run_loop: LoopRunner) -> Stager:
    loop = stage.loop
    given = (*loop.shared, *loop.per_row, *loop.per_step)
    histories = {carry.after: carry for carry in stage.histories}  # one buffer for first state and results

    befores = [carry.before for carry in loop.carried]

    def run(env: Env, carried: Env, packing: Packing) -> None:
        buffers = [env[value].contiguous() for value in given]
        initial = {before: carried[before] for before in befores}
        for before in befores:
            carried[before] = initial[before].clone(memory_format=torch.contiguous_format)
        written: Env = {}
        history: Env = {}
        for value in loop.written:
            if value in histories:
                before = histories[value].before
                history[before] = initial[before].new_empty((packing.batch + packing.total, *value.shape))
                history[before][: packing.batch] = initial[before]
                written[value] = history[before][packing.batch :]
            else:
                written[value] = torch.empty((packing.total, *value.shape), dtype=value.dtype)
        run_loop([*buffers, *(carried[before] for before in befores), *written.values()], packing)
        env.update(written)
        for carry in stage.histories:
            before = carry.before
            env[before] = packing.before(
                history[before] if before in history else torch.cat([initial[before], written[carry.after]])
            )

    return run
