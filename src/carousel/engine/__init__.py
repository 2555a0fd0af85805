"""The engine: a cell's step, captured once, and the backends that run it over time.

`run` is the seam behind `carousel.scan`: a backend is a function ``(cell, call) -> (outputs,
final_state, states)`` and is chosen here, nowhere else. "auto" is "native" where that applies, else
"eager": by the rule in `native_refusal`, never by timing, so that the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from carousel.cell import Cell, State
from carousel.engine import eager, lowered
from carousel.engine.call import Call, being_compiled
from carousel.engine.capture import UnsupportedStep
from carousel.engine.checks import checked_call
from carousel.engine.ir import Loop
from carousel.engine.packing import Packing
from carousel.engine.program import LoopRunner
from carousel.engine.step import NativeStep
from carousel.errors import InputError
from carousel.torch_private import dispatch_modes, in_transform, with_forward_derivatives

BACKENDS = ("eager", "native")
"""The backends by name, beside "auto"."""


def scan(
    cell: Cell,
    inputs: Any,
    state: State,
    context: Any,
    generator: torch.Generator | None,
    lengths: Tensor | Sequence[int] | None,
    return_states: bool,
    backend: str,
) -> tuple[Any, ...]:
    """What `carousel.scan` gives."""
    call = checked_call(cell, inputs, state, context, generator, lengths, return_states)
    outputs, final_state, states = run(cell, call, backend)
    return (outputs, final_state, states) if return_states else (outputs, final_state)


def run(cell: Cell, call: Call, backend: str) -> tuple[Any, Any, Any]:
    """Run the cell over all time steps on the named backend.

    Raises:
        InputError: an unknown backend, or "native" by name where it does not apply, with the reason.
    """
    if backend not in ("auto", *BACKENDS):
        raise InputError(f"scan: unknown backend {backend!r}, expected one of: auto, {', '.join(BACKENDS)}")
    if being_compiled():
        return _run_traced(cell, call, backend)
    if backend == "eager":
        return eager.run(cell, call)
    refusal = native_refusal(call)
    if refusal is None:
        try:
            return lowered.run(cell, call, compile_native)
        except UnsupportedStep:
            if backend == "native":
                raise
    elif backend == "native":
        raise InputError(f"scan: backend 'native' does not apply: {refusal}; use backend='eager' or 'auto'")
    return eager.run(cell, call)


def _run_traced(cell: Cell, call: Call, backend: str) -> tuple[Any, Any, Any]:
    """A call that is being traced: one operator, or an error."""
    from carousel.engine import operator  # to register operators takes time, and few calls are traced

    tensors = [*call.cell_now.weights.values(), *(leaf for leaves in call.leaves for leaf in leaves)]
    refusal = "backend 'eager' cannot be traced" if backend == "eager" else _unsuited(tensors)
    if in_transform():
        refusal = "the call is inside a torch.func transform"
    if with_forward_derivatives():
        refusal = "forward-mode derivatives are asked for"
    try:
        if refusal is None:
            return operator.run(cell, call, compile_native)
    except UnsupportedStep as unsupported:
        refusal = str(unsupported)
    raise InputError(
        f"scan: it is compiled and exported natively or not at all: {refusal}; "
        "call it outside of what is traced, or compile without fullgraph"
    )


_FREQUENT = frozenset({torch.float32, torch.float64, torch.int64, torch.bool})


def _unsuited(tensors: Iterable[Tensor]) -> str | None:
    """Why native code cannot take these tensors; None where it can."""
    for tensor in tensors:
        if tensor.is_cpu and tensor.dtype in _FREQUENT:
            continue
        if tensor.device.type != "cpu":
            return f"it runs on the CPU, got a tensor on {tensor.device}"
        if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
            return f"it knows float32 and float64, got {tensor.dtype}"
    return None


def native_refusal(call: Call) -> str | None:
    """Why a call cannot run on native code, whatever its step does; None where it can."""
    tensors = [*call.cell_now.weights.values(), *(leaf for leaves in call.leaves for leaf in leaves)]
    unsuited = _unsuited(tensors)
    if unsuited is not None:
        return unsuited
    for tensor in tensors:
        if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer):
            return f"it takes plain tensors, got {type(tensor).__name__}"
    intercepted = interception()
    if intercepted is not None:
        return intercepted
    if with_forward_derivatives() and any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        return "forward-mode derivatives are asked for"
    return None


def interception() -> str | None:
    """Who looks at every operation of a call, so that none may be left out; None where nobody does."""
    if torch.compiler.is_compiling() or dispatch_modes():
        return "the call is being traced"
    if in_transform():
        return "the call is inside a torch.func transform"
    return None


def native_step(cell: Cell, call: Call) -> NativeStep | None:
    """The step of a call of one step of one sequence, as one native routine; None where there can be none."""
    if native_refusal(call) is not None:
        return None
    found = call.cell_now
    if any(tensor.is_inference() for tensor in (*found.weights.values(), *call.leaves[2])):  # when they change is not known
        return None
    try:
        return NativeStep(call, lowered.lower(cell, call, compile_native))
    except InputError:
        return None


def compile_native(loop: Loop) -> LoopRunner:
    """A loop as machine code."""
    from carousel.engine import native  # llvmlite is loaded when the first loop is compiled

    compiled = native.compile_loop(loop)
    in_lanes_for = lru_cache(maxsize=64)(compiled.in_lanes)  # to weigh it up takes as long as many calls

    def run_loop(buffers: Sequence[Tensor], packing: Packing) -> None:
        T, B, threads = packing.steps, packing.batch, torch.get_num_threads()
        in_lanes = in_lanes_for(B, threads) if packing.order is None and T * B else None
        if in_lanes is not None:
            in_lanes.run(buffers, T, B, threads)
            return
        compiled.run([buffer.data_ptr() for buffer in buffers], packing.offsets.data_ptr(), T, B, threads)

    return run_loop
