"""The native lowering with `bits="portable"`: results that are the same to the last bit on every machine.

Native loops sum in a fixed order whatever the width of registers (docs/engine.md). Here everything else runs as loops
too, on one thread; the sums over time are products of the kernel in tiles.py, whose order of summation is that of the
entries. What has no such form is refused.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import torch
from torch import Tensor

from carousel.engine.ir import Loop, Op
from carousel.engine.kinds import KINDS
from carousel.engine.lowering import LoopRunner, WholeStep
from carousel.engine.native import Native
from carousel.engine.scan_call import Call
from carousel.engine.scan_function import Lowered
from carousel.errors import InputError

_EXACT = frozenset({"add", "sub", "mul", "div", "neg", "abs", "maximum", "minimum", "where", "cast", "reciprocal"})
"""Elementwise kinds that are a single IEEE operation in PyTorch too, on numbers of any shape."""


class Portable(Native):
    """Machine code for the CPU, with one order of operations for all machines."""

    fixes_order = True

    def refuses(self, tensors: Iterable[Tensor]) -> str | None:
        tensors = list(tensors)
        if any(tensor.dtype is torch.float64 for tensor in tensors):
            return "it knows float32, whose elementary functions are its own; got float64"
        return super().refuses(tensors)

    def refuses_once(self, op: Op) -> str | None:
        """Why PyTorch may not make an operation once a call, and differentiate it; None where both are exact."""
        row = KINDS[op.kind]
        alike = all(value.shape == op.output.shape for value in op.values)
        if (row.moves and op.kind != "expand") or (op.kind in _EXACT and alike):
            return None
        return f"{op.kind} of what is the same at every step is made by PyTorch, in an order of its own"

    def compile(self, loop: Loop) -> LoopRunner:
        from carousel.engine.native import compiled, math

        for op in loop.ops:
            floats = any(value.dtype is torch.float64 for value in (op.output, *op.values))
            if floats or (KINDS[op.kind].function and op.output.dtype.is_floating_point and op.kind not in math.FLOAT):
                what = "float64" if floats else f"{op.kind} by the C library"
                raise InputError(f"scan: bits='portable' does not apply: it has no {what}{f' ({op.line})' if op.line else ''}")
        return compiled.runner(loop, threads=1)

    def sum_parts(self) -> int:
        return 1

    def step(self, call: Call, lowered: Lowered) -> WholeStep | None:
        """None: a step is a scan of one, whose bits it has; in one routine some sums would be made in another order."""
        return None

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        return product(a, b)


def product(a: Tensor, b: Tensor) -> Tensor:
    """A B in float32, (m, k) by (k, n): each sum one fused multiply-add after another from 0, in the order of k."""
    from carousel.engine.native import jit, tiles

    (m, k), n = a.shape, b.shape[1]
    if m * k * n == 0:
        return a.new_zeros(m, n)
    lanes = min(16, jit.vector_bits() // 32)
    width, kernel = tiles.PANEL * lanes, tiles.name("float", lanes)
    panels = -(-n // width)
    packed = torch.zeros(panels, k, width)
    for panel in range(panels):
        columns = b[:, panel * width : (panel + 1) * width]
        packed[panel, :, : columns.shape[1]] = columns
    a, y = a.contiguous(), torch.empty(m, panels * width)
    run = _KERNEL(tiles.library("float", lanes).addresses[kernel])
    run(y.data_ptr(), panels * width, packed.data_ptr(), a.data_ptr(), k, m, panels, k)
    return y[:, :n].contiguous()


_KERNEL = ctypes.CFUNCTYPE(
    None, *(ctypes.c_void_p if kind == "ptr" else ctypes.c_int64 for kind in "ptr i64 ptr ptr i64 i64 i64 i64".split())
)
