"""The adjoint of a list of operations, in the same kinds: reverse-mode differentiation, by the rules of the table (kinds/)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from carousel.engine.build import Builder
from carousel.engine.ir import Op, Value
from carousel.engine.kinds import KINDS


def adjoint(b: Builder, ops: Iterable[Op], seeds: Mapping[Value, Value], wanted: Iterable[Value]) -> dict[Value, Value]:
    """Emit the operations that carry cotangents from outputs back to inputs.

    Args:
        ops:     the operations between, in order; all of them are in the builder already.
        seeds:   cotangents of outputs.
        wanted:  the values whose cotangents are asked for.

    Returns:
        value -> its cotangent, for those wanted values that the outputs depend on.
    """
    ops, wanted = list(ops), set(wanted)
    reached = set(wanted)  # values through which a wanted one acts
    for op in ops:
        if op.output not in b.stopped and op.output.dtype.is_floating_point and any(value in reached for value in op.values):
            reached.add(op.output)
    parts: dict[Value, list[Value]] = {value: [seed] for value, seed in seeds.items() if value in reached}
    for op in reversed(ops):
        if op.output not in reached or op.output not in parts:
            continue
        b.line = op.line
        g = _total(b, parts[op.output])
        parts[op.output] = [g]
        for item, cotangent in zip(op.inputs, KINDS[op.kind].adjoint(b, op, g), strict=True):
            if cotangent is not None and isinstance(item, Value) and item in reached:
                parts.setdefault(item, []).append(cotangent)
    return {value: _total(b, parts[value]) for value in wanted if value in parts}


def _total(b: Builder, parts: list[Value]) -> Value:
    """The sum of several cotangents; those of slices that do not overlap are put side by side."""
    by_axis: dict[int, list[Op]] = {}
    rest = []
    for part in parts:
        op = b.producer(part)
        if op is not None and op.kind == "pad" and op.attributes["step"] == 1:
            by_axis.setdefault(op.attributes["axis"], []).append(op)
        else:
            rest.append(part)
    for axis, pads in by_axis.items():
        rest.extend(_side_by_side(b, axis, pads))
    total = rest[0]
    for part in rest[1:]:
        total = b.emit("add", total, part)
    return total


def _side_by_side(b: Builder, axis: int, pads: list[Op]) -> list[Value]:
    """Slices of one axis put in their places: one `cat` for as many as do not overlap."""
    pads = sorted(pads, key=lambda op: op.attributes["start"])
    left: list[Op] = []
    pieces: list[Value] = []
    shape, dtype = pads[0].output.shape, pads[0].output.dtype
    end = 0

    def fill(upto: int) -> None:
        if upto > end:
            pieces.append(b.full((*shape[:axis], upto - end, *shape[axis + 1 :]), 0, dtype))

    for op in pads:
        start = op.attributes["start"]
        if start < end:
            left.append(op)
            continue
        fill(start)
        pieces.append(op.values[0])
        end = start + op.values[0].shape[axis]
    fill(shape[axis])
    if len(pads) - len(left) == 1:
        return [op.output for op in pads]
    return [b.emit("cat", *pieces, axis=axis), *(op.output for op in left)]


def differentiable(value: Value) -> bool:
    """Whether a value can carry a gradient at all."""
    return value.dtype in (torch.float32, torch.float64)
