"""Rows as lanes of a vector: a loop over blocks of rows, each value with an axis more, the rows of a block.

A vector of a small network's values is mostly air: a layer of four units fills a quarter of it. Where many rows run the
same steps (trials of an experiment, a population of networks), the same element of L rows makes a full one. `in_lanes` says
that in the representation itself: a value (...) of a row becomes (..., L) of a block, products of a matrix and a vector
become products with L columns, and what is written for one row (fused_nests.py, single_ops.py) then runs a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from carousel.engine.ir import Carry, Input, Loop, Op, Value
from carousel.engine.kinds import KINDS
from carousel.engine.native.blocks import Blocks

LARGEST = 192 * 2**10
"""Bytes of what a block carries and reads of its rows, so that it stays in a core's second cache."""

UNIT = 2
"""What a row's operation costs beside its vectors, in vectors, roughly."""

MOVED = 1.5
"""What bringing an element of a step into a block or back costs, in vectors: read here, written there, a place apart."""

WORTH = 0.9
"""Of what rows cost one after the other, so much at most must be left: the estimate is rough."""


def pays(loop: Loop, rows: int, width: int) -> bool:
    """Whether blocks of rows take fewer instructions than one row after the other, `rows` being those of a thread."""
    if any(op.kind == "matvec" for op in loop.ops):  # a matrix that rows share is read once for many, in tiles
        return False
    lanes = lanes_for(loop, rows, width)
    held = sum(_bytes(value) for value in (*loop.per_row, *loop.row_summed, *loop.summed, *(c.before for c in loop.carried)))
    if lanes < 2 or held * lanes > LARGEST:
        return False
    alone, together = 0.0, MOVED * sum(prod(value.shape) for value in (*loop.per_step, *loop.written))
    for op in loop.ops:
        size = max(prod(value.shape) for value in (op.output, *op.values))
        alone += -(-size // lanes) + UNIT
        together += size / min(rows, lanes)
    return together < WORTH * alone


def lanes_for(loop: Loop, rows: int, width: int) -> int:
    """L: a vector's lanes, or half as many where that is enough for the rows, and so on."""
    wide = any(value.dtype == torch.float64 for op in loop.ops for value in (*op.values, op.output))
    lanes = width // 2 if wide else width
    while lanes // 2 >= rows:
        lanes //= 2
    return lanes


def in_lanes(loop: Loop, L: int) -> Loop | None:
    """The loop over blocks of L rows; None where an operation has no such form (rows that look things up by an index of their own).

    What is summed over all rows and steps is summed over the steps of each row: `row_summed` ends with it.
    """
    return _InLanes(loop, L).loop


class _InLanes:
    def __init__(self, loop: Loop, L: int) -> None:
        self.L, self.ops = L, list[Op]()
        self.wide: dict[Value, Value] = {}  # (...) of a row -> (..., L) of a block; those of `shared` are not in it
        given = (*loop.per_row, *loop.per_step, *(carry.before for carry in loop.carried))
        self.wide.update((value, self._value(value.name, (*value.shape, L), value.dtype)) for value in given)
        self.loop: Loop | None = None
        if all(self._rewrite(op) for op in loop.ops):
            self.loop = Loop(
                shared=loop.shared,
                per_row=tuple(self.wide[value] for value in loop.per_row),
                per_step=tuple(self.wide[value] for value in loop.per_step),
                carried=tuple(Carry(self.wide[carry.before], self._spread(carry.after)) for carry in loop.carried),
                written=tuple(self._spread(value) for value in loop.written),
                row_summed=tuple(self._spread(value) for value in (*loop.row_summed, *loop.summed)),
                reverse=loop.reverse,
                ops=tuple(self.ops),  # after the calls above, which add to them
            )

    def _value(self, stem: str, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        return Value(f"{stem}|{len(self.ops)}", shape, dtype)

    def _emit(self, kind: str, inputs: tuple[Input, ...], shape: tuple[int, ...], like: Op | Value, **attributes: object) -> Value:
        dtype, line = (like.output.dtype, like.line) if isinstance(like, Op) else (like.dtype, "")
        output = self._value("lanes", shape, dtype)
        self.ops.append(Op(kind, inputs, output, attributes, line))
        return output

    def _reshaped(self, value: Value, shape: tuple[int, ...]) -> Value:
        return value if value.shape == shape else self._emit("reshape", (value,), shape, value)

    def _column(self, value: Value) -> Value:
        """(..., L) of a value of the rows, (..., 1) of a shared one."""
        return self.wide[value] if value in self.wide else self._reshaped(value, (*value.shape, 1))

    def _spread(self, value: Value) -> Value:
        """(..., L) of any value."""
        if value in self.wide:
            return self.wide[value]
        return self._emit("expand", (self._column(value),), (*value.shape, self.L), value)

    def _rewrite(self, op: Op) -> bool:
        """Add the operation's form for a block; False where there is none."""
        if not any(value in self.wide for value in op.values):
            self.ops.append(op)  # of shared values only: as it was
            return True
        output = self._rewritten(op)
        if output is not None:
            self.wide[op.output] = output
        return output is not None

    def _rewritten(self, op: Op) -> Value | None:
        shape = (*op.output.shape, self.L)
        if KINDS[op.kind].form == "elementwise":
            inputs = tuple(self._column(given) if isinstance(given, Value) else given for given in op.inputs)
            return self._emit(op.kind, inputs, shape, op, **op.attributes)
        if KINDS[op.kind].lanes:
            return self._emit(op.kind, tuple(self._spread(value) for value in op.values), shape, op, **op.attributes)
        if op.kind in ("reshape", "expand"):
            return self._emit(op.kind, (self.wide[op.values[0]],), shape, op)
        if op.kind == "permute":
            axes = op.attributes["axes"]
            return self._emit("permute", (self.wide[op.values[0]],), shape, op, axes=(*axes, len(axes)))
        if op.kind == "matvec" and op.values[0] not in self.wide:
            weights, x = op.values
            if op.attributes["transposed"]:
                weights = self._emit("permute", (weights,), weights.shape[::-1], weights, axes=(1, 0))
            return self._emit("matmul", (weights, self.wide[x]), shape, op)
        if op.kind == "outer":
            (m,), (n,) = (value.shape for value in op.values)
            a, b = (self._column(value) for value in op.values)
            return self._emit("mul", (self._reshaped(a, (m, 1, a.shape[-1])), self._reshaped(b, (1, n, b.shape[-1]))), shape, op)
        if op.kind == "matmul":
            (m, k), (_, n) = (value.shape for value in op.values)
            a, b = (self._column(value) for value in op.values)
            factors = (self._reshaped(a, (m, k, 1, a.shape[-1])), self._reshaped(b, (1, k, n, b.shape[-1])))
            return self._emit("sum", (self._emit("mul", factors, (m, k, n, self.L), op),), shape, op, axes=(1,))
        if op.kind in ("index_select", "index_add"):
            index, of_rows = op.values if op.kind == "index_add" else op.values[::-1]
            if index in self.wide:
                return None
            inputs = (index, self.wide[of_rows]) if op.kind == "index_add" else (self.wide[of_rows], index)
            return self._emit(op.kind, inputs, shape, op, **op.attributes)
        return None


class LaneLoop:
    """A loop over blocks of L rows, run on the buffers of the loop over rows that it was made from."""

    def __init__(self, loop: Loop, wide: Loop, L: int, run_blocks: Callable[[list[int], int, int, int, int], None]) -> None:
        self.loop, self.wide, self.L, self.run_blocks = loop, wide, L, run_blocks

    def run(self, buffers: Sequence[Tensor], T: int, B: int, threads: int) -> None:
        """As `CompiledLoop.run`, for rows that all have T steps."""
        loop, blocks = self.loop, Blocks(T, B, self.L)
        lists = (loop.shared, loop.per_row, loop.per_step, loop.carried, loop.written, loop.summed, loop.row_summed)
        given = iter(buffers)
        shared, per_row, per_step, carried, written, summed, row_summed = ([next(given) for _ in one] for one in lists)
        states = [blocks.of_rows(x) for x in carried]
        results = [x.new_empty(T * blocks.count, *x.shape[1:], self.L) for x in written]
        sums = [x.new_zeros(blocks.count, *x.shape[1:], self.L) for x in (*row_summed, *summed)]
        read = [*shared, *(blocks.of_rows(x) for x in per_row), *(blocks.of_steps(x) for x in per_step)]
        everything = [*read, *states, *results, *sums]
        offsets = torch.arange(T + 1) * blocks.count
        self.run_blocks([x.data_ptr() for x in everything], offsets.data_ptr(), T, blocks.count, threads)
        for x, state in zip(carried, states, strict=True):
            blocks.to_rows(state, x)
        for x, result in zip(written, results, strict=True):
            blocks.to_steps(result, x)
        for n, total in enumerate(sums):
            of_rows = total.new_empty(B, *total.shape[1:-1])
            blocks.to_rows(total, of_rows)
            if n < len(row_summed):
                row_summed[n] += of_rows
            else:
                summed[n - len(row_summed)][0] += of_rows.sum(0)


def _bytes(value: Value) -> int:
    return prod(value.shape) * value.dtype.itemsize
