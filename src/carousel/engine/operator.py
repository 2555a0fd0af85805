"""`scan` as one operator of PyTorch, for `torch.compile` and `torch.export`, which look at operations and not into them.

The operator takes tensors and numbers only: the cell's weights are among the tensors, and the cell itself is found by
a number. So a program made by torch.export runs in the process that made it. What backward needs is not kept: the
operator of the gradient runs the forward pass once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from carousel.cell import Cell, State
from carousel.engine import compile_native, lowered
from carousel.engine.call import Call
from carousel.engine.trace import lifted
from carousel.engine.watch import watched
from carousel.errors import InputError

_numbers: WeakKeyDictionary[Cell, int] = WeakKeyDictionary()
_cells: WeakValueDictionary[int, Cell] = WeakValueDictionary()
_next = count()
_LEADING = (0, 2, 1, 2, 1, 1)
"""Leading axes of weights, inputs, state, step noise, sequence noise and lengths: none, (T, B) or (B,)."""


@torch.compiler.assume_constant_result
def number_of(cell: Cell) -> int:
    """The number that stands for a cell in an operator's arguments."""
    if cell not in _numbers:
        _numbers[cell] = next(_next)
        _cells[_numbers[cell]] = cell
    return _numbers[cell]


def traced(
    cell: Cell, inputs: Any, state: State, noise: Sequence[Sequence[Tensor]], lengths: Tensor | None, return_states: bool
) -> tuple[Any, ...]:
    """What scan gives, as a call of the operator; every line of it may be traced.

    Args:
        inputs:  a tensor or a tuple of tensors.
        noise:   the draws of each step and those of a sequence, in the order of the cell's `noise_shapes`.
    """
    given = list(inputs) if isinstance(inputs, tuple) else [inputs]
    before, spec = pytree.tree_flatten(state)
    weights = list(lifted(cell).values())
    groups = [weights, given, before, *noise, [] if lengths is None else [lengths]]
    tensors = [tensor for group in groups for tensor in group]
    flat = torch.ops.carousel.scan(tensors, [len(group) for group in groups], number_of(cell), return_states)
    final = pytree.tree_unflatten(flat[1 : 1 + len(before)], spec)
    if not return_states:
        return flat[0], final
    return flat[0], final, pytree.tree_unflatten(flat[1 + len(before) :], spec)


@torch.library.custom_op("carousel::scan", mutates_args=())
def _scan(tensors: Sequence[Tensor], counts: Sequence[int], number: int, return_states: bool) -> list[Tensor]:
    with torch.no_grad():
        return _apart(_run([tensor.detach() for tensor in tensors], counts, number, return_states), tensors)


@torch.library.custom_op("carousel::scan_backward", mutates_args=())
def _scan_backward(
    cotangents: Sequence[Tensor], tensors: Sequence[Tensor], counts: Sequence[int], number: int, return_states: bool
) -> list[Tensor]:
    """The gradients of the tensors of floating point."""
    # An operator's code runs beneath autograd, which here is to look at the forward pass all the same.
    with torch._C._PreserveDispatchKeyGuard(), torch.enable_grad():
        torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.AutogradFunctionality, False)
        leaves = [tensor.detach() for tensor in tensors]
        wanted = [leaf.requires_grad_() for leaf in leaves if leaf.is_floating_point()]
        results = _run(leaves, counts, number, return_states)
        pairs = [(result, g) for result, g in zip(results, cotangents, strict=True) if result.requires_grad]
        found = torch.autograd.grad([result for result, _ in pairs], wanted, [g for _, g in pairs], materialize_grads=True)
    return _apart(found, cotangents)


def _run(tensors: Sequence[Tensor], counts: Sequence[int], number: int, return_states: bool) -> list[Tensor]:
    cell, call = _call(tensors, counts, number, return_states)
    y, final, states = lowered.run(cell, call, compile_native)
    return [y, *pytree.tree_leaves(final), *(pytree.tree_leaves(states) if return_states else [])]


def _call(tensors: Sequence[Tensor], counts: Sequence[int], number: int, return_states: bool) -> tuple[Cell, Call]:
    cell = _cells.get(number)
    if cell is None:
        raise InputError("carousel.scan: the cell that this program was made with is gone; expected it to be kept")
    rest = list(tensors)

    def take(count: int) -> list[Tensor]:
        taken = rest[:count]
        del rest[:count]
        return taken

    weights, given, before, step_noise, sequence_noise, lengths = map(take, counts)
    names = {"step": step_noise, "sequence": sequence_noise}
    drawn = {kind: [name for name, spec in cell.noise_shapes().items() if spec[0] == kind][: len(names[kind])] for kind in names}
    steps, batch = given[0].shape[:2]
    return cell, Call(
        steps,
        batch,
        given[0] if len(given) == 1 else tuple(given),
        pytree.tree_unflatten(before, pytree.tree_structure(cell.initial_state())),
        None,
        dict(zip(drawn["step"], step_noise, strict=True)),
        dict(zip(drawn["sequence"], sequence_noise, strict=True)),
        lengths[0] if lengths else None,
        return_states,
        weights,
    )


@_scan.register_fake
def _(tensors: Sequence[Tensor], counts: Sequence[int], number: int, return_states: bool) -> list[Tensor]:
    leading = [axes for count, axes in zip(counts, _LEADING, strict=True) for _ in range(count)]
    # T and B may be symbols; a step's own sizes are numbers.
    sizes = [(*(1,) * axes, *map(int, tensor.shape[axes:])) for tensor, axes in zip(tensors, leading, strict=True)]
    dtypes = [tensor.dtype for tensor in tensors]

    def looked_at() -> lowered.Lowered:
        like = [torch.empty(size, dtype=dtype, device="meta") for size, dtype in zip(sizes, dtypes, strict=True)]
        cell, call = _call(like, counts, number, return_states)
        return lowered.lower(cell, call, watched(cell), compile_native)

    # In a thread of its own the step is captured by itself, and not as a part of what is being traced here.
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(looked_at).result()
    if found.y_spec != pytree.tree_structure(0):
        raise InputError(
            f"scan: under torch.compile or torch.export expected y of {type(_cells[number]).__name__} to be one tensor"
        )
    one = tensors[counts[0]]
    T, B = one.shape[:2]
    y, states = found.graph.outputs[0], found.graph.new_state
    empty = [one.new_empty((T, B, *y.shape), dtype=y.dtype)]
    empty += [one.new_empty((B, *value.shape), dtype=value.dtype) for value in states]
    if return_states:
        empty += [one.new_empty((T, B, *value.shape), dtype=value.dtype) for value in states]
    return empty


@_scan_backward.register_fake
def _(
    cotangents: Sequence[Tensor], tensors: Sequence[Tensor], counts: Sequence[int], number: int, return_states: bool
) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor in tensors if tensor.is_floating_point()]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    tensors, ctx.counts, ctx.number, ctx.return_states = inputs
    ctx.save_for_backward(*tensors)
    ctx.like = [(leaf.shape, leaf.dtype) for leaf in output]


def _gradient(ctx: Any, cotangents: Sequence[Tensor | None]) -> tuple[Any, ...]:
    tensors = ctx.saved_tensors
    one = tensors[ctx.counts[0]]
    full = [one.new_zeros(shape, dtype=dtype) if g is None else g for g, (shape, dtype) in zip(cotangents, ctx.like, strict=True)]
    found = iter(torch.ops.carousel.scan_backward(full, tensors, ctx.counts, ctx.number, ctx.return_states))
    return [next(found) if tensor.is_floating_point() else None for tensor in tensors], None, None, None


_scan.register_autograd(_gradient, setup_context=_keep)


def _apart(results: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """The results, copied where they share memory with one another or with what was given, as an operator's may not."""
    seen = {tensor.untyped_storage().data_ptr() for tensor in given}
    apart = []
    for result in results:
        own = result.detach()
        own = own.clone() if own.untyped_storage().data_ptr() in seen else own
        seen.add(own.untyped_storage().data_ptr())
        apart.append(own)
    return apart
