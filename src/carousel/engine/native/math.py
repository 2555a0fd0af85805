"""Elementary functions on vectors, as functions in LLVM's text.

In float32: range reduction and polynomials (those of log, tanh, sin and cos are S. L. Moshier's
of the Cephes library), within 2 units in the last place over the whole range, NaN, infinities and denormals
included. No operation here lets LLVM reassociate or assume finite values. In float64 the C
library is called lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable

from carousel.engine.kinds import ELEMENTWISE
from carousel.engine.native.text import Text, Vectors

LOG2E, LN2 = 1.4426950408889634, 0.6931471805599453
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # the first has so few bits that n * LN2_HIGH is exact
ROUNDER = 12582912.0  # 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits
INFINITY = float("inf")

HALF_PI = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)  # each a float32; their sum is pi / 2

EXP = [
    1.9891080464e-4,
    1.39337307158e-3,
    8.33331084465e-3,
    4.16664641974e-2,
    0.166666666817,
    0.500000001354,
]  # (exp(r) - 1 - r) / r^2
LOG = [
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
]
TANH = [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1]
SIN = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]
COS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]


def _reduce(v: Vectors, x: str) -> tuple[str, str]:
    """(n, r) with x = n ln 2 + r, |r| <= ln 2 / 2, n an integer; right for |x| up to some hundreds."""
    t = v.fma(x, v.constant(LOG2E), v.constant(ROUNDER))
    n_float = v.sub(t, v.constant(ROUNDER))
    r = v.fma(n_float, v.constant(-LN2_HIGH), x)
    r = v.fma(n_float, v.constant(-LN2_LOW), r)
    i = v.to("i32")
    bits = v.cast("bitcast", t, "i32")
    return i.op("sub", bits, i.bits(0x4B400000)), r


def _power_of_two(v: Vectors, n: str) -> str:
    """2^n for integer -126 <= n <= 127, by its bits."""
    i = v.to("i32")
    return i.cast("bitcast", i.op("shl", i.op("add", n, i.bits(127)), i.bits(23)), "float")


def _clamped(v: Vectors, x: str, low: float, high: float) -> str:
    """x within low..high; NaN stays NaN, as both comparisons are false for it."""
    x = v.select(v.compare("ogt", x, v.constant(high)), v.constant(high), x)
    return v.select(v.compare("olt", x, v.constant(low)), v.constant(low), x)


def _exp(v: Vectors, x: str) -> str:
    x = _clamped(v, x, -104.0, 89.0)
    n, r = _reduce(v, x)
    p = v.fma(v.polynomial(r, EXP), v.mul(r, r), r)
    p = v.add(p, v.constant(1.0))
    # In two halves: 2^n itself may be too large or too small for float32 where the result is not.
    i = v.to("i32")
    half = i.op("ashr", n, i.bits(1))
    return v.mul(v.mul(p, _power_of_two(v, half)), _power_of_two(v, i.op("sub", n, half)))


def _exp_of_negative(v: Vectors, x: str) -> str:
    """exp(x) for -87 <= x <= 0 (where less, that of -87): the shorter way that tanh needs."""
    x = v.select(v.compare("olt", x, v.constant(-87.0)), v.constant(-87.0), x)
    n, r = _reduce(v, x)
    p = v.fma(v.polynomial(r, EXP), v.mul(r, r), r)
    return v.mul(v.add(p, v.constant(1.0)), _power_of_two(v, n))


def _expm1(v: Vectors, x: str) -> str:
    clamped = _clamped(v, x, -18.0, 89.0)
    n, r = _reduce(v, clamped)
    p = v.fma(v.polynomial(r, EXP), v.mul(r, r), r)
    # 2^n (p + 1) - 1 = 2 (2^(n-1) p + (2^(n-1) - 1/2)): 2^128 alone would be infinite.
    i = v.to("i32")
    scale = _power_of_two(v, i.op("sub", n, i.bits(1)))
    scaled = v.mul(v.fma(scale, p, v.sub(scale, v.constant(0.5))), v.constant(2.0))
    value = v.select(i.compare("eq", n, i.bits(0)), p, scaled)
    return v.select(v.compare("oeq", x, v.constant(0.0)), x, value)  # -0 stays -0


def _tanh(v: Vectors, x: str) -> str:
    # 1 - 2 / (exp(2 |x|) + 1), and a polynomial near 0 where that would cancel.
    size = v.call("fabs", x)
    e = _exp_of_negative(v, v.mul(size, v.constant(-2.0)))
    far = v.div(v.sub(v.constant(1.0), e), v.add(v.constant(1.0), e))
    square = v.mul(x, x)
    near = v.fma(v.mul(v.polynomial(square, TANH), square), x, x)
    return v.call("copysign", v.select(v.compare("olt", size, v.constant(0.625)), near, far), x)


def _sigmoid(v: Vectors, x: str) -> str:
    # exp of what is negative only: the small end keeps its digits down to the denormals.
    e = _exp(v, v.neg(v.call("fabs", x)))
    top = v.select(v.compare("oge", x, v.constant(0.0)), v.constant(1.0), e)
    u = v.add(v.constant(1.0), e)
    lost = v.sub(e, v.sub(u, v.constant(1.0)))
    s = v.div(top, u)
    return v.fma(
        v.mul(s, lost), v.fma(e, v.constant(0.5), v.constant(-1.0)), s
    )  # less what rounding u lost; 1 / u is 1 - e / 2 at either end


def _log(v: Vectors, x: str) -> str:
    i = v.to("i32")
    small = v.compare("olt", x, v.constant(1.1754943508222875e-38))
    normal = v.select(small, v.mul(x, v.constant(2.0**23)), x)
    # The exponent that leaves a mantissa in sqrt(1/2)..sqrt(2).
    bits = i.op("add", v.cast("bitcast", normal, "i32"), i.bits(0x3F800000 - 0x3F3504F3))
    n = i.op("sub", i.op("ashr", bits, i.bits(23)), i.bits(127))
    n = i.op("sub", n, i.select(small, i.bits(23), i.bits(0)))
    mantissa = i.cast("bitcast", i.op("add", i.op("and", bits, i.bits(0x7FFFFF)), i.bits(0x3F3504F3)), "float")
    f = v.sub(mantissa, v.constant(1.0))
    n_float = i.cast("sitofp", n, "float")

    square = v.mul(f, f)
    y = v.mul(v.mul(v.polynomial(f, LOG), f), square)
    y = v.fma(n_float, v.constant(LN2_LOW), y)
    y = v.fma(square, v.constant(-0.5), y)
    y = v.fma(n_float, v.constant(LN2_HIGH), v.add(f, y))

    y = v.select(v.compare("oeq", x, v.constant(INFINITY)), x, y)
    y = v.select(v.compare("oeq", x, v.constant(0.0)), v.constant(-INFINITY), y)
    return v.select(v.compare("uge", x, v.constant(0.0)), v.select(v.compare("uno", x, x), x, y), v.constant(float("nan")))


def _log1p(v: Vectors, x: str) -> str:
    # log(u) with u = 1 + x as rounded, and what the rounding lost, to first order.
    u = v.add(x, v.constant(1.0))
    lost = v.sub(x, v.sub(u, v.constant(1.0)))
    value = v.add(_log(v, u), v.div(lost, u))
    ordinary = v.to("i1").op("and", v.compare("olt", u, v.constant(INFINITY)), v.compare("ogt", u, v.constant(0.0)))
    value = v.select(ordinary, value, _log(v, u))
    return v.select(v.compare("oeq", x, v.constant(0.0)), x, value)  # -0 stays -0


def _softplus(v: Vectors, x: str) -> str:
    # max(x, 0) + log1p(exp(-|x|)): no overflow, and x itself (to the last bit) where x > 20.
    tail = _log1p(v, _exp(v, v.neg(v.call("fabs", x))))
    return v.add(v.select(v.compare("olt", x, v.constant(0.0)), v.constant(0.0), x), tail)


def _pow(v: Vectors, x: str, y: str) -> str:
    # In double: log2 by its series in s = (m - 1) / (m + 1), then 2^t.
    d = v.to("double")
    wide, exponent = v.cast("fpext", x, "double"), v.cast("fpext", y, "double")
    i = v.to("i64")
    bits = i.op("add", d.cast("bitcast", wide, "i64"), i.bits(0x3FF0000000000000 - 0x3FE6A09E667F3BCD))
    n = i.op("sub", i.op("ashr", bits, i.bits(52)), i.bits(1023))
    mantissa = i.op("add", i.op("and", bits, i.bits(0xFFFFFFFFFFFFF)), i.bits(0x3FE6A09E667F3BCD))
    m = i.cast("bitcast", mantissa, "double")
    s = d.div(d.sub(m, d.constant(1.0)), d.add(m, d.constant(1.0)))
    series = d.polynomial(d.mul(s, s), [2 / (LN2 * (2 * k + 1)) for k in range(8, -1, -1)])
    n_double = v.to("i32").cast("sitofp", i.cast("trunc", n, "i32"), "double")
    t = d.mul(exponent, d.fma(series, s, n_double))

    t = d.select(d.compare("ogt", t, d.constant(200.0)), d.constant(200.0), t)
    t = d.select(d.compare("olt", t, d.constant(-200.0)), d.constant(-200.0), t)
    rounder = 1.5 * 2.0**52
    moved = d.add(t, d.constant(rounder))
    r = d.mul(d.sub(t, d.sub(moved, d.constant(rounder))), d.constant(LN2))
    factorial, taylor = 1.0, [1.0]
    for k in range(1, 11):
        factorial *= k
        taylor.insert(0, 1 / factorial)
    scale = i.op("shl", i.op("add", d.cast("bitcast", moved, "i64"), i.bits(1023)), i.bits(52))
    value = d.cast("fptrunc", d.mul(d.polynomial(r, taylor), i.cast("bitcast", scale, "double")), "float")
    return v.select(v.compare("oeq", x, v.constant(0.0)), v.constant(0.0), value)


def _pow_is_ordinary(v: Vectors, x: str, y: str) -> str:
    """Per lane: 0 <= x < inf and |y| moderate, and not a power of 0 that is 1 or infinite."""
    b = v.to("i1")
    positive = b.op("and", v.compare("oge", x, v.constant(0.0)), v.compare("olt", x, v.constant(INFINITY)))
    bounded = v.compare("olt", v.call("fabs", y), v.constant(1e30))
    finite = b.op("or", v.compare("ogt", x, v.constant(0.0)), v.compare("ogt", y, v.constant(0.0)))
    return b.op("and", b.op("and", positive, bounded), finite)


def _quadrant(v: Vectors, x: str) -> tuple[str, str, str]:
    """(q, sin r, cos r) with x = q pi/2 + r, |r| <= pi/4."""
    t = v.fma(x, v.constant(2 / 3.141592653589793), v.constant(ROUNDER))
    n = v.sub(t, v.constant(ROUNDER))
    r = x
    for part in HALF_PI:
        r = v.fma(n, v.constant(-part), r)
    square = v.mul(r, r)
    sine = v.fma(v.mul(v.polynomial(square, SIN), square), r, r)
    cosine = v.fma(v.mul(v.polynomial(square, COS), square), square, v.fma(square, v.constant(-0.5), v.constant(1.0)))
    return v.cast("bitcast", t, "i32"), sine, cosine


def _turned(v: Vectors, quadrant: str, sine: str, cosine: str) -> str:
    """The sine of the angle that lies `quadrant` quarter turns on."""
    i = v.to("i32")
    odd = i.compare("ne", i.op("and", quadrant, i.bits(1)), i.bits(0))
    back = i.compare("ne", i.op("and", quadrant, i.bits(2)), i.bits(0))
    value = v.select(odd, cosine, sine)
    return v.select(back, v.neg(value), value)


def _sin(v: Vectors, x: str) -> str:
    return v.select(v.compare("oeq", x, v.constant(0.0)), x, _turned(v, *_quadrant(v, x)))  # -0 stays -0


def _cos(v: Vectors, x: str) -> str:
    quadrant, sine, cosine = _quadrant(v, x)
    i = v.to("i32")
    return _turned(v, i.op("add", quadrant, i.bits(1)), sine, cosine)


def _angle_is_ordinary(v: Vectors, x: str) -> str:
    return v.compare("olt", v.call("fabs", x), v.constant(20000.0))


FLOAT: dict[str, Callable[..., str]] = {
    "exp": _exp,
    "expm1": _expm1,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "log": _log,
    "log1p": _log1p,
    "softplus": _softplus,
}
"""The functions that hold for every float32."""

ORDINARY: dict[str, tuple[Callable[..., str], Callable[..., str]]] = {
    "pow": (_pow, _pow_is_ordinary),
    "sin": (_sin, _angle_is_ordinary),
    "cos": (_cos, _angle_is_ordinary),
}
"""Functions with (a way for ordinary arguments, where they are so); else the C library, lane by lane."""


def _sigmoid_double(v: Vectors, x: str) -> str:
    e = v.lanewise("exp", v.neg(v.call("fabs", x)))
    top = v.select(v.compare("oge", x, v.constant(0.0)), v.constant(1.0), e)
    return v.div(top, v.add(v.constant(1.0), e))


def _softplus_double(v: Vectors, x: str) -> str:
    tail = v.lanewise("log1p", v.lanewise("exp", v.neg(v.call("fabs", x))))
    value = v.add(v.select(v.compare("olt", x, v.constant(0.0)), v.constant(0.0), x), tail)
    return v.select(v.compare("ogt", x, v.constant(20.0)), x, value)


DOUBLE: dict[str, Callable[..., str]] = {"sigmoid": _sigmoid_double, "softplus": _softplus_double}
"""The functions that the C library lacks, in float64."""


def function(name: str, kind: str, lanes: int) -> tuple[str, str]:
    """(name, definition) of elementary function `name` on <lanes x kind>."""
    text = Text()
    v = Vectors(text, kind, lanes)
    arguments = ["%x", "%y"][: ELEMENTWISE[name].arity]
    inline = "alwaysinline"
    if kind == "double":
        inline = "noinline"
        value = DOUBLE[name](v, *arguments) if name in DOUBLE else v.lanewise(name, *arguments)
    elif name in FLOAT:
        value = FLOAT[name](v, *arguments)
    elif name in ORDINARY:
        inline = "noinline"
        quick, is_ordinary = ORDINARY[name]
        text.line(f"br i1 {v.all(is_ordinary(v, *arguments))}, label %quick, label %slow")
        text.label("quick")
        text.line(f"ret {v.type} {quick(v, *arguments)}")
        text.label("slow")
        value = v.lanewise(name + "f", *arguments)
    else:
        inline = "noinline"
        value = v.lanewise(name + "f", *arguments)
    text.line(f"ret {v.type} {value}")
    symbol = f"@{name}.{v.suffix}"
    given = ", ".join(f"{v.type} {argument}" for argument in arguments)
    head = f"define internal {v.type} {symbol}({given}) nounwind {inline} {{"
    return symbol, "\n".join([head, "entry:", *text.lines, "}"])


C_FUNCTIONS = {
    name + suffix: f"declare {kind} @{name}{suffix}({', '.join([kind] * row.arity)}) nounwind memory(none)"
    for name, row in ELEMENTWISE.items()
    if row.function and name not in DOUBLE
    for kind, suffix in (("double", ""), ("float", "f"))
}
"""The C library's functions that `function` may call, with their declarations."""
