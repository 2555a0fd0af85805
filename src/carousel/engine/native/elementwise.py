"""Elementwise operations on vectors, one LLVM instruction or a few each."""

from __future__ import annotations

from collections.abc import Callable

import torch

from carousel.engine.ir import Input, Op, Value
from carousel.engine.kinds import KINDS
from carousel.engine.native.text import TYPES, Vectors
from carousel.errors import InputError


def apply(v: Vectors, op: Op, arguments: list[str], functions: Callable[[str, Vectors], str]) -> str:
    """Write one elementwise operation; `v` has the type it computes in, `arguments` are of that type.

    `functions` gives the name of an elementary function on such vectors.
    """
    if op.kind == "copy":
        return arguments[0]
    row, floating = KINDS[op.kind], v.kind in ("float", "double")
    if op.kind == "pow" and isinstance(op.inputs[1], int | float):
        power = _small_power(v, arguments[0], float(op.inputs[1])) if floating else None
        if power is not None:
            return power
    if row.function and floating:
        return v.text.new(f"call {v.type} {functions(op.kind, v)}({', '.join(f'{v.type} {argument}' for argument in arguments)})")
    rule = row.native if floating else row.whole
    if rule is None:
        raise InputError(
            f'native: no lowering for {op.kind!r} on {op.output.dtype} of {op.line or "this step"}; use backend="eager"'
        )
    return rule(v, *arguments)


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


def cast(v: Vectors, x: str, kind: str) -> str:
    """Vectors of another element type, by C's rules."""
    floating, to_floating = v.kind in ("float", "double"), kind in ("float", "double")
    if v.kind == kind:
        return x
    if kind == "i1":
        return v.truth(x)
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
    compared = op.kind != "copy" and KINDS[op.kind].dtype is torch.bool
    return op.values[0].dtype if compared else op.output.dtype


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
