"""The elementwise kinds.

All their inputs that are values have the rank of the output, and each axis has the output's size or
1. At ties and kinks the adjoints follow PyTorch: relu has 0 at 0; maximum and minimum of two values
share the gradient equally; with a literal they are a clamp, whose bound belongs to the inside.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from carousel.engine.ir import Op, Value
from carousel.engine.kinds.kind import Attributes, Call, Kind, Shape, unbroadcast

if TYPE_CHECKING:
    from carousel.engine.build import Builder
    from carousel.engine.native.text import Vectors

ELEMENTWISE: dict[str, Kind] = {}

Rule = Callable[..., tuple[Value | None, ...]]
"""(builder, g, output, *inputs) -> the cotangent of each input, as if none were broadcast."""


def _add(
    name: str,
    arity: int,
    rule: Rule | None = None,
    *,
    call: Callable[..., Any] | None = None,
    native: Callable[..., str] | None = None,
    whole: Callable[..., str] | None = None,
    function: bool = False,
    dtype: torch.dtype | None = None,
    linear: Literal["", "inputs", "factor", "dividend"] = "",
    note: str = "",
) -> None:
    """A row; without a rule it is flat, and `call` is torch.<name> where it is not given."""
    given = "(x)" if arity == 1 else "(a, b); an axis of size 1 is broadcast"
    function_ = call or getattr(torch, name)
    ELEMENTWISE[name] = Kind(
        meaning=f"{given}{note}",
        adjoint=_adjoint(rule),
        call=lambda output, attributes, led: function_,
        form="elementwise",
        shape=_broadcast,
        dtype=dtype,
        arity=arity,
        function=function,
        native=native,
        whole=whole,
        linear=linear,
    )


def _broadcast(shapes: list[Shape], attributes: Attributes) -> Shape:
    return tuple(torch.broadcast_shapes(*shapes))


def _adjoint(rule: Rule | None) -> Callable[[Builder, Op, Value], tuple[Value | None, ...]]:
    def with_broadcast(b: Builder, op: Op, g: Value) -> tuple[Value | None, ...]:
        cotangents = (None,) * len(op.inputs) if rule is None else rule(b, g, op.output, *op.inputs)
        return tuple(
            c if c is None else unbroadcast(b, b.emit("expand", c, shape=op.output.shape), item)
            for c, item in zip(cotangents, op.inputs, strict=True)
        )

    return with_broadcast


def _slope(factor: Callable[[Builder, Value, Value], Value]) -> Rule:
    """For one input: g times factor(builder, output, x)."""
    return lambda b, g, y, x: (b.emit("mul", g, factor(b, y, x)),)


# Signs and steps

_add(
    "neg",
    1,
    lambda b, g, y, x: (b.emit("neg", g),),
    native=lambda v, x: v.neg(x),
    whole=lambda v, x: v.op("sub", v.constant(0), x),
    linear="inputs",
)
_add(
    "abs",
    1,
    _slope(lambda b, y, x: b.emit("sign", x)),
    native=lambda v, x: v.call("fabs", x),
    whole=lambda v, x: v.call("smax", x, v.op("sub", v.constant(0), x)),
)


def _sign(v: Vectors, x: str) -> str:
    zero = v.constant(0.0)
    up = v.select(v.compare("ogt", x, zero), v.constant(1.0), zero)
    return v.select(v.compare("olt", x, zero), v.constant(-1.0), up)


_add("sign", 1, native=_sign, whole=lambda v, x: v.call("smax", v.call("smin", x, v.constant(1)), v.constant(-1)))
for _name, _intrinsic in (("floor", "floor"), ("ceil", "ceil"), ("trunc", "trunc"), ("round", "rint")):  # round: half to even
    _add(_name, 1, native=lambda v, x, name=_intrinsic: v.call(name, x), whole=lambda v, x: x)
_add(
    "relu",
    1,
    lambda b, g, y, x: (b.emit("where", b.emit("le", y, 0.0), 0.0, g),),
    native=lambda v, x: v.select(v.compare("olt", x, v.constant(0.0)), v.constant(0.0), x),  # NaN stays NaN
    whole=lambda v, x: v.call("smax", x, v.constant(0)),
)

# Roots

_add("sqrt", 1, lambda b, g, y, x: (b.emit("div", g, b.emit("mul", y, 2.0)),), native=lambda v, x: v.call("sqrt", x))
_add(
    "rsqrt",
    1,
    _slope(lambda b, y, x: b.emit("mul", b.emit("mul", b.emit("mul", y, y), y), -0.5)),
    native=lambda v, x: v.div(v.constant(1.0), v.call("sqrt", x)),
)
_add("reciprocal", 1, _slope(lambda b, y, x: b.emit("neg", b.emit("mul", y, y))), native=lambda v, x: v.div(v.constant(1.0), x))

# Elementary functions


def _function(name: str, rule: Rule, call: Callable[..., Any] | None = None, note: str = "") -> None:
    _add(name, 1, rule, call=call, function=True, note=note)


_function("exp", _slope(lambda b, y, x: y))
_function("expm1", _slope(lambda b, y, x: b.emit("add", y, 1.0)))
_function("log", lambda b, g, y, x: (b.emit("div", g, x),))
_function("log1p", lambda b, g, y, x: (b.emit("div", g, b.emit("add", x, 1.0)),))
_function("tanh", _slope(lambda b, y, x: b.emit("sub", 1.0, b.emit("mul", y, y))))
_function("sigmoid", _slope(lambda b, y, x: b.emit("mul", b.emit("sub", 1.0, y), y)))
_function(
    "softplus",
    _slope(lambda b, y, x: b.emit("where", b.emit("gt", x, 20.0), 1.0, b.emit("sigmoid", x))),
    call=F.softplus,
    note=": x where x > 20, else log1p(exp(x)), as in PyTorch",
)
_function("sin", _slope(lambda b, y, x: b.emit("cos", x)))
_function("cos", _slope(lambda b, y, x: b.emit("neg", b.emit("sin", x))))
_function("erf", _slope(lambda b, y, x: b.emit("mul", b.emit("exp", b.emit("neg", b.emit("mul", x, x))), 2 / math.sqrt(math.pi))))
_function(
    "erfc",
    _slope(lambda b, y, x: b.emit("mul", b.emit("exp", b.emit("neg", b.emit("mul", x, x))), -2 / math.sqrt(math.pi))),
)
_function("tan", _slope(lambda b, y, x: b.emit("add", b.emit("mul", y, y), 1.0)))
_function("asin", _slope(lambda b, y, x: b.emit("rsqrt", b.emit("sub", 1.0, b.emit("mul", x, x)))))
_function("acos", _slope(lambda b, y, x: b.emit("neg", b.emit("rsqrt", b.emit("sub", 1.0, b.emit("mul", x, x))))))
_function("atan", lambda b, g, y, x: (b.emit("div", g, b.emit("add", b.emit("mul", x, x), 1.0)),))
_function("sinh", _slope(lambda b, y, x: b.emit("cosh", x)))
_function("cosh", _slope(lambda b, y, x: b.emit("sinh", x)))
_function("asinh", _slope(lambda b, y, x: b.emit("rsqrt", b.emit("add", b.emit("mul", x, x), 1.0))))
_function("acosh", _slope(lambda b, y, x: b.emit("rsqrt", b.emit("sub", b.emit("mul", x, x), 1.0))))
_function("atanh", lambda b, g, y, x: (b.emit("div", g, b.emit("sub", 1.0, b.emit("mul", x, x))),))


def _atan2(b: Builder, g: Value, y: Value, x: Value | float, z: Value | float) -> tuple[Value, Value]:
    square = b.emit("add", *(b.emit("mul", item, item) if isinstance(item, Value) else item * item for item in (x, z)))
    scale = b.emit("where", b.emit("eq", square, 0.0), 0.0, b.emit("reciprocal", square))
    return b.emit("mul", g, b.emit("mul", z, scale)), b.emit("neg", b.emit("mul", g, b.emit("mul", x, scale)))


def _hypot(b: Builder, g: Value, y: Value, x: Value, z: Value) -> tuple[Value, Value]:
    return b.emit("mul", g, b.emit("div", x, y)), b.emit("mul", g, b.emit("div", z, y))


def _fmod(b: Builder, g: Value, y: Value, x: Value, z: Value) -> tuple[Value, Value]:
    return g, b.emit("neg", b.emit("mul", g, b.emit("trunc", b.emit("div", x, z))))


def _of_tensors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """For what of PyTorch takes no numbers."""

    def call(*given: Any) -> Tensor:
        dtype = next(item.dtype for item in given if isinstance(item, Tensor))
        return function(*(torch.as_tensor(item, dtype=dtype) for item in given))

    return call


def _copysign(b: Builder, g: Value, y: Value, x: Value | float, z: Value) -> tuple[Value | None, None]:
    if not isinstance(x, Value):
        return None, None
    return b.emit("mul", g, b.emit("where", b.emit("eq", x, 0.0), 0.0, b.emit("div", y, x))), None


_add("copysign", 2, _copysign, call=_of_tensors(torch.copysign), native=lambda v, size, sign: v.call("copysign", size, sign))
_add("atan2", 2, _atan2, call=_of_tensors(torch.atan2), function=True)
_add("hypot", 2, _hypot, call=_of_tensors(torch.hypot), function=True)
_add("fmod", 2, _fmod, call=_of_tensors(torch.fmod), function=True)


def _pow(b: Builder, g: Value, y: Value, x: Value | float, p: Value | float) -> tuple[Value | None, Value | None]:
    dx = dp = None
    if isinstance(x, Value) and p != 0:
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


_add("pow", 2, _pow, call=operator.pow, function=True)

# Arithmetic


def _div(b: Builder, g: Value, y: Value, x: Value, z: Value) -> tuple[Value, Value]:
    quotient = b.emit("div", g, z)
    return quotient, b.emit("neg", b.emit("mul", quotient, y))


_add(
    "add",
    2,
    lambda b, g, y, x, z: (g, g),
    call=operator.add,
    native=lambda v, a, b: v.add(a, b),
    whole=lambda v, a, b: v.op("add", a, b),
    linear="inputs",
)
_add(
    "sub",
    2,
    lambda b, g, y, x, z: (g, b.emit("neg", g)),
    call=operator.sub,
    native=lambda v, a, b: v.sub(a, b),
    whole=lambda v, a, b: v.op("sub", a, b),
    linear="inputs",
)
_add(
    "mul",
    2,
    lambda b, g, y, x, z: (b.emit("mul", g, z), b.emit("mul", g, x)),
    call=operator.mul,
    native=lambda v, a, b: v.mul(a, b),
    whole=lambda v, a, b: v.op("mul", a, b),
    linear="factor",
)
_add("div", 2, _div, call=operator.truediv, linear="dividend", native=lambda v, a, b: v.div(a, b))


def _extreme(inside: str, outside: str) -> Rule:
    def rule(b: Builder, g: Value, y: Value, x: Value | float, z: Value | float) -> tuple[Value | None, Value | None]:
        if isinstance(x, Value) and isinstance(z, Value):
            half = b.emit("mul", g, 0.5)
            tied = b.emit("eq", x, z)
            sides = ((x, z), (z, x))
            dx, dz = (b.emit("where", tied, half, b.emit("where", b.emit(outside, one, other), 0.0, g)) for one, other in sides)
            return dx, dz
        if isinstance(x, Value):
            return b.emit("where", b.emit(inside, x, z), g, 0.0), None
        return None, b.emit("where", b.emit(inside, z, x), g, 0.0)

    return rule


def _larger(of_two: Callable[..., Tensor], clamp: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return of_two(a, b)
        return clamp(a, b) if isinstance(a, Tensor) else clamp(b, a)

    return call


_add(
    "maximum",
    2,
    _extreme("ge", "lt"),
    call=_larger(torch.maximum, torch.clamp_min),
    native=lambda v, a, b: v.call("maximum", a, b),
    whole=lambda v, a, b: v.call("smax", a, b),
)
_add(
    "minimum",
    2,
    _extreme("le", "gt"),
    call=_larger(torch.minimum, torch.clamp_max),
    native=lambda v, a, b: v.call("minimum", a, b),
    whole=lambda v, a, b: v.call("smin", a, b),
)

# Truths


def _comparison(name: str, on_floats: str, on_integers: str) -> None:
    _add(
        name,
        2,
        call=getattr(operator, name),
        dtype=torch.bool,
        native=lambda v, a, b: v.compare(on_floats, a, b),
        whole=lambda v, a, b: v.compare(on_integers, a, b),
    )


_comparison("eq", "oeq", "eq")
_comparison("ne", "une", "ne")
_comparison("lt", "olt", "slt")
_comparison("le", "ole", "sle")
_comparison("gt", "ogt", "sgt")
_comparison("ge", "oge", "sge")


def _logical(name: str, arity: int, rule: Callable[..., str]) -> None:
    def native(v: Vectors, *arguments: str) -> str:
        return rule(v.to("i1"), *[v.truth(argument) for argument in arguments])

    _add(name, arity, dtype=torch.bool, native=native, whole=native)


_logical("logical_and", 2, lambda v, a, b: v.op("and", a, b))
_logical("logical_or", 2, lambda v, a, b: v.op("or", a, b))
_logical("logical_not", 1, lambda v, x: v.op("xor", x, v.constant(True)))

# Choice and type


def _where(b: Builder, g: Value, y: Value, condition: Value, x: Value, z: Value) -> tuple[None, Value, Value]:
    return None, b.emit("where", condition, g, 0.0), b.emit("where", condition, 0.0, g)


def _chosen(output: Value, attributes: Attributes, led: Any) -> Call:
    dtype = output.dtype
    return lambda condition, a, b: torch.where(condition, a, b).to(dtype)


ELEMENTWISE["where"] = Kind(
    meaning="(condition, a, b); an axis of size 1 is broadcast",
    adjoint=_adjoint(_where),
    call=_chosen,
    form="elementwise",
    shape=_broadcast,
    typed_by=1,
    arity=3,
    native=lambda v, condition, a, b: v.select(condition, a, b),
    whole=lambda v, condition, a, b: v.select(condition, a, b),
)


def _cast(b: Builder, op: Op, g: Value) -> tuple[Value | None]:
    (x,) = op.values
    return (b.emit("cast", g, dtype=x.dtype) if x.dtype.is_floating_point else None,)


def _converted(output: Value, attributes: Attributes, led: Any) -> Call:
    return lambda x: x.to(output.dtype)


ELEMENTWISE["cast"] = Kind(
    meaning="(x) to output.dtype",
    adjoint=_cast,
    call=_converted,
    form="elementwise",
    shape=_broadcast,
    arity=1,
    native=lambda v, x: x,  # what computes in another type than its input is converted before (native/elementwise.py)
    whole=lambda v, x: x,
    idle=lambda attributes, rank: True,
)
