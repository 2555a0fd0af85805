"""Run the stages of a plan on tensors, forward and backward, with any executor of loops."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.engine import batched
from carousel.engine.ir import ROW, SHARED, STEP, Carry, Graph, Loop, Op, Value
from carousel.engine.loop_distribution import Batched, Recurrence, Shift, Stage
from carousel.engine.lowering import LoopRunner, Lowering
from carousel.engine.packing import Packing
from carousel.engine.packing import packing as one_step
from carousel.engine.plan import Backward, Plan, prelude_of
from carousel.engine.sums_over_time import Total, compute, compute_in_order

Env = dict[Value, Tensor]
Stager = Callable[[Env, Env, Packing, "Memory | None"], None]
"""A stage made ready: reads and extends the environment. The second one has, by the `before` of each carry, (B, ...)
what the first step reads; and afterwards what the last step gave. The memory is for stages over steps."""

PART_BYTES = 4 * 2**20
LEAST_PART = 512
"""A part of the time axis has about so many bytes in values that do not outlive it, but so many rows at least: it is
read again while it is in a cache, and its memory is used again by the next part (new memory costs more than the arithmetic)."""

LARGE = 4 * 2**20
"""Bytes that the loops read at every step from which a part is longer: about twice as many bytes as these, as each part
has them made ready anew."""


class Memory:
    """Where the values of a run stand: what outlives a part of the time axis over all of it, the rest where each part has it.

    Args:
        packing:  of all rows and steps.
        parts:    of the time axis.
        lasting:  values wanted for all rows and steps.
        sum_parts: of what is summed over all rows and steps.
    """

    def __init__(self, packing: Packing, parts: Sequence[tuple[slice, Packing]], lasting: Container[Value], sum_parts: int) -> None:
        self.whole: Env = {}
        self._packing, self._lasting, self._sum_parts = packing, lasting, sum_parts
        self._one = len(parts) == 1
        self._most = max(rows.total for _, rows in parts)
        self._scratch: Env = {}
        self._histories: Env = {}
        self._sums: Env = {}
        self._in_parts: dict[Value, bool] = {}
        self._here = slice(0, 0)

    def enter(self, here: slice) -> None:
        """Go to a part, by its place on the packed axis."""
        self._here = here

    def place(self, value: Value) -> Tensor:
        """Uninitialised memory for a value of this part's rows and steps."""
        if self._one:
            return torch.empty((self._most, *value.shape), dtype=value.dtype)
        if value in self._lasting:
            return self._all(value)[self._here]
        if value not in self._scratch:
            self._scratch[value] = torch.empty((self._most, *value.shape), dtype=value.dtype)
        return self._scratch[value][: self._here.stop - self._here.start]

    def history(self, carry: Carry, initial: Tensor) -> Tensor:
        """(B + n, ...) for the first state, set already, and the results of this part's steps."""
        B, n = len(initial), self._here.stop - self._here.start
        if self._one:
            history = initial.new_empty((B + n, *initial.shape[1:]))
            history[:B] = initial
            return history
        # With equal lengths a part's first state is where the last part's results end.
        together = self._packing.order is None and (carry.before in self._lasting or carry.after in self._lasting)
        if carry.before not in self._histories:
            entries = self._packing.total if together else self._most
            self._histories[carry.before] = initial.new_empty((B + entries, *initial.shape[1:]))
        start = self._here.start if together else 0
        history = self._histories[carry.before][start : start + B + n]
        if not (together and start):
            history[:B] = initial
        if together:
            self.whole[carry.after] = self._histories[carry.before][B:]
            self.whole[carry.before] = self._histories[carry.before][: self._packing.total]
        return history

    def sum(self, total: Total, packing: Packing) -> Tensor:
        """Zeros at first, (parts, ...) or (B, ...), that the loop of every part adds to."""
        if total.output not in self._sums:
            lead = self._sum_parts if total.lead == SHARED else packing.batch
            self._sums[total.output] = torch.zeros((lead, *total.output.shape), dtype=total.output.dtype)
            self._in_parts[total.output] = total.lead == SHARED
        return self._sums[total.output]

    def sums(self) -> Env:
        """What the loops of all parts added up."""
        return {value: parts.sum(0) if self._in_parts[value] else parts for value, parts in self._sums.items()}

    def keep(self, value: Value, tensor: Tensor) -> None:
        """Take what this part has of a lasting value."""
        if self._one:
            self.whole[value] = tensor
            return
        place = self._all(value)[self._here]
        if place.data_ptr() != tensor.data_ptr():
            place.copy_(tensor)

    def _all(self, value: Value) -> Tensor:
        if value not in self.whole:
            self.whole[value] = torch.empty((self._packing.total, *value.shape), dtype=value.dtype)
        return self.whole[value]


@dataclass(frozen=True)
class Program:
    """A plan made ready to run.

    forward, invariant, backward, closing: its stages.
    passing: bytes of an entry in values that do not outlive a part of the time axis, forward and backward.
    shared:  bytes of what the loops read at every step, forward and backward.
    """

    plan: Plan
    lowering: Lowering
    forward: tuple[Stager, ...]
    invariant: tuple[Stager, ...]
    backward: tuple[Stager, ...]
    closing: tuple[Stager, ...]
    passing: tuple[int, int]
    shared: tuple[int, int]

    def run_forward(
        self, arguments: Sequence[Tensor], initial: Sequence[Tensor], packing: Packing, return_states: bool
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """(outputs (N, ...), final states (B, ...), states after each step (N, ...) if wanted, what backward needs)."""
        plan, lead = self.plan, self.plan.graph.lead
        given = dict(zip(plan.arguments, arguments, strict=True))
        carried = {carry.before: tensor for carry, tensor in zip(plan.carries, initial, strict=True)}
        lasting = _lasting(plan, return_states)
        parts = packing.parts(_entries(self.passing[0], self.shared[0]))
        memory = Memory(packing, parts, lasting, self.lowering.sum_parts())
        env: Env = {}
        for here, rows in parts:
            memory.enter(here)
            env = {**plan.graph.constants, **(given if len(parts) == 1 else _within(given, here, lead))}
            for stage in self.forward:
                stage(env, carried, rows, memory)
            for value in lasting:
                memory.keep(value, env[value])
        env.update(given)
        env.update(memory.whole)

        def at_all_steps(value: Value) -> Tensor:
            return _spread(env[value], lead[value], packing)

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
        given = dict(zip((*plan.arguments, *plan.saved), (*arguments, *saved), strict=True))
        given.update((value, tensor) for value, tensor in zip(backward.outputs, d_outputs, strict=True) if value is not None)
        # d_states is empty where the states after each step are not given out; then no value asks for it.
        given.update((value, tensor) for value, tensor in zip(backward.states, d_states, strict=False) if value is not None)
        carried = {carry.before: tensor for carry, tensor in zip(backward.carries, d_final, strict=True) if carry is not None}
        parts = packing.parts(_entries(self.passing[1], self.shared[1]))
        lasting = _gradients_of_steps(backward)
        memory = Memory(packing, parts, lasting, self.lowering.sum_parts())
        fixed: Env = {**plan.graph.constants, **backward.constants}
        fixed.update((value, tensor) for value, tensor in given.items() if backward.lead[value] != STEP)
        for stage in self.invariant:
            stage(fixed, carried, packing, None)
        totals: Env = {}
        for here, rows in reversed(parts):
            memory.enter(here)
            env = {**fixed, **(given if len(parts) == 1 else _within(given, here, backward.lead))}
            for stage in self.backward:
                stage(env, carried, rows, memory)
            for value in lasting:
                memory.keep(value, env[value])
            for total in backward.totals:
                inputs = [env[value] for value in total.inputs]
                so_far = totals.get(total.output)
                if self.lowering.fixes_order:
                    totals[total.output] = compute_in_order(total, so_far, inputs, self.lowering.product)
                else:
                    totals[total.output] = compute(total, rows, so_far, inputs)
        env = {**fixed, **given, **memory.whole, **totals, **memory.sums()}
        for stage in self.closing:
            stage(env, carried, packing, None)
        gradients: list[Tensor | None] = []
        for value, tensor, needed in zip(plan.arguments, arguments, backward.needing, strict=True):
            if value in backward.gradients:
                gradients.append(env[backward.gradients[value]])
            else:  # what it is used for has no slope, as in floor(x)
                gradients.append(torch.zeros_like(tensor) if needed else None)
        return gradients, [None if carry is None else carried[carry.before] for carry in backward.carries]


def _entries(passing: int, shared: int) -> int:
    """How many entries a part of the time axis has, about."""
    wanted = PART_BYTES if shared < LARGE else max(PART_BYTES, 2 * shared)
    return max(wanted // passing, LEAST_PART) if passing else sys.maxsize


def _within(given: Env, here: slice, lead: Mapping[Value, int]) -> Env:
    """The tensors, those over all rows and steps cut to a part."""
    return {value: tensor[here] if lead[value] == STEP else tensor for value, tensor in given.items()}


def _lasting(plan: Plan, return_states: bool) -> list[Value]:
    """What the stages forward make that outlives a part of the time axis."""
    lead = plan.graph.lead
    wanted = [*plan.saved, *plan.graph.outputs, *(plan.graph.new_state if return_states else ())]
    return [value for value in dict.fromkeys(wanted) if lead[value] == STEP and value not in plan.arguments]


def _gradients_of_steps(backward: Backward) -> list[Value]:
    """What the stages backward make that outlives a part."""
    return [value for value in dict.fromkeys(backward.gradients.values()) if backward.lead[value] == STEP]


def make_prelude(graph: Graph) -> tuple[Stager, ...]:
    """What depends on weights, context and a sequence's noise only."""
    return tuple(_batched(stage, stage.ops, graph.lead, graph.stopped) for stage in prelude_of(graph))


def make_program(plan: Plan, lowering: Lowering) -> Program:
    """The plan, with its loops compiled."""
    backward = plan.backward
    lead = plan.graph.lead if backward is None else backward.lead

    read_after = set(_lasting(plan, return_states=True))
    if backward is not None:
        read_after |= {value for total in backward.totals for value in total.inputs}

    def ready(stages: Sequence[Stage], wanted: Iterable[Value], reverse: bool = False) -> tuple[tuple[Stager, ...], int]:
        """The stages, and how many bytes of an entry they make that nobody reads after them."""
        wanted = set(wanted)
        readers = Counter(value for stage in stages for value in _read(stage)) + Counter(wanted)
        made: list[Stager] = []
        passing = 0
        for stage in stages:
            if isinstance(stage, Batched) and lowering.fixes_order:
                made.append(_batched_in_order(stage, lead, readers + Counter(read_after), lowering))
                passing += sum(_bytes(op.output) for op in stage.ops if op.output not in wanted)
            elif isinstance(stage, Batched):
                ops = _with_biases(stage.ops, lead, readers)
                made.append(_batched(stage, ops, lead, plan.graph.stopped))
                passing += sum(_bytes(op.output) for op in ops if op.kind in ("matvec", "linear") and op.output not in wanted)
            elif isinstance(stage, Shift):
                made.append(_shift(stage.carry, lead, reverse))
            else:
                made.append(_recurrence(stage, lowering.compile(stage.loop)))
                passing += sum(_bytes(value) for value in stage.loop.written if value not in wanted)
        return tuple(made), passing

    def shared(stages: Sequence[Stage]) -> int:
        return sum(_bytes(value) for stage in stages if isinstance(stage, Recurrence) for value in stage.loop.shared)

    forward, passing = ready(plan.stages, _lasting(plan, return_states=False))
    if backward is None:
        return Program(plan, lowering, forward, (), (), (), (passing, 0), (shared(plan.stages), 0))
    stages, passing_backward = ready(backward.stages, _gradients_of_steps(backward), reverse=True)
    return Program(
        plan=plan,
        lowering=lowering,
        forward=forward,
        invariant=ready(backward.invariant, ())[0],
        backward=stages,
        closing=ready(backward.closing, ())[0],
        passing=(passing, passing_backward),
        shared=(shared(plan.stages), shared(backward.stages)),
    )


def _read(stage: Stage) -> list[Value]:
    """The values that a stage reads, as often as it does."""
    if isinstance(stage, Batched):
        return [value for op in stage.ops for value in op.values]
    if isinstance(stage, Shift):
        return [stage.carry.after]
    return [*stage.loop.shared, *stage.loop.per_row, *stage.loop.per_step]


def _bytes(value: Value) -> int:
    return batched.size(value) * value.dtype.itemsize


def _with_biases(ops: Sequence[Op], lead: Mapping[Value, int], readers: Mapping[Value, int]) -> list[Op]:
    """The operations, a bias added while its product is made: as "linear" (W, x, b), which batched.py alone knows."""
    products = {op.output: op for op in ops if op.kind == "matvec" and not op.attributes["transposed"] and readers[op.output] == 1}
    fused: list[Op] = []
    for op in ops:
        if op.kind == "add" and len(op.values) == 2:
            for product, bias in (op.values, op.values[::-1]):
                if product in products and lead[bias] == SHARED and bias.shape == product.shape:
                    fused = [other for other in fused if other.output != product]
                    op = Op("linear", (*products[product].inputs, bias), op.output, line=op.line)
                    break
        fused.append(op)
    return fused


def _spread(tensor: Tensor, lead: int, packing: Packing) -> Tensor:
    """(N, ...) of a tensor with any lead."""
    if lead == STEP:
        return tensor
    return packing.spread(tensor) if lead == ROW else tensor.expand(packing.total, *tensor.shape)


def _batched(stage: Batched, ops: Sequence[Op], lead: Mapping[Value, int], stopped: Container[Value]) -> Stager:
    made = batched.instructions(ops, lambda value: lead[value] != SHARED, stopped)
    inside = {op.output for op in ops}
    over_steps = stage.lead == STEP
    rows = {value for op in ops for value in op.values if over_steps and value not in inside and lead[value] == ROW}

    def run(env: Env, carried: Env, packing: Packing, memory: Memory | None) -> None:
        own = {value: env[value] for value in rows}
        for value in rows:
            env[value] = packing.spread(env[value])
        batched.run(made, env, memory.place if memory is not None and over_steps else None)
        env.update(own)

    return run


def _batched_in_order(stage: Batched, lead: Mapping[Value, int], readers: Mapping[Value, int], lowering: Lowering) -> Stager:
    """The operations as a loop of one step, whose rows are all rows and steps; of what is made once, one row or those there are."""
    inside = Counter(value for op in stage.ops for value in op.values)
    outputs = [op.output for op in stage.ops]
    given = [value for value in inside if value not in set(outputs)]
    written = [value for value in outputs if readers[value] > inside[value] or stage.lead != STEP]
    shared = [value for value in given if lead[value] == SHARED and stage.lead == STEP]
    rest = [value for value in given if value not in shared]
    run_loop = lowering.compile(Loop(ops=stage.ops, shared=tuple(shared), per_step=tuple(rest), written=tuple(written)))

    def run(env: Env, carried: Env, packing: Packing, memory: Memory | None) -> None:
        N = packing.total if stage.lead == STEP else packing.batch if stage.lead == ROW else 1

        def all_rows(value: Value) -> Tensor:
            tensor = env[value]
            if lead[value] == SHARED:
                tensor = tensor.expand(N, *tensor.shape)
            elif lead[value] < stage.lead:
                tensor = packing.spread(tensor)
            return tensor.contiguous()

        buffers = [*(env[value].contiguous() for value in shared), *map(all_rows, rest)]
        here = memory.place if memory is not None and stage.lead == STEP else None
        places = [torch.empty(N, *value.shape, dtype=value.dtype) if here is None else here(value)[:N] for value in written]
        run_loop([*buffers, *places], one_step(1, N, None))
        for value, place in zip(written, places, strict=True):
            env[value] = place[0] if lead[value] == SHARED else place

    return run


def _shift(carry: Carry, lead: Mapping[Value, int], reverse: bool) -> Stager:
    def run(env: Env, carried: Env, packing: Packing, memory: Memory | None) -> None:
        after = _spread(env[carry.after], lead[carry.after], packing)
        initial = carried[carry.before]
        if reverse:
            env[carry.before] = packing.after(after, initial)
            carried[carry.before] = packing.first(after, initial)
        else:
            env[carry.before] = packing.before(torch.cat([initial, after]))
            carried[carry.before] = packing.last(after, initial).clone()  # its memory is the next part's

    return run


def _recurrence(stage: Recurrence, run_loop: LoopRunner) -> Stager:
    loop = stage.loop
    given = (*loop.shared, *loop.per_row, *loop.per_step)
    histories = {carry.after: carry for carry in stage.histories}  # one buffer for first state and results

    befores = [carry.before for carry in loop.carried]

    def run(env: Env, carried: Env, packing: Packing, memory: Memory | None) -> None:
        assert memory is not None
        buffers = [env[value].contiguous() for value in given]
        initial = {before: carried[before] for before in befores}
        for before in befores:
            carried[before] = initial[before].clone(memory_format=torch.contiguous_format)
        written: Env = {}
        history: Env = {}
        for value in loop.written:
            if value in histories:
                before = histories[value].before
                history[before] = memory.history(histories[value], initial[before])
                written[value] = history[before][packing.batch :]
            else:
                written[value] = memory.place(value)
        sums = [memory.sum(total, packing) for total in stage.totals]
        run_loop([*buffers, *(carried[before] for before in befores), *written.values(), *sums], packing)
        env.update(written)
        for carry in stage.histories:
            before = carry.before
            env[before] = packing.before(
                history[before] if before in history else torch.cat([initial[before], written[carry.after]])
            )

    return run
