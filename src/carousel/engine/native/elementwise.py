"""Elementwise operations on vectors, one LLVM instruction or a few each."""

from __future__ import annotations

from collections.abc import Callable

import torch

from carousel.engine.ir import COMPARISONS, Input, Op, Value
from carousel.engine.native import math
from carousel.engine.native.text import TYPES, Vectors
from carousel.errors import InputError

PREDICATES = {
    "eq": ("oeq", "eq"),
    "ne": ("une", "ne"),
    "lt": ("olt", "slt"),
    "le": ("ole", "sle"),
    "gt": ("ogt", "sgt"),
    "ge": ("oge", "sge"),
}
"""Of comparisons: (on floats, on integers)."""

ARITHMETIC = {"add": ("fadd", "add"), "sub": ("fsub", "sub"), "mul": ("fmul", "mul"), "div": ("fdiv", None)}


def apply(v: Vectors, op: Op, arguments: list[str], functions: Callable[[str, Vectors], str]) -> str:
    """Write one elementwise operation; `v` has the type it computes in, `arguments` are of that type.

    `functions` gives the name of an elementary function on such vectors.
    """
    kind, floating = op.kind, v.kind in ("float", "double")
    if kind in PREDICATES:
        return v.compare(PREDICATES[kind][0 if floating else 1], *arguments)
    if kind == "where":
        return v.select(arguments[0], arguments[1], arguments[2])
    if kind == "copy":
        return arguments[0]
    if kind in ("logical_and", "logical_or", "logical_not"):
        truths = [_truth(v, argument) for argument in arguments]
        b = v.to("i1")
        return b.op(kind.removeprefix("logical_"), *truths) if len(truths) == 2 else b.op("xor", truths[0], b.constant(True))
    if kind == "pow" and isinstance(op.inputs[1], int | float):
        power = _small_power(v, arguments[0], float(op.inputs[1])) if floating else None
        if power is not None:
            return power
    if kind in math.FUNCTIONS and floating:
        return v.text.new(f"call {v.type} {functions(kind, v)}({', '.join(f'{v.type} {argument}' for argument in arguments)})")
    if kind in ARITHMETIC and (name := ARITHMETIC[kind][0 if floating else 1]):
        return v.op(name, *arguments)
    if kind in ("maximum", "minimum"):
        return v.call(kind if floating else {"maximum": "smax", "minimum": "smin"}[kind], *arguments)
    rule = FLOATING.get(kind) if floating else WHOLE.get(kind)
    if rule is None:
        raise InputError(f'native: no lowering for {kind!r} on {op.output.dtype} of {op.line or "this step"}; use backend="eager"')
    return rule(v, *arguments)


def _truth(v: Vectors, x: str) -> str:
    if v.kind == "i1":
        return x
    return v.compare("une" if v.kind in ("float", "double") else "ne", x, v.constant(0))


def _small_power(v: Vectors, x: str, power: float) -> str | None:
    """x to a power that a product or a root gives."""
    if power == 2:
        return v.mul(x, x)
    if power == 3:
        return v.mul(v.mul(x, x), x)
    if power == 1:
        return x
    if power == 0:
        return v.constant(1.0)
    if power == -1:
        return v.div(v.constant(1.0), x)
    if power == 0.5:
        return v.call("sqrt", x)
    return None


def _sign(v: Vectors, x: str) -> str:
    zero = v.constant(0.0)
    up = v.select(v.compare("ogt", x, zero), v.constant(1.0), zero)
    return v.select(v.compare("olt", x, zero), v.constant(-1.0), up)


def _relu(v: Vectors, x: str) -> str:
    return v.select(v.compare("olt", x, v.constant(0.0)), v.constant(0.0), x)  # NaN stays NaN


FLOATING: dict[str, Callable[..., str]] = {
    "neg": lambda v, x: v.neg(x),
    "abs": lambda v, x: v.call("fabs", x),
    "sqrt": lambda v, x: v.call("sqrt", x),
    "rsqrt": lambda v, x: v.div(v.constant(1.0), v.call("sqrt", x)),
    "reciprocal": lambda v, x: v.div(v.constant(1.0), x),
    "floor": lambda v, x: v.call("floor", x),
    "sign": _sign,
    "relu": _relu,
}

WHOLE: dict[str, Callable[..., str]] = {
    "neg": lambda v, x: v.op("sub", v.constant(0), x),
    "abs": lambda v, x: v.call("smax", x, v.op("sub", v.constant(0), x)),
    "sign": lambda v, x: v.call("smax", v.call("smin", x, v.constant(1)), v.constant(-1)),
    "relu": lambda v, x: v.call("smax", x, v.constant(0)),
    "floor": lambda v, x: x,
}


def cast(v: Vectors, x: str, kind: str) -> str:
    """Vectors of another element type, by C's rules."""
    floating, to_floating = v.kind in ("float", "double"), kind in ("float", "double")
    if v.kind == kind:
        return x
    if kind == "i1":
        return _truth(v, x)
    if floating and to_floating:
        return v.cast("fpext" if kind == "double" else "fptrunc", x, kind)
    if floating:  # NaN and what is too large must not be undefined
        w = v.to(kind)
        return v.text.new(f"call {w.type} @llvm.fptosi.sat.{w.suffix}.{v.suffix}({v.type} {x})")
    if v.kind == "i1":
        return v.cast("uitofp" if to_floating else "zext", x, kind)
    if to_floating:
        return v.cast("sitofp", x, kind)
    return v.cast("sext" if kind == "i64" else "trunc", x, kind)


def computing_dtype(op: Op) -> torch.dtype:
    """The element type an operation computes in; its literals take it."""
    if op.kind == "where":
        return op.output.dtype
    if op.kind in COMPARISONS or op.kind == "logical_not":
        return op.values[0].dtype
    return op.output.dtype


def argument_dtype(op: Op, position: int, given: Input) -> torch.dtype:
    """The element type that one input is taken as."""
    if op.kind == "where" and position == 0:
        return torch.bool
    if op.kind == "cast" and isinstance(given, Value):
        return given.dtype
    return computing_dtype(op)


def llvm_type(dtype: torch.dtype, op: Op) -> str:
    """LLVM's name of an element type; InputError where the lowering has none."""
    if dtype not in TYPES:
        raise InputError(f'native: no lowering for {dtype} ({op.kind!r} of {op.line or "this step"}); use backend="eager"')
    return TYPES[dtype]
