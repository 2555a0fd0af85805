"""The engine: a cell's step, captured once, and the backends that run it over time.

`run` is behind `carousel.scan`: the backend is chosen here, nowhere else. "eager" is PyTorch, one step
after the other; the other one is the lowering (lowering.py). "auto" is the lowering where that applies,
else "eager": by the rule in `refusal_of`, never by timing, so that the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from carousel.cell import Cell, State, TreeCell
from carousel.engine import eager, scan_function
from carousel.engine.capture import UnsupportedStep
from carousel.engine.checks import checked_call, look_at
from carousel.engine.levels import Levels
from carousel.engine.levels import run as run_levels
from carousel.engine.lowering import Lowering, WholeStep
from carousel.engine.native import Native
from carousel.engine.native.portable import Portable
from carousel.engine.scan_call import Call, being_compiled, leaves, mapped, rebuilt
from carousel.errors import InputError
from carousel.torch_private import dispatch_modes, in_transform, with_forward_derivatives

LOWERING: Lowering = Native()
"""What runs loops. Where there is a second one, it is chosen here, by the device of a call's tensors."""

PORTABLE: Lowering = Portable()
"""What runs loops with `bits="portable"`."""

BITS = ("fast", "portable")

BACKENDS = ("eager", LOWERING.name)
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
    bits: str = "fast",
) -> tuple[Any, ...]:
    """What `carousel.scan` gives."""
    given, starts = cell, state is None
    cell, call = checked_call(cell, inputs, state, context, generator, lengths, return_states)
    if bits == "portable" and torch.is_grad_enabled() and starts and any(leaf.requires_grad for leaf in call.leaves[1]):
        raise InputError("scan: bits='portable' does not apply: PyTorch sums the gradient of a learned initial state; pass `state`")
    if bits == "portable" and cell is not given:
        raise InputError("scan: bits='portable' does not apply: PyTorch computes weights of the cell from others")
    outputs, final_state, states = run(cell, call, backend, bits)
    return (outputs, final_state, states) if return_states else (outputs, final_state)


def check_bits(who: str, bits: str) -> None:
    """InputError for an unknown value of `bits`."""
    if bits not in BITS:
        raise InputError(f"{who}: unknown bits {bits!r}, expected one of: {', '.join(BITS)}")


def _run_portable(cell: Cell, call: Call, backend: str) -> tuple[Any, Any, Any]:
    """Run the cell with one order of operations on all machines, or refuse."""
    refusal = "backend 'eager' has no such form" if backend == "eager" else refusal_of(call, PORTABLE)
    if being_compiled():
        refusal = "the call is being traced"
    if refusal is None:
        try:
            with PORTABLE.placing():
                return scan_function.run(cell, call, PORTABLE)
        except UnsupportedStep as unsupported:
            refusal = str(unsupported)
    raise InputError(f"scan: bits='portable' does not apply: {refusal}")


def run(cell: Cell, call: Call, backend: str, bits: str = "fast") -> tuple[Any, Any, Any]:
    """Run the cell over all time steps on the named backend.

    Raises:
        InputError: an unknown backend, or a lowering by name where it does not apply, with the reason.
    """
    if backend not in ("auto", *BACKENDS):
        raise InputError(f"scan: unknown backend {backend!r}, expected one of: auto, {', '.join(BACKENDS)}")
    check_bits("scan", bits)
    if bits == "portable":
        return _run_portable(cell, call, backend)
    if being_compiled():
        return _run_traced(cell, call, backend)
    if backend == "eager":
        return eager.run(cell, call)
    refusal = refusal_of(call)
    if refusal is None:
        try:
            with LOWERING.placing():
                return scan_function.run(cell, call, LOWERING)
        except UnsupportedStep:
            if backend != "auto":
                raise
    elif backend != "auto":
        raise InputError(f"scan: backend {backend!r} does not apply: {refusal}; use backend='eager' or 'auto'")
    return eager.run(cell, call)


def _run_traced(cell: Cell, call: Call, backend: str) -> tuple[Any, Any, Any]:
    """A call that is being traced: one operator, or an error."""
    from carousel.engine import operator  # to register operators takes time, and few calls are traced

    tensors = [*call.cell_now.weights.values(), *(leaf for leaves in call.leaves for leaf in leaves)]
    refusal = "backend 'eager' cannot be traced" if backend == "eager" else LOWERING.refuses(tensors)
    if in_transform():
        refusal = "the call is inside a torch.func transform"
    if with_forward_derivatives():
        refusal = "forward-mode derivatives are asked for"
    try:
        if refusal is None:
            return operator.run(cell, call, LOWERING)
    except UnsupportedStep as unsupported:
        refusal = str(unsupported)
    raise InputError(
        f"scan: it is compiled and exported natively or not at all: {refusal}; "
        "call it outside of what is traced, or compile without fullgraph"
    )


def refusal_of(call: Call, lowering: Lowering = LOWERING) -> str | None:
    """Why a call cannot run on the lowering, whatever its step does; None where it can."""
    tensors = [*call.cell_now.weights.values(), *(leaf for leaves in call.leaves for leaf in leaves)]
    unsuited = lowering.refuses(tensors)
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


def refusal_of_step(cell: Cell, call: Call) -> str | None:
    """Why a call does not run on the lowering; None where it does. The step is captured, nothing is run."""
    found = refusal_of(call)
    if found is None:
        try:
            scan_function.lower(cell, call, LOWERING)
        except UnsupportedStep as unsupported:
            found = str(unsupported)
    return found


def fold(cell: TreeCell, inputs: Any, leaf_states: Any, levels: Levels, backend: str) -> Any:
    """The states (inner, ...) of the nodes that have children, as `carousel.fold` makes them; None where PyTorch is to make them.

    Args:
        inputs:       tree of (inner, ...), what these nodes read.
        leaf_states:  tree of (leaves, ...), those of the other nodes.
    """
    if backend not in ("auto", *BACKENDS):
        raise InputError(f"fold: unknown backend {backend!r}, expected one of: auto, {', '.join(BACKENDS)}")
    if backend == "eager":
        return None
    given, cell_now = look_at("fold", cell)
    inner, K = levels.children.shape
    children = mapped(lambda leaf: leaf.new_empty(()).expand(inner, K, *leaf.shape[1:]), leaf_states)
    x = mapped(lambda leaf: leaf[None], inputs)
    call = Call(cell_now, 1, inner, x, children, None, {}, {}, None, False)
    refusal = refusal_of(call)
    if refusal is None:
        try:
            return rebuilt(leaf_states, run_levels(given, call, levels, leaves(leaf_states), LOWERING))
        except UnsupportedStep:
            if backend != "auto":
                raise
    elif backend != "auto":
        raise InputError(f"fold: backend {backend!r} does not apply: {refusal}; use backend='eager' or 'auto'")
    return None


def interception() -> str | None:
    """Who looks at every operation of a call, so that none may be left out; None where nobody does."""
    if torch.compiler.is_compiling() or dispatch_modes():
        return "the call is being traced"
    if in_transform():
        return "the call is inside a torch.func transform"
    return None


def whole_step(cell: Cell, call: Call, bits: str = "fast") -> WholeStep | None:
    """The step of a call of one step of one sequence, as one routine; None where there can be none."""
    lowering = PORTABLE if bits == "portable" else LOWERING
    if refusal_of(call, lowering) is not None:
        return None
    weights, context = call.cell_now.weights.values(), call.leaves[2]
    if any(tensor.is_inference() for tensor in (*weights, *context)):  # when they change is not known
        return None
    try:
        with lowering.placing():
            return lowering.step(call, scan_function.lower(cell, call, lowering))
    except InputError:
        return None
