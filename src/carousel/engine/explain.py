"""The plan of a call in words: what is made once, what runs over all steps at once, what loops, what is kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from carousel.cell import Cell
from carousel.engine import LOWERING, refusal_of_step
from carousel.engine.adjoint import differentiable
from carousel.engine.ir import Op, Value
from carousel.engine.loop_distribution import Batched, Recurrence, Shift, Stage
from carousel.engine.plan import Plan, prelude_of
from carousel.engine.scan_call import Call
from carousel.engine.scan_function import lower
from carousel.engine.sums_over_time import Total


def explain(cell: Cell, call: Call, code: bool = False) -> str:
    """How `backend="auto"` runs a call, as text; with the machine code's LLVM text where `code` is set."""
    name = type(cell).__name__
    refusal = refusal_of_step(cell, call)
    if refusal is not None:
        return f"{name} runs on backend eager, one step after the other: {refusal}\n"
    lowered = lower(cell, call, LOWERING)
    graph, weights, grad = lowered.graph, call.cell_now.weights, torch.is_grad_enabled()
    frozen = {value for value, tensor in zip(graph.weights, weights.values(), strict=True) if not tensor.requires_grad}
    needs = tuple(grad and differentiable(value) and value not in frozen for value in lowered.arguments)
    state_needs = tuple(grad and differentiable(value) for value in graph.state)
    plan = lowered.program(needs, state_needs, call.return_states).plan
    known = dict(zip(graph.weights, weights, strict=True))
    device = LOWERING.device.upper()
    lines = [f"{name} runs on backend {LOWERING.name}: plain tensors on the {device}, and every operation of its step is known."]
    lines += _section("made once a call (PyTorch differentiates it)", prelude_of(graph), known)
    lines += _section("forward", plan.stages, known)
    lines += _kept(plan, call)
    if plan.backward is not None:
        stages = (*plan.backward.invariant, *plan.backward.stages)
        lines += _section("backward, for gradients of everything", stages, known)
        lines += [f"  sums over time: {', '.join(_total(total) for total in plan.backward.totals)}"] if plan.backward.totals else []
    if code:
        lines += _code(plan)
    return "\n".join(lines) + "\n"


def _section(title: str, stages: Iterable[Stage], known: dict[Value, str]) -> list[str]:
    lines = [f"{title}:"]
    for stage in stages:
        if isinstance(stage, Batched):
            lines.append("  at once, by PyTorch:")
            lines += [f"    {_operation(op, known)}" for op in stage.ops]
        elif isinstance(stage, Shift):
            lines.append(f"  moved on by one step: {_named(stage.carry.after, known)} to {_named(stage.carry.before, known)}")
        else:
            loop = stage.loop
            carried = ", ".join(f"{_named(carry.before, known)} {carry.before.shape}" for carry in loop.carried)
            order = "from the last step to the first" if loop.reverse else "step by step"
            lines.append(
                f"  a {LOWERING.name} loop, {order}, carries {carried}; writes {_numbers(loop.written)} numbers a row and step:"
            )
            lines += [f"    {_operation(op, known)}" for op in loop.ops]
            lines += [f"    adds up over time {', '.join(_total(total) for total in stage.totals)}"] if stage.totals else []
    return lines if len(lines) > 1 else [f"{title}: nothing"]


def _named(value: object, known: dict[Value, str]) -> str:
    if isinstance(value, Value):
        return known.get(value, value.name)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _operation(op: Op, known: dict[Value, str]) -> str:
    given = ", ".join(_named(item, known) for item in op.inputs)
    options = "".join(f", {name}={value}" for name, value in op.attributes.items())
    text = f"{op.output.name} {op.output.shape} = {op.kind}({given}{options})"
    return f"{text:<72}  {Path(op.line).name}".rstrip()


def _total(total: Total) -> str:
    return f"{total.output.name} = {total.kind}({', '.join(value.name for value in total.inputs)})"


def _numbers(values: Iterable[Value]) -> int:
    return sum(torch.Size(value.shape).numel() for value in values)


def _kept(plan: Plan, call: Call) -> list[str]:
    each = sum(torch.Size(value.shape).numel() * value.dtype.itemsize for value in plan.saved)
    steps = call.steps * call.batch if call.lengths is None else int(call.lengths.sum())
    what = ", ".join(f"{value.name} {value.shape}" for value in plan.saved) or "nothing"
    return [f"kept for backward: {each} bytes a row and step, {each * steps} in this call: {what}"]


def _code(plan: Plan) -> list[str]:
    stages = (*plan.stages, *(plan.backward.stages if plan.backward is not None else ()))
    return [LOWERING.code(stage.loop) for stage in stages if isinstance(stage, Recurrence)]
