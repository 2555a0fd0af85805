"""The plan of a cell's run: what is made once, what runs over all steps at once, what loops, what is kept for backward.

graph of a step (capture.py)
  -> prelude: what depends on weights, context or a sequence's noise only; left to autograd
  -> forward: stages (loop_distribution.py) that make outputs, states and what backward needs
  -> adjoint of the rest (adjoint.py), its stages, and sums over time (sums_over_time.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from carousel.engine.adjoint import adjoint, differentiable
from carousel.engine.build import Builder
from carousel.engine.ir import ROW, SHARED, STEP, Carry, Graph, Op, Value
from carousel.engine.kinds import KINDS
from carousel.engine.loop_distribution import Batched, Recurrence, Stage, distribute, live
from carousel.engine.sums_over_time import Total, summed


@dataclass(frozen=True)
class Backward:
    """The second half of a plan.

    outputs:    cotangents (N, ...) of the graph's outputs, None where one carries none.
    states:     cotangents (N, ...) of the states after each step where those are given out, else None.
    carries:    of the cotangent of each state; a carry's buffer holds that of the final state at first and
                that of the initial state at last.
    constants:  values known when the adjoint was made.
    lead:       what each value has beside its own axes, the adjoint's too.
    invariant:  stages run first, of what is the same at every step.
    stages:     over rows and steps.
    totals:     sums of what they made, but for those that the loops add up themselves.
    closing:    stages on the sums.
    needing:    which of the plan's arguments need a gradient.
    gradients:  argument -> its gradient; states are not among them.
    """

    outputs: tuple[Value | None, ...]
    states: tuple[Value | None, ...]
    carries: tuple[Carry | None, ...]
    constants: dict[Value, Tensor]
    lead: dict[Value, int]
    invariant: tuple[Batched, ...]
    stages: tuple[Stage, ...]
    totals: tuple[Total, ...]
    closing: tuple[Batched, ...]
    needing: tuple[bool, ...]
    gradients: dict[Value, Value]


@dataclass(frozen=True)
class Plan:
    """A run of a cell, for any T, B and lengths.

    graph:      the step.
    arguments:  what the rest reads beside states: shared or of each row, and x and the noise of each step.
    carries:    of the states, in their order.
    stages:     forward, over rows and steps.
    saved:      values (N, ...) kept for backward.
    backward:   None where no argument needs a gradient.
    """

    graph: Graph
    arguments: tuple[Value, ...]
    carries: tuple[Carry, ...]
    stages: tuple[Stage, ...]
    saved: tuple[Value, ...]
    backward: Backward | None


def core_of(graph: Graph) -> tuple[list[Op], list[Op]]:
    """(operations of the prelude, operations of a step)."""
    ops, _ = live(graph.ops, [], (*graph.outputs, *graph.new_state))
    return [op for op in ops if graph.lead[op.output] != STEP], [op for op in ops if graph.lead[op.output] == STEP]


def prelude_of(graph: Graph) -> tuple[Batched, ...]:
    """Stages whose results all steps share, or all steps of a row; PyTorch differentiates them."""
    return _by_lead(core_of(graph)[0], graph.lead)


def arguments_of(graph: Graph) -> tuple[Value, ...]:
    """What the operations of a step read that is neither state nor constant, in a fixed order."""
    _, core = core_of(graph)
    made = {op.output for op in core}
    read = {value for op in core for value in op.values} | {*graph.outputs, *graph.new_state}
    given = read - made - set(graph.state) - set(graph.constants)
    return tuple(sorted(given, key=lambda value: (graph.lead[value], value.name)))


def make_plan(graph: Graph, needs_gradient: Sequence[bool], state_needs_gradient: Sequence[bool], return_states: bool) -> Plan:
    """The plan of a graph.

    Args:
        graph:                 rewritten already (rewrite.py).
        needs_gradient:        of each of `arguments_of(graph)`.
        state_needs_gradient:  of each initial state.
        return_states:         the states after each step are given out.
    """
    _, core = core_of(graph)
    arguments = arguments_of(graph)
    carries = tuple(Carry(before, after) for before, after in zip(graph.state, graph.new_state, strict=True))
    backward, saved = None, set[Value]()
    if any(needs_gradient) or any(state_needs_gradient):
        needing = [value for value, needed in zip(arguments, needs_gradient, strict=True) if needed]
        backward, saved = _backward(graph, core, arguments, needing, state_needs_gradient, return_states)
    wanted = {value for value in graph.outputs if value not in arguments} | saved
    if return_states:
        wanted |= set(graph.new_state)
    ops, _ = live(core, carries, {*wanted, *(carry.after for carry in carries)})
    return Plan(
        graph=graph,
        arguments=arguments,
        carries=carries,
        stages=tuple(distribute(ops, carries, wanted, graph.lead, reverse=False)),
        saved=tuple(sorted(saved, key=lambda value: value.name)),
        backward=backward,
    )


def _by_lead(ops: Sequence[Op], lead: Mapping[Value, int]) -> tuple[Batched, ...]:
    """Operations with the leads SHARED and ROW, as one stage each."""
    groups = ((wanted, tuple(op for op in ops if lead[op.output] == wanted)) for wanted in (SHARED, ROW))
    return tuple(Batched(group, wanted) for wanted, group in groups if group)


def _backward(
    graph: Graph,
    core: list[Op],
    arguments: tuple[Value, ...],
    needing: list[Value],
    state_needs_gradient: Sequence[bool],
    return_states: bool,
) -> tuple[Backward, set[Value]]:
    """The adjoint's stages, and the forward values that they need."""
    b = Builder.resumed(graph)
    outputs = tuple(_cotangent(b, f"d_y{n}", value) for n, value in enumerate(graph.outputs))
    after = tuple(_cotangent(b, f"d_state{n}", value) for n, value in enumerate(graph.new_state))
    given_out = tuple(_cotangent(b, f"d_states{n}", value) if return_states else None for n, value in enumerate(graph.new_state))
    seeds: dict[Value, Value] = {}
    cotangents = zip((*graph.outputs, *graph.new_state, *graph.new_state), (*outputs, *after, *given_out), strict=True)
    for value, cotangent in cotangents:
        if cotangent is not None and differentiable(value):
            seeds[value] = b.emit("add", seeds[value], cotangent) if value in seeds else cotangent
    states = [value for value in graph.state if differentiable(value)]
    found = adjoint(b, core, seeds, [*needing, *states])
    carries = tuple(
        None if before is None else Carry(before, found.get(state) or b.full(state.shape, 0, state.dtype))
        for state, before in zip(graph.state, after, strict=True)
    )
    totals: list[Total] = []
    gradients: dict[Value, Value] = {}
    for value in needing:
        if value in found:
            gradients[value] = found[value] if b.lead[value] == STEP else summed(b, found[value], b.lead[value], totals)

    step_wanted = {gradients[value] for value in gradients if b.lead[value] == STEP}
    summands = [item for total in totals for item in total.inputs]
    initial = [carry for carry, needed in zip(carries, state_needs_gradient, strict=True) if needed and carry is not None]
    ends = [*step_wanted, *summands, *gradients.values(), *(value for carry in initial for value in (carry.before, carry.after))]
    kept, live_carries, saved = _needed(b, graph, core, ends, [carry for carry in carries if carry is not None])

    on_totals = _depending_on(kept, {total.output for total in totals})
    once = [op for op in kept if b.lead[op.output] != STEP]
    of_steps = [op for op in kept if b.lead[op.output] == STEP]
    stages = distribute(of_steps, live_carries, step_wanted, b.lead, reverse=True, totals=totals)
    in_loops = [total for stage in stages if isinstance(stage, Recurrence) for total in stage.totals]
    backward = Backward(
        outputs=outputs,
        states=given_out,
        carries=tuple(carry if carry in live_carries else None for carry in carries),
        constants={value: tensor for value, tensor in b.constants.items() if value not in graph.constants},
        lead=b.lead,
        invariant=_by_lead([op for op in once if op.output not in on_totals], b.lead),
        stages=tuple(stages),
        totals=tuple(total for total in totals if total not in in_loops),
        closing=_by_lead([op for op in once if op.output in on_totals], b.lead),
        needing=tuple(value in needing for value in arguments),
        gradients=gradients,
    )
    return backward, saved


def _needed(
    b: Builder, graph: Graph, core: Sequence[Op], ends: Sequence[Value], carries: Sequence[Carry]
) -> tuple[list[Op], list[Carry], set[Value]]:
    """(operations, carries, forward values to be kept) that backward needs to get at `ends`."""
    forward = {op.output for op in core}
    carried = {carry.before: carry for carry in carries}
    chosen: set[Value] = set()
    saved: set[Value] = set()
    kept_carries: list[Carry] = []
    pending, seen = list(ends), set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        op = b.producer(value)
        if value in carried:
            kept_carries.append(carried[value])
            pending.append(carried[value].after)
        elif value in graph.state or (
            value in forward and (value in graph.outputs or (op is not None and not KINDS[op.kind].is_cheap))
        ):
            saved.add(value)
        elif op is not None and (value in forward or b.lead[value] == STEP or op not in graph.ops):
            chosen.add(value)
            pending.extend(op.values)
    return [op for op in b.ops if op.output in chosen], [carry for carry in carries if carry in kept_carries], saved


def _cotangent(b: Builder, name: str, value: Value) -> Value | None:
    return b.input(name, value.shape, value.dtype, STEP) if differentiable(value) else None


def _depending_on(ops: Sequence[Op], sources: set[Value]) -> set[Value]:
    """The outputs of those operations that read the sources, at once or through others."""
    reached = set(sources)
    for op in ops:
        if any(value in reached for value in op.values):
            reached.add(op.output)
    return reached - sources
