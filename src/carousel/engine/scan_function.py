"""The lowering by loops: a plan's stages behind one autograd function.

Weights, context and the packing of sequences stay in PyTorch's hands, outside the function; inside
it a forward pass keeps exactly what the plan's backward asks for, and nothing where no gradient is
asked for. A second derivative goes through the same operations run by PyTorch, step by step.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.engine import batched
from carousel.engine.capture import UnsupportedStep, capture
from carousel.engine.ir import ROW, SHARED, STEP, Graph, Loop, Value
from carousel.engine.lock import LOCK
from carousel.engine.lowering import Lowering
from carousel.engine.packing import Packing, packing
from carousel.engine.plan import Plan, arguments_of, core_of, make_plan
from carousel.engine.program import Program, Stager, make_prelude, make_program
from carousel.engine.rewrite import rewritten
from carousel.engine.scan_call import Call, rebuilt, structure
from carousel.errors import InputError
from carousel.torch_private import is_wrapped, pytree

_CACHE_SIZE = 256


@dataclass(frozen=True, eq=False)
class Lowered:
    """A cell's step, captured, and the programs made from it so far.

    prelude:  what depends on weights, context or a sequence's noise only, run for PyTorch to differentiate.
    programs: by (which arguments need a gradient, which states do, whether states are given out).
    """

    graph: Graph
    y_spec: Any
    arguments: tuple[Value, ...]
    prelude: tuple[Stager, ...]
    lowering: Lowering
    programs: dict[Any, Program]

    def program(self, needs: tuple[bool, ...], state_needs: tuple[bool, ...], return_states: bool) -> Program:
        """The program for these gradients; made when first asked for."""
        key = (needs, state_needs, return_states)
        if key not in self.programs:
            with LOCK:
                if key not in self.programs:
                    self.programs[key] = make_program(make_plan(self.graph, needs, state_needs, return_states), self.lowering)
        return self.programs[key]

    @cached_property
    def whole(self) -> Loop:
        """All of a step as a loop that carries nothing: it reads x and the state, and writes the next state and y.

        At a single time step nothing is worth moving out of a loop.
        """
        graph = self.graph
        ops = core_of(graph)[1]
        read = {value for op in ops for value in op.values} | {*graph.outputs, *graph.new_state}
        return Loop(
            ops=tuple(ops),
            shared=tuple(value for value in (*self.arguments, *graph.constants) if graph.lead[value] == SHARED and value in read),
            per_row=tuple(value for value in self.arguments if graph.lead[value] == ROW),
            per_step=(*graph.inputs, *graph.state),
            written=(*graph.new_state, *graph.outputs),
        )


_cache: OrderedDict[Any, Lowered | str] = OrderedDict()
"""What was captured, by everything that capture bakes in; for a step that cannot be lowered the reason."""


def lower(cell: Cell, call: Call, lowering: Lowering) -> Lowered:
    """The captured step for a call's shapes and dtypes; T, B and lengths do not matter.

    Raises:
        UnsupportedStep: the step has an operation that cannot be lowered.
    """
    key = (
        call.cell_now.key,
        lowering,
        (structure(call.inputs), structure(call.state), structure(call.context)),
        tuple([(leaf.shape[axes:], leaf.dtype) for leaves, axes in zip(call.leaves, _LEADING, strict=True) for leaf in leaves]),
        (*call.step_noise, *call.sequence_noise),
        tuple([(name, leaf.shape, leaf.dtype) for name, leaf in call.cell_now.weights.items()]),
    )
    found = _cache.get(key)
    if found is None:
        with LOCK:
            found = _cache.get(key) or _captured_or_why_not(cell, call, lowering)
            _cache[key] = found
            while len(_cache) > _CACHE_SIZE:
                _cache.popitem(last=False)
    else:
        with suppress(KeyError):  # another thread has dropped it
            _cache.move_to_end(key)
    if isinstance(found, str):
        raise UnsupportedStep(found)
    return found


_LEADING = (2, 1, 1, 2, 1)
"""Leading axes of inputs, state, context, step noise and sequence noise: (T, B) or (B,)."""


def _captured_or_why_not(cell: Cell, call: Call, lowering: Lowering) -> Lowered | str:
    try:
        return _captured(cell, call, lowering)
    except UnsupportedStep as refusal:
        return str(refusal)


def _captured(cell: Cell, call: Call, lowering: Lowering) -> Lowered:
    def empty(tree: Any, axes: int) -> Any:
        return pytree.tree_map(lambda leaf: torch.empty(leaf.shape[axes:], dtype=leaf.dtype, device="meta"), tree)

    context = () if call.context is None else call.context
    trees = (call.inputs, call.state, context, call.step_noise, call.sequence_noise)
    graph, y_spec = capture(cell, *(empty(tree, axes) for tree, axes in zip(trees, _LEADING, strict=True)))
    graph = rewritten(graph, look_up=not lowering.fixes_order)
    for op in core_of(graph)[0]:
        refusal = lowering.refuses_once(op)
        if refusal is not None:
            raise UnsupportedStep(f"{refusal} ({op.line})")
    return Lowered(graph, y_spec, arguments_of(graph), make_prelude(graph), lowering, {})


def run(cell: Cell, call: Call, lowering: Lowering) -> tuple[Any, Any, Any]:
    """(outputs, final_state, states) as `carousel.scan` gives them; states is None unless asked for."""
    lowered = lower(cell, call, lowering)
    graph = lowered.graph
    rows = packing(call.steps, call.batch, call.lengths)
    inputs, state, context, step_noise, sequence_noise = call.leaves

    env = dict(graph.constants)
    env.update(zip(graph.weights, call.cell_now.weights.values(), strict=True))
    env.update(zip((*graph.inputs, *graph.step_noise), [rows.pack_steps(leaf) for leaf in (*inputs, *step_noise)], strict=True))
    env.update(
        zip((*graph.context, *graph.sequence_noise), [rows.pack_rows(leaf) for leaf in (*context, *sequence_noise)], strict=True)
    )
    initial = [rows.pack_rows(leaf) for leaf in state]
    for stage in lowered.prelude:
        stage(env, {}, rows, None)
    arguments = [env[value] for value in lowered.arguments]

    grad = torch.is_grad_enabled()
    needs = tuple([grad and leaf.requires_grad for leaf in arguments])
    state_needs = tuple([grad and leaf.requires_grad for leaf in initial])
    program = lowered.program(needs, state_needs, call.return_states)
    if True in needs or True in state_needs:
        flat = _Scan.apply(program, rows, call.return_states, *arguments, *initial)
        n_outputs, n_states = len(graph.outputs), len(initial)
        outputs, final, states = flat[:n_outputs], flat[n_outputs : n_outputs + n_states], flat[n_outputs + n_states :]
    else:
        outputs, final, states, _ = program.run_forward(arguments, initial, rows, call.return_states)

    y = pytree.tree_unflatten([rows.unpack_steps(leaf) for leaf in outputs], lowered.y_spec)
    final_state = rebuilt(call.state, map(rows.unpack_rows, final))
    if not call.return_states:
        return y, final_state, None
    all_states = [rows.unpack_states(leaf, first) for leaf, first in zip(states, initial, strict=True)]
    return y, final_state, rebuilt(call.state, all_states)


class _Scan(torch.autograd.Function):
    """(outputs, final states, states after each step) of a program, flat."""

    @staticmethod
    def forward(ctx: Any, program: Program, rows: Packing, return_states: bool, *tensors: Tensor) -> Any:
        count = len(program.plan.arguments)
        arguments, initial = tensors[:count], tensors[count:]
        outputs, final, states, saved = program.run_forward(arguments, initial, rows, return_states)
        ctx.program, ctx.rows, ctx.return_states, ctx.counts = program, rows, return_states, (len(outputs), len(final))
        ctx.save_for_backward(*tensors, *saved)
        given = set[int](map(id, tensors))
        flat = [leaf.clone() if id(leaf) in given else leaf for leaf in (*outputs, *final, *states)]
        ctx.mark_non_differentiable(*(leaf for leaf in flat if not leaf.is_floating_point()))
        return tuple(_distinct(flat))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        program: Program = ctx.program
        plan = program.plan
        count, n_states = len(plan.arguments), len(plan.carries)
        kept = ctx.saved_tensors  # read once: activation checkpointing makes them anew, once
        tensors, saved = kept[: count + n_states], kept[count + n_states :]
        if torch.is_grad_enabled() or any(map(is_wrapped, cotangents)):  # many cotangents at once (is_grads_batched)
            return (None, None, None, *_differentiable_gradients(ctx, tensors, cotangents))
        n_outputs = ctx.counts[0]
        d_outputs, d_final, d_states = (
            cotangents[:n_outputs],
            cotangents[n_outputs : n_outputs + n_states],
            cotangents[n_outputs + n_states :],
        )
        with program.lowering.placing():
            gradients, d_initial = program.run_backward(tensors[:count], saved, d_outputs, d_final, d_states, ctx.rows)
        return (None, None, None, *gradients, *d_initial)


def _distinct(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, with a view in place of one that was there before: autograd wants each result once."""
    seen: set[int] = set()
    result = []
    for tensor in tensors:
        result.append(tensor.view_as(tensor) if id(tensor) in seen else tensor)
        seen.add(id(tensor))
    return result


def _differentiable_gradients(ctx: Any, tensors: tuple[Tensor, ...], cotangents: tuple[Tensor, ...]) -> list[Tensor | None]:
    """The gradients as a graph of their own, for second derivatives: the step run by PyTorch once a time step."""
    if ctx.program.lowering.fixes_order:
        raise InputError("scan: bits='portable' has no second derivatives, and one cotangent at a time")
    plan: Plan = ctx.program.plan
    count = len(plan.arguments)
    with torch.enable_grad():
        results = replay(plan, tensors[:count], tensors[count:], ctx.rows, ctx.return_states)
        wanted = [tensor for tensor in tensors if tensor.requires_grad]
        pairs = [(result, g) for result, g in zip(results, cotangents, strict=True) if result.requires_grad]
        found = torch.autograd.grad([r for r, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True)
    by_id = {id(tensor): gradient for tensor, gradient in zip(wanted, found, strict=True)}
    return [by_id.get(id(tensor)) for tensor in tensors]


def replay(
    plan: Plan, arguments: tuple[Tensor, ...], initial: tuple[Tensor, ...], rows: Packing, return_states: bool
) -> list[Tensor]:
    """What the program gives, by differentiable PyTorch operations one step after the other."""
    graph = plan.graph
    _, core = core_of(graph)
    made = batched.instructions(core, lambda value: graph.lead[value] != 0, graph.stopped)
    states = list(initial)
    outputs: list[list[Tensor]] = []
    all_states: list[list[Tensor]] = []
    for t in range(rows.steps):
        n = rows.counts[t]
        here = slice(int(rows.offsets[t]), int(rows.offsets[t]) + n)
        env: dict[Value, Tensor] = dict(graph.constants)
        for value, tensor in zip(plan.arguments, arguments, strict=True):
            env[value] = tensor if graph.lead[value] == 0 else tensor[here] if graph.lead[value] == STEP else tensor[:n]
        env.update((carry.before, state[:n]) for carry, state in zip(plan.carries, states, strict=True))
        batched.run(made, env)

        def led(value: Value, env: dict[Value, Tensor] = env, n: int = n) -> Tensor:
            return env[value].expand(n, *value.shape) if graph.lead[value] == 0 else env[value]

        outputs.append([led(value) for value in graph.outputs])
        all_states.append([led(value) for value in graph.new_state])
        states = [torch.cat([new, old[n:]]) for new, old in zip(all_states[-1], states, strict=True)]
    flat = [torch.cat(steps) for steps in zip(*outputs, strict=True)]
    return [*flat, *states, *([torch.cat(steps) for steps in zip(*all_states, strict=True)] if return_states else [])]
