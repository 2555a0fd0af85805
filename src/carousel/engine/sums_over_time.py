"""Sums over time of a step's values: how the gradient of what all steps share comes about.

A weight's gradient is at each step an outer product and would fill N matrices; its sum is one
product of two matrices. So the sum is pushed through everything linear (additions, views, products
with shared values) down to products, and only those are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from carousel.engine.build import Builder
from carousel.engine.ir import SHARED, STEP, Op, Value
from carousel.engine.kinds import KINDS
from carousel.engine.packing import Packing
from carousel.errors import InputError


@dataclass(frozen=True)
class Total:
    """output, shared or of each row, is the sum over rows and steps, or over steps, of kind(inputs).

    kind: "sum" (x), "outer" (a, b), "matmul" (a, b) or "index_add" (index, source) along `axis`.
    """

    kind: str
    inputs: tuple[Value, ...]
    output: Value
    lead: int
    axis: int = 0


def summed(b: Builder, value: Value, lead: int, totals: list[Total]) -> Value:
    """A value with the given lead (SHARED or ROW) that is the sum of `value` over the rest; appends to totals."""
    op = b.producer(value)
    if op is not None and b.lead[value] == STEP and _holds_product(b, value):
        if op.kind in ("outer", "matmul") and all(b.lead[item] == STEP for item in op.values):
            return _total(b, totals, Total(op.kind, op.values, value, lead))
        if op.kind == "mul" and (factors := _outer_factors(b, op)):
            return _total(b, totals, Total("outer", factors, value, lead))
        if op.kind == "index_add" and lead == SHARED:
            return _total(b, totals, Total(op.kind, op.values, value, lead, op.attributes["axis"]))
        if _is_linear(b, op):
            parts = tuple(
                summed(b, item, lead, totals) if isinstance(item, Value) and b.lead[item] == STEP else item for item in op.inputs
            )
            return b.emit(op.kind, *parts, shape=op.output.shape, dtype=op.output.dtype, **op.attributes)
    return _total(b, totals, Total("sum", (value,), value, lead))


def _total(b: Builder, totals: list[Total], total: Total) -> Value:
    for known in totals:
        if (known.kind, known.inputs, known.lead, known.axis) == (total.kind, total.inputs, total.lead, total.axis):
            return known.output
    output = b.input(f"total{len(totals)}", total.output.shape, total.output.dtype, total.lead)
    totals.append(Total(total.kind, total.inputs, output, total.lead, total.axis))
    return output


def _is_linear(b: Builder, op: Op) -> bool:
    """Whether the sum of the outputs is the operation on the sums of its inputs."""
    varying = [value for value in op.values if b.lead[value] == STEP]
    row = KINDS[op.kind]
    if row.linear == "factor":
        return len(varying) == 1 and all(b.lead[value] in (SHARED, STEP) for value in op.values)
    if row.linear == "dividend":
        return len(op.values) == 1 and op.inputs[0] == varying[0]
    return (row.linear == "inputs" or row.moves) and len(varying) == len(op.inputs)


def _outer_factors(b: Builder, op: Op) -> tuple[Value, Value] | None:
    """(a, b) where the product of (m, 1) and (1, n) is their outer product, and larger than either of them."""
    if len(op.values) != 2 or len(op.output.shape) != 2 or not all(b.lead[item] == STEP for item in op.values):
        return None
    m, n = op.output.shape
    if m == 1 or n == 1:
        return None
    for column, row in (op.values, op.values[::-1]):
        if column.shape == (m, 1) and row.shape == (1, n):
            return b.emit("reshape", column, shape=(m,)), b.emit("reshape", row, shape=(n,))
    return None


def _holds_product(b: Builder, value: Value) -> bool:
    """Whether pushing a sum down from here meets a product that it makes smaller."""
    op = b.producer(value)
    if op is None or b.lead[value] != STEP:
        return False
    if op.kind in ("outer", "matmul", "index_add") or (op.kind == "mul" and _outer_factors(b, op)):
        return True
    return _is_linear(b, op) and any(_holds_product(b, item) for item in op.values)


def compute(total: Total, packing: Packing, so_far: Tensor | None, inputs: Sequence[Tensor]) -> Tensor:
    """The sum over the entries of a packing, (N, ...) tensors, and over those before it: `so_far`, which is changed."""
    if total.lead != SHARED:
        more = _ROWS[total.kind](packing)(*inputs)
    elif total.kind == "outer":
        return _outer(so_far, *inputs)
    else:
        more = _SHARED[total.kind](total)(*inputs)
    return more if so_far is None else so_far.add_(more)


def compute_in_order(
    total: Total, so_far: Tensor | None, inputs: Sequence[Tensor], product: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """What `compute` gives, by products in the order of the entries, and by additions one after the other."""
    if total.lead != SHARED:
        raise InputError("scan: bits='portable' does not apply: a weight of each sequence asks for a gradient over time")
    first, last = inputs[0], inputs[-1]
    if total.kind == "outer":
        more = product(first.t(), last)
    elif total.kind == "matmul":
        rows = first.transpose(0, 1).reshape(first.shape[1], -1)
        more = product(rows, last.reshape(rows.shape[1], last.shape[2]))
    elif total.kind == "index_add" and first.dim() > 1:
        more = _index_add(total)(first, last)  # PyTorch adds one entry after the other
    else:
        ones = last.new_ones(1, len(last))
        more = product(ones, last.reshape(len(last), -1)).reshape(last.shape[1:])
        if total.kind == "index_add":  # the same index at every step
            more = more.new_zeros(total.output.shape).index_add(total.axis, first, more)
    return more if so_far is None else so_far.add_(more)


def _sum(total: Total) -> Callable[..., Tensor]:
    return lambda x: x.sum(0)


FEW = 100
"""Rows and steps up to which a product costs less than to turn its result."""


def _outer(so_far: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """A^T B over all rows and steps; of many, PyTorch is up to three times faster with the narrow operand first."""
    if a.shape[1] > b.shape[1] and len(a) > FEW:
        return _outer(None if so_far is None else so_far.t(), b, a).t()
    return a.t() @ b if so_far is None else so_far.addmm_(a.t(), b)


def _matmul(total: Total) -> Callable[..., Tensor]:
    """sum_n a_n b_n, one product over (n, k)."""

    def call(a: Tensor, b: Tensor) -> Tensor:
        rows, columns = a.shape[1], b.shape[2]
        return a.transpose(0, 1).reshape(rows, a.shape[0] * a.shape[2]) @ b.reshape(b.shape[0] * b.shape[1], columns)

    return call


def _index_add(total: Total) -> Callable[..., Tensor]:
    shape, axis = total.output.shape, total.axis

    def call(index: Tensor, source: Tensor) -> Tensor:
        if index.dim() == 1:  # the same index at every step
            return source.new_zeros(shape).index_add(axis, index, source.sum(0))
        entries = source.movedim(axis + 1, 1)  # (N, k, ...)
        entries = entries.reshape(entries.shape[0] * entries.shape[1], *entries.shape[2:])
        rest = [size for n, size in enumerate(shape) if n != axis]
        return source.new_zeros(shape[axis], *rest).index_add(0, index.reshape(index.numel()), entries).movedim(0, axis)

    return call


def _row_product(packing: Packing) -> Callable[..., Tensor]:
    """The sum over a row's steps of outer or matrix products, one batched product over time."""

    def call(a: Tensor, b: Tensor) -> Tensor:
        if a.dim() == 2:
            a, b = a.unsqueeze(2), b.unsqueeze(1)
        m, n = a.shape[1], b.shape[2]
        rows = b.shape[1] * packing.steps
        left = packing.unpack_steps(a).permute(1, 2, 0, 3).reshape(packing.batch, m, rows)
        right = packing.unpack_steps(b).permute(1, 0, 2, 3).reshape(packing.batch, rows, n)
        products = torch.bmm(left, right)
        return packing.pack_rows(products)

    return call


_SHARED: dict[str, Callable[[Total], Callable[..., Tensor]]] = {
    "sum": _sum,
    "matmul": _matmul,
    "index_add": _index_add,
}
_ROWS: dict[str, Callable[[Packing], Callable[..., Tensor]]] = {
    "sum": lambda packing: packing.sum_over_steps,
    "outer": _row_product,
    "matmul": _row_product,
}
