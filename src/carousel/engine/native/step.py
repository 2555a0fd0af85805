"""A whole step of one sequence as one native routine: what `Stepper` runs.

What depends on weights and context only, and the matrices packed for the kernel, are made once, and
again when one of those tensors has changed. A call checks its arguments, fills a table of addresses
and calls the routine: there is no Python per operation.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import cycle
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.engine.lock import LOCK
from carousel.engine.native.compiled import OneStep, compile_loop
from carousel.engine.packing import packing
from carousel.engine.scan_call import Call
from carousel.engine.scan_function import Lowered
from carousel.torch_private import pytree, storage_id, storage_users, version

_PLAIN = (Tensor, nn.Parameter, nn.Buffer)


_memcmp = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(("memcmp", ctypes.CDLL(None)))

LOOK = 64 * 2**10
"""Bytes of a tensor that are compared at a step with what they were: all of most, and of a larger one a part after the other."""


def _looks(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Sequence[int], ...]]:
    """For one step after another (addresses of tensors, of their copies, bytes to compare there)."""
    parts = []
    for tensor, copy in pairs:
        size, ours, theirs = tensor.numel() * tensor.element_size(), tensor.data_ptr(), copy.data_ptr()
        parts.append([(ours + start, theirs + start, min(LOOK, size - start)) for start in range(0, max(size, 1), LOOK)])
    most = max(map(len, parts), default=0)
    return [tuple(zip(*(own[n % len(own)] for own in parts), strict=True)) for n in range(most)] or [((), (), ())]


class _Memory:
    """Tensors of one shape, made on memory that nobody else looks at any more.

    That takes a third of the time to make one with memory of its own. Memory is free again when our
    own tensor is the only one on it; memory that has moved meanwhile, to be shared with another
    process, is left to those who moved it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._shape, self._dtype = shape, dtype
        self._own = [self._fresh(), self._fresh()]

    def _fresh(self) -> tuple[Tensor, int, Any, int, int]:
        with torch.inference_mode(False):
            own = torch.empty(self._shape, dtype=self._dtype, device="cpu")
        storage = own.untyped_storage()
        return own, own.data_ptr(), storage, storage_id(storage), storage_users(storage_id(storage))

    def take(self) -> tuple[Tensor, int]:
        """(a tensor, its address)."""
        own, address, _, storage, alone = self._own[0]
        if storage_users(storage) != alone or own.data_ptr() != address:
            self._own[0] = self._fresh()
            own, address = self._own[0][:2]
        self._own.reverse()
        return own.data, address


class NativeStep:
    """A cell's step, ready to be called; by several threads at once too.

    It is made for a cell, the trees, shapes and dtypes of x and state, and the values of weights and
    context.

    Raises:
        InputError: the step, or an operation of it, cannot be lowered.
    """

    def __init__(self, call: Call, lowered: Lowered) -> None:
        _, state, context, _, _ = call.leaves
        self._cell_then = call.cell_now
        self._tensors = [*call.cell_now.weights.values(), *context]
        self._large = [tensor for tensor in self._tensors if tensor.numel() * tensor.element_size() > LOOK]
        self._versions, self._addresses = list(map(version, self._large)), list(map(Tensor.data_ptr, self._tensors))
        self._copies = [tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in self._tensors]
        self._spread = [pair for pair in zip(self._tensors, self._copies, strict=True) if not pair[0].is_contiguous()]
        self._looks = cycle(_looks([pair for pair in zip(self._tensors, self._copies, strict=True) if pair[0].is_contiguous()]))
        self._x, self._state = _Tree.like(call.inputs, 2), _Tree.like(call.state, 1)
        self._y = _Tree(lowered.y_spec, [(value.shape, value.dtype) for value in lowered.graph.outputs])
        self._count = len(state)
        loop, self._routine = lowered.whole, _routine(lowered)
        env = dict(lowered.graph.constants)
        given = (*lowered.graph.weights, *lowered.graph.context)
        env.update(zip(given, [tensor.detach() for tensor in self._tensors], strict=True))
        for stage in lowered.prelude:
            stage(env, {}, packing(1, 1, None), None)
        self._fixed = [env[value].contiguous() for value in (*loop.shared, *loop.per_row)]  # the routine reads them
        self._buffers = [*(tensor.data_ptr() for tensor in self._fixed), *[0] * len((*loop.per_step, *loop.written))]
        self._packed = self._routine.packed(self._buffers)
        self._first = self._routine.FIRST + len(self._fixed)
        self._free: list[_Workspace] = []

    def holds(self, cell: Cell) -> bool:
        """Whether the cell is what this was made for, with its weights and the context unchanged."""
        return (
            self._cell_then.holds(cell)
            and (not self._large or list(map(version, self._large)) == self._versions)
            and list(map(Tensor.data_ptr, self._tensors)) == self._addresses
            and not any(map(_memcmp, *next(self._looks)))
            and (not self._spread or all(torch.equal(tensor, copy) for tensor, copy in self._spread))
        )

    def __call__(self, x: Any, state: Any) -> tuple[Any, Any] | None:
        """(y, next state); None where x or state is not like those that this was made for."""
        inputs, before = self._x.leaves(x), self._state.leaves(state)
        if inputs is None or before is None:
            return None
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = _Workspace(self)
        table, place = workspace.table, self._first
        for leaf in inputs:
            table[place] = leaf.data_ptr()
            place += 1
        for leaf in before:
            table[place] = leaf.data_ptr()
            place += 1
        results = []
        for memory in workspace.memory:
            result, table[place] = memory.take()
            results.append(result)
            place += 1
        self._routine.run(workspace.address, 0)
        self._free.append(workspace)
        return self._y.tree(results[self._count :]), self._state.tree(results[: self._count])


_routines: WeakKeyDictionary[Lowered, OneStep] = WeakKeyDictionary()


def _routine(lowered: Lowered) -> OneStep:
    """All of a step as machine code."""
    found = _routines.get(lowered)
    if found is None:
        with LOCK:
            found = _routines.get(lowered)
            if found is None:
                found = _routines[lowered] = compile_loop(lowered.whole).step()
    return found


class _Workspace:
    """What one call needs for itself: the routine's table of arguments, its scratch, memory for the results."""

    def __init__(self, step: NativeStep) -> None:
        self.scratch = step._routine.scratch()
        self.table = step._routine.table(step._buffers, step._packed, self.scratch)
        self.address = self.table.buffer_info()[0]
        self.memory = [_Memory(shape, dtype) for shape, dtype in (*step._state.wanted, *step._y.wanted)]


class _Tree:
    """How a tree is built, and its tensors in order; no time is lost on a single tensor or a flat tuple of them.

    wanted:  shape and dtype of each tensor.
    """

    def __init__(self, spec: Any, wanted: Sequence[tuple[tuple[int, ...], torch.dtype]]) -> None:
        self._spec, self.wanted = spec, wanted
        places = list(range(len(wanted)))
        example = pytree.tree_unflatten(places, spec)
        self._is_single = example == 0
        self._flat_kind = type(example) if isinstance(example, tuple) and list(example) == places else None
        self._make = getattr(self._flat_kind, "_make", self._flat_kind)

    @classmethod
    def like(cls, tree: Any, axes: int) -> _Tree:
        """That of a tree whose tensors lead with so many more axes."""
        leaves, spec = pytree.tree_flatten(tree)
        return cls(spec, [(leaf.shape[axes:], leaf.dtype) for leaf in leaves])

    def leaves(self, tree: Any) -> Sequence[Tensor] | None:
        """The tensors, each contiguous; None for another tree, or another kind of tensor."""
        leaves: Sequence[Any]
        if self._is_single:
            leaves = (tree,)
        elif type(tree) is self._flat_kind:
            leaves = tree
        else:
            leaves, spec = pytree.tree_flatten(tree)
            if spec != self._spec:
                return None
        for leaf, (shape, dtype) in zip(leaves, self.wanted, strict=True):
            if type(leaf) not in _PLAIN or leaf.shape != shape or leaf.dtype is not dtype or not leaf.is_cpu:
                return None
            if not leaf.is_contiguous():
                return [other.contiguous() for other in leaves]
        return leaves

    def tree(self, leaves: Sequence[Tensor]) -> Any:
        """The tree of these tensors."""
        if self._is_single:
            return leaves[0]
        return pytree.tree_unflatten(leaves, self._spec) if self._make is None else self._make(leaves)
