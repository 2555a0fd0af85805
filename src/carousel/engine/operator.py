"""The lowering by loops as one operator, for `torch.compile` and `torch.export`.

They trace a call on tensors without data, so nothing of it may be run or looked into: in what they
make of it, a scan is a single call of ``carousel::scan``, and its gradients one of
``carousel::scan_backward``. Eager calls take the autograd function of scan_function.py, which costs less.

Operators take tensors, numbers and texts only. A captured step is named by a digest of its graph,
under which it is kept for as long as the process lives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.engine.ir import ROW, SHARED, STEP, Graph, Value
from carousel.engine.lowering import Lowering
from carousel.engine.packing import Packing, packing
from carousel.engine.program import Program
from carousel.engine.scan_call import Call, rebuilt
from carousel.engine.scan_function import Lowered, lower
from carousel.errors import InputError
from carousel.torch_private import DisableTorchFunction, name_tuples, no_modes, pytree, storage_id, with_forward_derivatives

_steps: dict[str, Lowered] = {}
"""The captured steps that traced calls have named."""


def run(cell: Cell, call: Call, lowering: Lowering) -> tuple[Any, Any, Any]:
    """(outputs, final_state, states) as `carousel.scan` gives them, of a call that is being traced.

    Raises:
        UnsupportedStep: the step has an operation that cannot be lowered.
    """
    # A switch of gradients in here is no part of what is traced.
    with no_modes(), DisableTorchFunction():
        lowered = lower(cell, _one_step(call), lowering)
        name = _digest(lowered.graph)
        any_rows = packing(1, 1, None)  # the prelude goes row by row, whatever the rows are; remembered, so made here
    _steps.setdefault(name, lowered)
    graph = lowered.graph
    inputs, state, context, step_noise, sequence_noise = call.leaves

    env = dict(graph.constants)
    given = (*graph.weights, *graph.inputs, *graph.step_noise, *graph.context, *graph.sequence_noise)
    env.update(zip(given, (*call.cell_now.weights.values(), *inputs, *step_noise, *context, *sequence_noise), strict=True))
    for stage in lowered.prelude:
        stage(env, {}, any_rows, None)
    tensors = [*(env[value] for value in lowered.arguments), *state]
    needs = [torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors]

    flat = scan(tensors, call.lengths, name, needs, call.steps, call.batch, call.return_states)
    n_outputs, n_states = len(graph.outputs), len(state)
    y = pytree.tree_unflatten(flat[:n_outputs], lowered.y_spec)
    for tree in (call.inputs, call.state, call.context, y):
        name_tuples(tree)
    final_state = rebuilt(call.state, flat[n_outputs : n_outputs + n_states])
    if not call.return_states:
        return y, final_state, None
    states = flat[n_outputs + n_states : n_outputs + 2 * n_states]
    if call.lengths is not None:
        states = [_standing_still(leaf, first, call.lengths) for leaf, first in zip(states, state, strict=True)]
    return y, final_state, rebuilt(call.state, states)


def _one_step(call: Call) -> Call:
    """A call of one step of one sequence with the same shapes and dtypes, of tensors without data."""

    def like(tree: Any, axes: int) -> Any:
        return pytree.tree_map(
            lambda leaf: torch.empty((1,) * axes + tuple(map(int, leaf.shape[axes:])), dtype=leaf.dtype, device="meta"), tree
        )

    context = None if call.context is None else like(call.context, 1)
    noise = like(call.step_noise, 2), like(call.sequence_noise, 1)
    return Call(call.cell_now, 1, 1, like(call.inputs, 2), like(call.state, 1), context, *noise, None, call.return_states)


def _standing_still(states: Tensor, initial: Tensor, lengths: Tensor) -> Tensor:
    """States after each step (T, B, ...), with that of a sequence's end in place of what is past it."""
    last = torch.minimum(torch.arange(states.shape[0])[:, None], lengths - 1)  # (T, B)
    made = states[last.clamp_min(0), torch.arange(states.shape[1])]
    return torch.where((last >= 0).reshape(last.shape + (1,) * (states.dim() - 2)), made, initial)


def _digest(graph: Graph) -> str:
    """A name for all that the results of a step depend on."""

    def said(given: object) -> str:
        return f"{given.name} {given.shape} {given.dtype}" if isinstance(given, Value) else repr(given)

    digest = hashlib.sha256()
    for group in ("weights", "inputs", "state", "context", "step_noise", "sequence_noise", "outputs", "new_state"):
        digest.update(f"{group} {[said(value) for value in getattr(graph, group)]}\n".encode())
    for op in graph.ops:
        attributes = sorted((key, repr(value)) for key, value in op.attributes.items())
        stopped = op.output in graph.stopped
        digest.update(f"{op.kind} {[said(given) for given in op.inputs]} {attributes} -> {said(op.output)} {stopped}\n".encode())
    for value, constant in graph.constants.items():
        digest.update(f"{said(value)} {constant.tolist()!r}\n".encode())
    return digest.hexdigest()[:32]


def _program(step: str, needs: Sequence[bool], return_states: bool) -> tuple[Lowered, Program]:
    """The captured step of that name, and its program for these gradients."""
    lowered = _steps.get(step)
    if lowered is None:
        raise InputError(
            f"carousel::scan: no step {step} in this process: machine code is not part of an exported program; "
            "export the model here, or load its weights into a model made here"
        )
    count = len(lowered.arguments)
    with no_modes():
        return lowered, lowered.program(tuple(needs[:count]), tuple(needs[count:]), return_states)


def _packed(lowered: Lowered, tensors: Sequence[Tensor], rows: Packing) -> tuple[list[Tensor], list[Tensor]]:
    """(arguments, initial states) as a program takes them."""
    pack = {SHARED: lambda tensor: tensor, ROW: rows.pack_rows, STEP: rows.pack_steps}
    count, lead = len(lowered.arguments), lowered.graph.lead
    arguments = [pack[lead[value]](tensor) for value, tensor in zip(lowered.arguments, tensors[:count], strict=True)]
    return arguments, [rows.pack_rows(tensor) for tensor in tensors[count:]]


def _rows(lengths: Tensor | None, steps: int, batch: int) -> Packing:
    if with_forward_derivatives():  # PyTorch would give tangents of zero
        raise InputError("carousel::scan: no forward-mode derivatives through a compiled or exported call; run it uncompiled")
    if lengths is not None and batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise InputError(f"scan: expected lengths in 0..T = {steps}, got {int(lengths.min())}..{int(lengths.max())}")
    return packing(steps, batch, lengths)


def _own(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, contiguous and each at the beginning of memory of its own: what an operator gives shares none."""
    taken = {storage_id(tensor.untyped_storage()) for tensor in others}
    result = []
    for tensor in tensors:
        if not tensor.is_contiguous() or tensor.storage_offset() or storage_id(tensor.untyped_storage()) in taken:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(storage_id(tensor.untyped_storage()))
        result.append(tensor)
    return result


@torch.library.custom_op("carousel::scan", mutates_args=(), device_types="cpu")
def scan(
    tensors: Sequence[Tensor],
    lengths: Tensor | None,
    step: str,
    needs: Sequence[bool],
    steps: int,
    batch: int,
    return_states: bool,
) -> list[Tensor]:
    """(outputs (T, B, ...), final states (B, ...), states after each step (T, B, ...), what backward needs (T * B, ...)), flat.

    Args:
        tensors:  the arguments of the step's plan, then the initial states (B, ...): those of each step (T, B, ...).
        step:     name of the captured step.
        needs:    which of the tensors need a gradient.
    """
    lowered, program = _program(step, needs, return_states)
    rows = _rows(lengths, steps, batch)
    arguments, initial = _packed(lowered, tensors, rows)
    outputs, final, states, saved = program.run_forward(arguments, initial, rows, return_states)
    over_steps = [rows.unpack_steps(leaf) for leaf in (*outputs, *states)]
    results = [*over_steps[: len(outputs)], *map(rows.unpack_rows, final), *over_steps[len(outputs) :]]
    if rows.total < steps * batch:  # a traced call knows no other size
        saved = [torch.cat([leaf, leaf.new_zeros(steps * batch - rows.total, *leaf.shape[1:])]) for leaf in saved]
    return _own([*results, *saved], [*tensors, *lowered.graph.constants.values()])


@scan.register_fake
def _(
    tensors: Sequence[Tensor],
    lengths: Tensor | None,
    step: str,
    needs: Sequence[bool],
    steps: int,
    batch: int,
    return_states: bool,
) -> list[Tensor]:
    lowered, program = _program(step, needs, return_states)
    graph = lowered.graph

    def empty(values: Sequence[Value], *leading: int) -> list[Tensor]:
        return [torch.empty((*leading, *value.shape), dtype=value.dtype) for value in values]

    states = empty(graph.new_state, steps, batch) if return_states else []
    saved = empty(program.plan.saved, steps * batch)
    return [*empty(graph.outputs, steps, batch), *empty(graph.new_state, batch), *states, *saved]


@torch.library.custom_op("carousel::scan_backward", mutates_args=(), device_types="cpu")
def scan_backward(
    tensors: Sequence[Tensor],
    saved: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    lengths: Tensor | None,
    step: str,
    needs: Sequence[bool],
    steps: int,
    batch: int,
    return_states: bool,
) -> list[Tensor]:
    """Gradients of those tensors of `scan` that need one; cotangents are those of what `scan` gives but for what is saved."""
    lowered, program = _program(step, needs, return_states)
    rows = _rows(lengths, steps, batch)
    arguments, _ = _packed(lowered, tensors, rows)
    n_outputs, n_states = len(lowered.graph.outputs), len(lowered.graph.state)
    d_final = [rows.pack_rows(leaf) for leaf in cotangents[n_outputs : n_outputs + n_states]]
    d_outputs, d_states = (
        [rows.pack_steps(leaf) for leaf in some] for some in (cotangents[:n_outputs], cotangents[n_outputs + n_states :])
    )
    kept = [leaf[: rows.total] for leaf in saved]
    gradients, d_initial = program.run_backward(arguments, kept, d_outputs, d_final, d_states, rows)

    unpack = {SHARED: lambda tensor: tensor, ROW: rows.unpack_rows, STEP: rows.unpack_steps}
    leads = [*(lowered.graph.lead[value] for value in lowered.arguments), *[ROW] * n_states]
    found = [
        torch.zeros_like(tensor) if gradient is None else unpack[lead](gradient)
        for tensor, gradient, lead, needed in zip(tensors, (*gradients, *d_initial), leads, needs, strict=True)
        if needed
    ]
    return _own(found, [*tensors, *saved, *cotangents, *lowered.graph.constants.values()])


@scan_backward.register_fake
def _(
    tensors: Sequence[Tensor],
    saved: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    lengths: Tensor | None,
    step: str,
    needs: Sequence[bool],
    steps: int,
    batch: int,
    return_states: bool,
) -> list[Tensor]:
    return [torch.empty(tensor.shape, dtype=tensor.dtype) for tensor, needed in zip(tensors, needs, strict=True) if needed]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    tensors, lengths, step, needs, steps, batch, return_states = inputs
    if any(tensor.requires_grad and not needed for tensor, needed in zip(tensors, needs, strict=True)):
        raise InputError(
            "carousel::scan: a gradient is asked for that the traced program does not make; "
            "trace it with gradients enabled and requires_grad on all that shall have one, or run it under torch.no_grad()"
        )
    graph = _steps[step].graph
    n_results = len(graph.outputs) + (2 if return_states else 1) * len(graph.state)
    ctx.options = step, needs, steps, batch, return_states
    ctx.counts = len(tensors), n_results
    ctx.save_for_backward(*tensors, *output, *([] if lengths is None else [lengths]))
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, cotangents: list[Tensor | None]) -> tuple[Any, ...]:
    n_tensors, n_results = ctx.counts
    step, needs, steps, batch, return_states = ctx.options
    kept = ctx.saved_tensors  # read once: activation checkpointing makes them anew, once
    tensors, output = kept[:n_tensors], kept[n_tensors : n_tensors + len(cotangents)]
    lengths = next(iter(kept[n_tensors + len(cotangents) :]), None)
    given = [torch.zeros_like(leaf) if d is None else d for leaf, d in zip(output[:n_results], cotangents[:n_results], strict=True)]
    found = iter(scan_backward(tensors, output[n_results:], given, lengths, step, needs, steps, batch, return_states))
    return [next(found) if needed else None for needed in needs], *[None] * 6


scan.register_autograd(_gradients, setup_context=_keep)
