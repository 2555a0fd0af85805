"""Elementary functions on vectors against float64: every exponent, dense where they bend, and the special values."""

from __future__ import annotations

import ctypes
from functools import cache

import mpmath
import numpy as np
import pytest

from carousel.engine.native import jit, math

ULPS = 2.0


@cache
def library(name: str, kind: str, lanes: int) -> jit.Library:
    symbol, definition = math.function(name, kind, lanes)
    vector = f"<{lanes} x {kind}>"
    second = f", {vector} %y" if name == "pow" else ""
    text = f"""
        define void @run(ptr %x.at, ptr %y.at, ptr %out.at) {{
          %x = load {vector}, ptr %x.at, align 4
          %y = load {vector}, ptr %y.at, align 4
          %out = call {vector} {symbol}({vector} %x{second})
          store {vector} %out, ptr %out.at, align 4
          ret void
        }}"""
    return jit.Library(jit.compile_text("\n".join([*math.C_FUNCTIONS.values(), definition, text])), ["run"])


def evaluate(name: str, x: np.ndarray, y: np.ndarray | None = None, lanes: int = 8) -> np.ndarray:
    """The native function on all of x, vector by vector."""
    kind = "float" if x.dtype == np.float32 else "double"
    y = x if y is None else y
    size, count = len(x), -(-len(x) // lanes) * lanes
    x, y = (np.concatenate([a, np.ones(count - len(a), a.dtype)]) for a in (x, y))
    out = np.full_like(x, np.nan)
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(library(name, kind, lanes).addresses["run"])
    step = lanes * x.itemsize
    for offset in range(0, x.nbytes, step):
        run(x.ctypes.data + offset, y.ctypes.data + offset, out.ctypes.data + offset)
    return out[:size]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1.0, np.exp(np.minimum(x, 0))) / (1 + np.exp(-np.abs(x)))


def erf(x: np.ndarray) -> np.ndarray:
    sizes = [float(mpmath.erf(value)) if np.isfinite(value) else min(value, 1.0) for value in np.abs(x)]
    return np.copysign(sizes, x)


WANTED = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "sin": np.sin,
    "cos": np.cos,
    "erf": erf,
}

SPECIAL = np.array(
    [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 88.7, 88.8, -87.4, -103.9, -104.1, 20.0, 20.5]
)


def samples(count: int) -> np.ndarray:
    """Floats of all exponents and both signs, an even grid of -20..20, and the special values."""
    everywhere = np.linspace(0, 2**32 - 1, count).astype(np.uint32).view(np.float32)
    return np.concatenate([everywhere, np.linspace(-20, 20, count).astype(np.float32), SPECIAL.astype(np.float32)])


def check(found: np.ndarray, wanted: np.ndarray) -> None:
    """Within two units in the last place; NaN, infinities and the sign of zero exactly."""
    with np.errstate(over="ignore"):
        rounded = wanted.astype(np.float32)
    finite = np.isfinite(rounded)
    assert np.array_equal(found[~finite], rounded[~finite], equal_nan=True)
    assert np.array_equal(np.signbit(found[wanted == 0]), np.signbit(rounded[wanted == 0]))
    ulps = np.abs(found[finite] - wanted[finite]) / np.spacing(np.abs(rounded[finite])).astype(np.float64)
    assert ulps.max() <= ULPS


@pytest.mark.parametrize("lanes", [1, 8, 16])
@pytest.mark.parametrize("name", sorted(WANTED))
def test_float32(name: str, lanes: int) -> None:
    x = samples(1000 if name == "erf" else 20000)
    with np.errstate(all="ignore"):
        wanted = WANTED[name](x.astype(np.float64))
    check(evaluate(name, x, lanes=lanes), wanted)


def test_pow() -> None:
    generator = np.random.default_rng(0)
    some = np.array([0.0, -0.0, 1, -1, 2, -2, np.inf, -np.inf, np.nan, 1e-40, 0.5, 3], np.float32)
    x = np.concatenate([generator.uniform(0, 4, 20000), np.exp(generator.uniform(-100, 88, 20000)), np.repeat(some, 12)]).astype(
        np.float32
    )
    y = np.concatenate([generator.uniform(-20, 20, 20000), generator.uniform(-2, 2, 20000), np.tile(some, 12)]).astype(np.float32)
    with np.errstate(all="ignore"):
        wanted = np.power(x.astype(np.float64), y.astype(np.float64))
    check(evaluate("pow", x, y), wanted)


@pytest.mark.parametrize("name", sorted(WANTED))
def test_float64(name: str) -> None:
    x = np.linspace(0.01, 19, 501) if name == "log" else np.linspace(-0.99, 19, 501)
    exactly = {"sigmoid": lambda t: 1 / (1 + mpmath.exp(-t)), "softplus": lambda t: mpmath.log1p(mpmath.exp(t))}.get(
        name
    ) or getattr(mpmath, name)
    wanted = np.array([float(exactly(mpmath.mpf(value))) for value in x])
    assert np.allclose(evaluate(name, x, lanes=4), wanted, rtol=2e-15, atol=1e-16)
    assert np.isnan(evaluate(name, np.array([np.nan]), lanes=4))[0]


def test_denormals_survive() -> None:
    """No code of ours makes the processor flush them to zero, nor treats them as zero."""
    tiny = np.full(8, 1e-41, np.float32)
    assert np.array_equal(evaluate("tanh", tiny), tiny)
    assert np.array_equal(np.float32(1e-41) * np.ones(3, np.float32), np.full(3, 1e-41, np.float32))
