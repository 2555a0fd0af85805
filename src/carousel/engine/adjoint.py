"""The adjoint of a list of operations, in the same kinds: reverse-mode differentiation, rule by rule.

At ties and kinks the rules follow PyTorch: relu has 0 at 0; maximum and minimum of two values
share the gradient equally; with a literal they are a clamp, whose bound belongs to the inside;
max over axes divides it equally among the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch

from carousel.engine.build import Builder
from carousel.engine.ir import Op, Value

Rule = Callable[[Builder, Op, Value], tuple[Value | None, ...]]
"""(builder, operation, cotangent of its output) -> the cotangent of each input, None for none."""


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
        for item, cotangent in zip(op.inputs, RULES[op.kind](b, op, g), strict=True):
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


def _like(b: Builder, g: Value, item: object) -> Value | None:
    """g summed over the axes along which the input was broadcast."""
    if not isinstance(item, Value):
        return None
    axes = tuple(axis for axis, (given, made) in enumerate(zip(item.shape, g.shape, strict=True)) if given != made)
    return b.emit("reshape", b.emit("sum", g, axes=axes), shape=item.shape)


def _elementwise(rule: Callable[..., tuple[Value | None, ...]]) -> Rule:
    """A rule that ignores broadcasting, from (builder, g, output, *inputs)."""

    def with_broadcast(b: Builder, op: Op, g: Value) -> tuple[Value | None, ...]:
        cotangents = rule(b, g, op.output, *op.inputs)
        return tuple(
            c if c is None else _like(b, _full(b, c, op.output), item) for c, item in zip(cotangents, op.inputs, strict=True)
        )

    return with_broadcast


def _full(b: Builder, c: Value, output: Value) -> Value:
    return b.emit("expand", c, shape=output.shape)


def _scaled_by(factor: Callable[..., Value]) -> Rule:
    """For one input: g times factor(builder, output, x)."""
    return _elementwise(lambda b, g, y, x: (b.emit("mul", g, factor(b, y, x)),))


def _no_gradient(b: Builder, op: Op, g: Value) -> tuple[None, ...]:
    return (None,) * len(op.inputs)


def _mul(b: Builder, g: Value, y: Value, x: Value, z: Value) -> tuple[Value, Value]:
    return b.emit("mul", g, z), b.emit("mul", g, x)


def _div(b: Builder, g: Value, y: Value, x: Value, z: Value) -> tuple[Value, Value]:
    quotient = b.emit("div", g, z)
    return quotient, b.emit("neg", b.emit("mul", quotient, y))


def _pow(b: Builder, g: Value, y: Value, x: Value | float, p: Value | float) -> tuple[Value | None, Value | None]:
    dx = dp = None
    if isinstance(x, Value):
        lower = b.emit("pow", x, b.emit("sub", p, 1.0) if isinstance(p, Value) else p - 1)
        slope = b.emit("mul", lower, p)
        if isinstance(p, Value):
            slope = b.emit("where", b.emit("eq", p, 0.0), 0.0, slope)
        dx = b.emit("mul", g, slope)
    if isinstance(p, Value):
        if isinstance(x, Value):
            slope = b.emit("mul", y, b.emit("log", x))
            at_zero = b.emit("logical_and", b.emit("eq", x, 0.0), b.emit("ge", p, 0.0))
            slope = b.emit("where", at_zero, 0.0, slope)
        else:
            slope = b.emit("mul", y, math.log(x) if x > 0 else (0.0 if x == 0 else math.nan))
        dp = b.emit("mul", g, slope)
    return dx, dp


def _extreme_of_two(inside: str, strictly: str) -> Callable[..., tuple[Value | None, Value | None]]:
    def rule(b: Builder, g: Value, y: Value, x: Value | float, z: Value | float) -> tuple[Value | None, Value | None]:
        if isinstance(x, Value) and isinstance(z, Value):
            half = b.emit("mul", g, 0.5)
            tied = b.emit("eq", x, z)
            sides = ((x, z), (z, x))
            dx, dz = (b.emit("where", tied, half, b.emit("where", b.emit(strictly, one, other), g, 0.0)) for one, other in sides)
            return dx, dz
        if isinstance(x, Value):
            return b.emit("where", b.emit(inside, x, z), g, 0.0), None
        return None, b.emit("where", b.emit(inside, z, x), g, 0.0)

    return rule


def _softplus(b: Builder, y: Value, x: Value) -> Value:
    return b.emit("where", b.emit("gt", x, 20.0), 1.0, b.emit("sigmoid", x))


def _erf(b: Builder, y: Value, x: Value) -> Value:
    return b.emit("mul", b.emit("exp", b.emit("neg", b.emit("mul", x, x))), 2 / math.sqrt(math.pi))


def _where(b: Builder, g: Value, y: Value, condition: Value, x: Value, z: Value) -> tuple[None, Value, Value]:
    return None, b.emit("where", condition, g, 0.0), b.emit("where", condition, 0.0, g)


def _cast(b: Builder, op: Op, g: Value) -> tuple[Value | None]:
    (x,) = op.values
    return (b.emit("cast", g, dtype=x.dtype) if x.dtype.is_floating_point else None,)


def _kept(op: Op) -> tuple[int, ...]:
    """The input's shape with the reduced axes at size 1."""
    return tuple(1 if axis in op.attributes["axes"] else size for axis, size in enumerate(op.values[0].shape))


def _sum(b: Builder, op: Op, g: Value) -> tuple[Value]:
    return (b.emit("expand", b.emit("reshape", g, shape=_kept(op)), shape=op.values[0].shape),)


def _extreme(b: Builder, op: Op, g: Value) -> tuple[Value]:
    (x,) = op.values
    hit = b.emit("cast", b.emit("eq", x, b.emit("reshape", op.output, shape=_kept(op))), dtype=x.dtype)
    share = b.emit("div", g, b.emit("sum", hit, axes=op.attributes["axes"]))
    return (b.emit("mul", hit, b.emit("reshape", share, shape=_kept(op))),)


def _matvec(b: Builder, op: Op, g: Value) -> tuple[Value, Value]:
    matrix, x = op.values
    transposed = op.attributes["transposed"]
    d_matrix = b.emit("outer", x, g) if transposed else b.emit("outer", g, x)
    return d_matrix, b.emit("matvec", matrix, g, transposed=not transposed)


def _matmul(b: Builder, op: Op, g: Value) -> tuple[Value, Value]:
    left, right = op.values
    return b.emit("matmul", g, b.emit("permute", right, axes=(1, 0))), b.emit("matmul", b.emit("permute", left, axes=(1, 0)), g)


def _outer(b: Builder, op: Op, g: Value) -> tuple[Value, Value]:
    left, right = op.values
    column = b.emit("reshape", left, shape=(*left.shape, 1))
    return b.emit("sum", b.emit("mul", g, right), axes=(1,)), b.emit("sum", b.emit("mul", g, column), axes=(0,))


def _reshape(b: Builder, op: Op, g: Value) -> tuple[Value]:
    return (b.emit("reshape", g, shape=op.values[0].shape),)


def _permute(b: Builder, op: Op, g: Value) -> tuple[Value]:
    axes = op.attributes["axes"]
    return (b.emit("permute", g, axes=tuple(axes.index(axis) for axis in range(len(axes)))),)


def _expand(b: Builder, op: Op, g: Value) -> tuple[Value | None]:
    return (_like(b, g, op.values[0]),)


def _slice(b: Builder, op: Op, g: Value) -> tuple[Value]:
    place = {name: op.attributes[name] for name in ("axis", "start", "step")}
    return (b.emit("pad", g, shape=op.values[0].shape, **place),)


def _pad(b: Builder, op: Op, g: Value) -> tuple[Value]:
    axis, start, step = (op.attributes[name] for name in ("axis", "start", "step"))
    count = op.values[0].shape[axis]
    return (b.emit("slice", g, axis=axis, start=start, stop=start + step * (count - 1) + 1 if count else start, step=step),)


def _cat(b: Builder, op: Op, g: Value) -> tuple[Value, ...]:
    axis, start, cotangents = op.attributes["axis"], 0, []
    for part in op.values:
        stop = start + part.shape[axis]
        cotangents.append(b.emit("slice", g, axis=axis, start=start, stop=stop, step=1))
        start = stop
    return tuple(cotangents)


def _flip(b: Builder, op: Op, g: Value) -> tuple[Value]:
    return (b.emit("flip", g, axes=op.attributes["axes"]),)


def _cumsum(b: Builder, op: Op, g: Value) -> tuple[Value]:
    axis = op.attributes["axis"]
    return (b.emit("flip", b.emit("cumsum", b.emit("flip", g, axes=(axis,)), axis=axis), axes=(axis,)),)


def _index_select(b: Builder, op: Op, g: Value) -> tuple[Value, None]:
    x, index = op.values
    return b.emit("index_add", index, g, shape=x.shape, axis=op.attributes["axis"]), None


def _index_add(b: Builder, op: Op, g: Value) -> tuple[None, Value]:
    return None, b.emit("index_select", g, op.values[0], axis=op.attributes["axis"])


def _gather(b: Builder, op: Op, g: Value) -> tuple[Value, None]:
    x, index = op.values
    return b.emit("scatter_add", index, g, shape=x.shape, axis=op.attributes["axis"]), None


def _scatter_add(b: Builder, op: Op, g: Value) -> tuple[None, Value]:
    return None, b.emit("gather", g, op.values[0], axis=op.attributes["axis"])


_FLAT = "sign floor logical_not eq ne lt le gt ge logical_and logical_or argmax argmin argsort".split()

RULES: dict[str, Rule] = {
    **dict.fromkeys(_FLAT, _no_gradient),
    "neg": _elementwise(lambda b, g, y, x: (b.emit("neg", g),)),
    "abs": _scaled_by(lambda b, y, x: b.emit("sign", x)),
    "exp": _scaled_by(lambda b, y, x: y),
    "expm1": _scaled_by(lambda b, y, x: b.emit("add", y, 1.0)),
    "log": _elementwise(lambda b, g, y, x: (b.emit("div", g, x),)),
    "log1p": _elementwise(lambda b, g, y, x: (b.emit("div", g, b.emit("add", x, 1.0)),)),
    "sqrt": _elementwise(lambda b, g, y, x: (b.emit("div", g, b.emit("mul", y, 2.0)),)),
    "rsqrt": _scaled_by(lambda b, y, x: b.emit("mul", b.emit("mul", b.emit("mul", y, y), y), -0.5)),
    "reciprocal": _scaled_by(lambda b, y, x: b.emit("neg", b.emit("mul", y, y))),
    "tanh": _scaled_by(lambda b, y, x: b.emit("sub", 1.0, b.emit("mul", y, y))),
    "sigmoid": _scaled_by(lambda b, y, x: b.emit("mul", b.emit("sub", 1.0, y), y)),
    "softplus": _scaled_by(_softplus),
    "relu": _elementwise(lambda b, g, y, x: (b.emit("where", b.emit("gt", y, 0.0), g, 0.0),)),
    "sin": _scaled_by(lambda b, y, x: b.emit("cos", x)),
    "cos": _scaled_by(lambda b, y, x: b.emit("neg", b.emit("sin", x))),
    "erf": _scaled_by(_erf),
    "add": _elementwise(lambda b, g, y, x, z: (g, g)),
    "sub": _elementwise(lambda b, g, y, x, z: (g, b.emit("neg", g))),
    "mul": _elementwise(_mul),
    "div": _elementwise(_div),
    "pow": _elementwise(_pow),
    "maximum": _elementwise(_extreme_of_two("ge", "gt")),
    "minimum": _elementwise(_extreme_of_two("le", "lt")),
    "where": _elementwise(_where),
    "cast": _cast,
    "sum": _sum,
    "max": _extreme,
    "min": _extreme,
    "matvec": _matvec,
    "matmul": _matmul,
    "outer": _outer,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "slice": _slice,
    "pad": _pad,
    "cat": _cat,
    "flip": _flip,
    "cumsum": _cumsum,
    "index_select": _index_select,
    "index_add": _index_add,
    "gather": _gather,
    "scatter_add": _scatter_add,
}


def differentiable(value: Value) -> bool:
    """Whether a value can carry a gradient at all."""
    return value.dtype in (torch.float32, torch.float64)
