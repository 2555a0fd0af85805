"""Loops of operations drawn at random against PyTorch: how units are fused, placed and stored is all theirs to break."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from carousel.engine.ir import Carry, Loop, Op, Value

SMOOTH = ["tanh", "sigmoid", "sin", "cos", "relu", "neg", "abs", "erf"]  # of any input, and no steeper than it
MIXED = ["add", "sub", "mul", "maximum", "minimum"]


class Draw:
    """A loop under construction: each method adds one operation on values that are there."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.random, self.dtype = random.Random(seed), dtype
        self.ops: list[Op] = []
        self.values: list[Value] = []
        self.shared: list[Value] = []

    def value(self, *shape: int) -> Value:
        return Value(f"v{len(self.ops)}.{len(self.values)}.{len(self.shared)}", shape, self.dtype)

    def op(self, kind: str, inputs: tuple[Any, ...], shape: tuple[int, ...], **attributes: Any) -> Value:
        output = self.value(*shape)
        self.ops.append(Op(kind, inputs, output, attributes))
        self.values.append(output)
        return output

    def any(self, rank: int | None = None) -> Value:
        fitting = [value for value in self.values if rank is None or len(value.shape) == rank]
        return self.random.choice(fitting)

    def unary(self) -> None:
        x = self.any()
        self.op(self.random.choice(SMOOTH), (x,), x.shape)

    def binary(self) -> None:
        x = self.any()
        fitting = [
            y
            for y in self.values
            if len(y.shape) == len(x.shape) and all(a == b or 1 in (a, b) for a, b in zip(x.shape, y.shape))  # noqa: B905
        ]
        y = self.random.choice([*fitting, 0.5])
        shape = torch.broadcast_shapes(x.shape, y.shape) if isinstance(y, Value) else x.shape
        self.op(self.random.choice(MIXED), (x, y) if self.random.random() < 0.5 else (y, x), tuple(shape))

    def where(self) -> None:
        x = self.any()
        condition = Value(f"c{len(self.ops)}", x.shape, torch.bool)
        self.ops.append(Op(self.random.choice(["gt", "le"]), (x, 0.1), condition))
        self.op("where", (condition, x, self.random.choice([x, 1.0])), x.shape)

    def reduce(self) -> None:
        x = self.any()
        axes = tuple(axis for axis in range(len(x.shape)) if self.random.random() < 0.6)
        if not axes:
            return
        kind = self.random.choice(["sum", "max", "min"])
        self.op(kind, (x,), tuple(size for axis, size in enumerate(x.shape) if axis not in axes), axes=axes)

    def matvec(self) -> None:
        x = self.any(1)
        transposed = self.random.random() < 0.5
        outputs = self.random.choice([1, 3, 7, 16, 33])
        W = self.value(*((x.shape[0], outputs) if transposed else (outputs, x.shape[0])))
        self.shared.append(W)
        raw = self.op("matvec", (W, x), (outputs,), transposed=transposed)
        self.op("tanh", (raw,), (outputs,))

    def outer(self) -> None:
        a, b = self.any(1), self.any(1)
        if a.shape[0] * b.shape[0] < 400:
            self.op("outer", (a, b), (*a.shape, *b.shape))

    def matmul(self) -> None:
        a, b = self.any(2), self.any(2)
        if a.shape[1] != b.shape[0]:
            b = self.op("permute", (a,), a.shape[::-1], axes=(1, 0))
        raw = self.op("matmul", (a, b), (a.shape[0], b.shape[1]))
        self.op("tanh", (raw,), raw.shape)

    def view(self) -> None:
        x = self.any()
        if not x.shape:
            return
        kind = self.random.choice(["slice", "permute", "flip", "reshape", "pad", "cumsum"])
        axis = self.random.randrange(len(x.shape))
        size = x.shape[axis]
        if kind == "slice":
            start, step = self.random.randrange(size), self.random.choice([1, 1, 2])
            stop = self.random.randint(start + 1, size)
            shape = (*x.shape[:axis], len(range(start, stop, step)), *x.shape[axis + 1 :])
            self.op(kind, (x,), shape, axis=axis, start=start, stop=stop, step=step)
        elif kind == "permute":
            axes = tuple(self.random.sample(range(len(x.shape)), len(x.shape)))
            self.op(kind, (x,), tuple(x.shape[a] for a in axes), axes=axes)
        elif kind == "flip":
            self.op(kind, (x,), x.shape, axes=(axis,))
        elif kind == "reshape":
            whole = x.shape[0] * (x.shape[1] if len(x.shape) > 1 else 1)
            shape = self.random.choice([(whole,), (1, whole), (whole, 1)])
            self.op(kind, (x,), shape)
        elif kind == "pad" and size < 20:
            self.op(kind, (x,), (*x.shape[:axis], 2 * size + 1, *x.shape[axis + 1 :]), axis=axis, start=1, step=2)
        elif kind == "cumsum":
            raw = self.op(kind, (x,), x.shape, axis=axis)
            self.op("sin", (raw,), x.shape)

    def cat(self) -> None:
        x = self.any()
        if not x.shape:
            return
        axis = self.random.randrange(len(x.shape))

        def fits(y: Value) -> bool:
            return len(y.shape) == len(x.shape) and all(
                a == b for n, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)) if n != axis
            )

        parts = self.random.choices([y for y in self.values if fits(y)], k=self.random.randint(1, 4))
        total = sum(part.shape[axis] for part in parts)
        if total < 200:
            self.op("cat", tuple(parts), (*x.shape[:axis], total, *x.shape[axis + 1 :]), axis=axis)


def random_loop(seed: int, dtype: torch.dtype) -> Loop:
    draw = Draw(seed, dtype)
    n, m = draw.random.choice([1, 3, 5, 8, 13, 17]), draw.random.choice([1, 2, 5, 9])
    draw.values = inputs = [draw.value(n), Value("x", (n, m), dtype), Value("k", (n,), dtype)]
    states = [Value("h", (n,), dtype), Value("M", (n, m), dtype), Value("s", (), dtype)]
    draw.values = [*inputs, *states]
    kinds = [
        draw.unary,
        draw.binary,
        draw.binary,
        draw.where,
        draw.reduce,
        draw.matvec,
        draw.outer,
        draw.matmul,
        draw.view,
        draw.view,
        draw.cat,
    ]
    for _ in range(draw.random.randint(3, 25)):
        draw.random.choice(kinds)()
    carries = []
    for state in states:
        after = draw.random.choice([value for value in draw.values if value.shape == state.shape])
        squashed = draw.op("tanh", (after,), state.shape) if draw.random.random() < 0.7 else after
        carries.append(Carry(state, squashed))

    def some(most: int) -> tuple[Value, ...]:
        return tuple(draw.random.sample(draw.values, draw.random.randint(0, most)))

    return Loop(
        tuple(draw.ops),
        shared=tuple(draw.shared),
        per_row=(inputs[2],),
        per_step=(inputs[0], inputs[1]),
        carried=tuple(carries),
        written=some(4),
        summed=some(2),
        row_summed=some(2),
        reverse=draw.random.random() < 0.5,
    )


def check(seed: int, width: int, agree: Callable[..., Any]) -> None:
    """One row, then several of different lengths, on one thread and on two."""
    loop = random_loop(seed, torch.float64)
    agree(loop, T=2, B=1, width=width, seed=seed)
    agree(loop, T=3, B=5, width=width, seed=seed)
    agree(loop, T=3, B=5, lengths=[2, 3, 0, 1, 3], width=width, seed=seed, threads=2)


@pytest.mark.parametrize("seed", [*range(15), 152])
def test_random_loops(seed: int, agree: Callable[..., Any]) -> None:
    check(seed, (4, 8, 16)[seed % 3], agree)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(15, 300))
def test_many_random_loops(seed: int, agree: Callable[..., Any]) -> None:
    for width in (4, 8, 16):
        check(seed, width, agree)
