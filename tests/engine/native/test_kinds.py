"""Every kind of operation against PyTorch: odd sizes, several widths, one row and many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from carousel.engine.ir import Carry, Input, Loop, Op, Value
from carousel.engine.kinds import ELEMENTWISE, KINDS
from carousel.engine.native.compiled import compile_loop
from carousel.errors import InputError

SIZES = [1, 2, 3, 5, 7, 13, 17, 33]


def value(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Value:
    return Value(name, shape, dtype)


def loop_of(kind: str, inputs: tuple[Input, ...], output: Value, **attributes: Any) -> Loop:
    """A loop that computes one operation on inputs of each step, and writes it."""
    values = tuple(dict.fromkeys(given for given in inputs if isinstance(given, Value)))
    return Loop((Op(kind, inputs, output, attributes),), per_step=values, written=(output,))


def positive(buffers: list[torch.Tensor]) -> None:
    for buffer in buffers:
        if buffer.is_floating_point():
            buffer.abs_().add_(0.1)


PLAIN = [name for name, row in ELEMENTWISE.items() if row.arity < 3 and name != "cast"]
POSITIVE = {"log", "log1p", "sqrt", "rsqrt", "reciprocal", "pow", "div"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", PLAIN)
def test_elementwise(kind: str, dtype: torch.dtype, agree: Callable[..., Any]) -> None:
    inputs = (value("a", 13, dtype=dtype), value("b", 13, dtype=dtype))[: ELEMENTWISE[kind].arity]
    loop = loop_of(kind, inputs, value("y", 13, dtype=ELEMENTWISE[kind].dtype or dtype))
    agree(loop, inputs=positive if kind in POSITIVE else lambda buffers: None)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.0, -1.0, 0.5, 1.7])
def test_power_by_a_literal(power: float, agree: Callable[..., Any]) -> None:
    agree(loop_of("pow", (value("a", 5), power), value("y", 5)), inputs=positive)


@pytest.mark.parametrize("width", [4, 8, 16])
def test_every_tail(width: int, agree: Callable[..., Any]) -> None:
    operands = [(value(f"a{size}", size), value(f"b{size}", size)) for size in SIZES]
    ops = tuple(Op("mul", pair, value(f"y{pair[0].shape[0]}", *pair[0].shape)) for pair in operands)
    loop = Loop(ops, per_step=tuple(given for pair in operands for given in pair), written=tuple(op.output for op in ops))
    agree(loop, width=width, B=1)
    agree(loop, width=width, B=4)


@pytest.mark.parametrize("shapes", [((3, 1), (1, 5)), ((3, 5), (3, 1)), ((1, 5), (3, 5)), ((1, 1), (3, 5)), ((2, 1, 9), (2, 4, 1))])
def test_broadcasting(shapes: tuple[tuple[int, ...], tuple[int, ...]], agree: Callable[..., Any]) -> None:
    output = torch.broadcast_shapes(*shapes)
    agree(loop_of("add", (value("a", *shapes[0]), value("b", *shapes[1])), value("y", *output)))


def test_scalars_and_empty_values(agree: Callable[..., Any]) -> None:
    agree(loop_of("exp", (value("a"),), value("y")))
    agree(loop_of("exp", (value("a", 0),), value("y", 0)))
    agree(loop_of("sum", (value("a", 0, 3),), value("y", 3), axes=(0,)))


def test_where_and_literals(agree: Callable[..., Any]) -> None:
    condition = value("c", 9, dtype=torch.bool)
    agree(loop_of("where", (condition, value("a", 9), -1.5), value("y", 9)))
    agree(loop_of("where", (condition, 1.0, float("-inf")), value("y", 9)))
    agree(loop_of("sub", (1.0, value("a", 9)), value("y", 9)))


@pytest.mark.parametrize("source", [torch.float32, torch.float64, torch.int64, torch.int32, torch.bool])
@pytest.mark.parametrize("target", [torch.float32, torch.float64, torch.int64, torch.int32, torch.bool])
def test_cast(source: torch.dtype, target: torch.dtype, agree: Callable[..., Any]) -> None:
    agree(loop_of("cast", (value("a", 11, dtype=source),), value("y", 11, dtype=target)))


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "maximum", "minimum", "eq", "lt", "ge", "neg", "abs", "sign", "relu"])
def test_whole_numbers(kind: str, agree: Callable[..., Any]) -> None:
    inputs = (value("a", 7, dtype=torch.int64), value("b", 7, dtype=torch.int64))[: ELEMENTWISE[kind].arity]
    agree(loop_of(kind, inputs, value("y", 7, dtype=ELEMENTWISE[kind].dtype or torch.int64)))


REDUCED = [
    ((5,), (0,)),
    ((33,), (0,)),
    ((7, 13), (0,)),
    ((7, 13), (1,)),
    ((7, 13), (0, 1)),
    ((3, 5, 9), (1,)),
    ((3, 5, 9), (0, 2)),
    ((1, 9), (0,)),
]
"""(shape, axes): runs and their parts, along and across the vectors."""


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("kind", ["sum", "max", "min"])
def test_reductions(kind: str, width: int, agree: Callable[..., Any]) -> None:
    ops = []
    for n, (shape, axes) in enumerate(REDUCED):
        kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        ops.append(Op(kind, (value(f"a{n}", *shape),), value(f"y{n}", *kept), {"axes": axes}))
    loop = Loop(tuple(ops), per_step=tuple(op.values[0] for op in ops), written=tuple(op.output for op in ops))
    agree(loop, width=width, B=1)
    agree(loop, width=width, B=3)


@pytest.mark.parametrize("kind", ["sum", "max", "min"])
def test_reductions_of_whole_numbers(kind: str, agree: Callable[..., Any]) -> None:
    agree(loop_of(kind, (value("a", 3, 9, dtype=torch.int64),), value("y", 3, dtype=torch.int64), axes=(1,)))


MATRICES = [(1, 1), (3, 5), (16, 4), (33, 17), (65, 40), (40, 129), (5, 300), (300, 5)]
"""(m, k): written out in full and in panels, whole ones and parts."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("transposed", [False, True])
def test_matvec(transposed: bool, width: int, dtype: torch.dtype, agree: Callable[..., Any]) -> None:
    ops = []
    for n, (m, k) in enumerate(MATRICES):
        inputs, outputs = (m, k) if transposed else (k, m)
        factors = value(f"W{n}", m, k, dtype=dtype), value(f"x{n}", inputs, dtype=dtype)
        ops.append(Op("matvec", factors, value(f"y{n}", outputs, dtype=dtype), {"transposed": transposed}))
    loop = Loop(
        tuple(ops),
        shared=tuple(op.values[0] for op in ops),
        per_step=tuple(op.values[1] for op in ops),
        written=tuple(op.output for op in ops),
    )
    for B in (1, 2, 3, 7, 13):
        agree(loop, B=B, T=2, width=width)


PRODUCTS = [(1, 7, 5), (5, 7, 1), (13, 9, 11), (3, 20, 70), (1, 1, 1), (17, 33, 1)]
"""(m, k, n)."""


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("permuted", ["", "a", "b", "ab"])
def test_matmul(permuted: str, width: int, agree: Callable[..., Any]) -> None:
    ops: list[Op] = []
    given: list[Value] = []

    def factor(name: str, n: int, shape: tuple[int, int]) -> Value:
        if name not in permuted:
            given.append(value(f"{name}{n}", *shape))
            return given[-1]
        given.append(value(f"{name}{n}", *shape[::-1]))
        ops.append(Op("permute", (given[-1],), value(f"{name}t{n}", *shape), {"axes": (1, 0)}))
        return ops[-1].output

    products = []
    for number, (m, k, n) in enumerate(PRODUCTS):
        factors = factor("a", number, (m, k)), factor("b", number, (k, n))
        products.append(value(f"y{number}", m, n))
        ops.append(Op("matmul", factors, products[-1]))
    agree(Loop(tuple(ops), per_step=tuple(given), written=tuple(products)), width=width)


def test_outer(agree: Callable[..., Any]) -> None:
    agree(loop_of("outer", (value("a", 5), value("b", 9)), value("y", 5, 9)))


VIEWS = [
    ("reshape", (3, 4), (2, 6), {}),
    ("reshape", (12,), (3, 1, 4), {}),
    ("permute", (3, 4, 5), (5, 3, 4), {"axes": (2, 0, 1)}),
    ("expand", (3, 1), (3, 7), {}),
    ("slice", (9,), (3,), {"axis": 0, "start": 1, "stop": 8, "step": 3}),
    ("slice", (5, 9), (5, 4), {"axis": 1, "start": 2, "stop": 6, "step": 1}),
    ("flip", (5, 9), (5, 9), {"axes": (0, 1)}),
    ("pad", (3,), (9,), {"axis": 0, "start": 1, "step": 3}),
    ("pad", (5, 2), (5, 9), {"axis": 1, "start": 4, "step": 1}),
    ("cumsum", (5, 9), (5, 9), {"axis": 0}),
    ("cumsum", (5, 9), (5, 9), {"axis": 1}),
]


@pytest.mark.parametrize(("kind", "shape", "output", "attributes"), VIEWS)
def test_views_and_walks(
    kind: str, shape: tuple[int, ...], output: tuple[int, ...], attributes: dict, agree: Callable[..., Any]
) -> None:
    agree(loop_of(kind, (value("a", *shape),), value("y", *output), **attributes))


@pytest.mark.parametrize("axis", [0, 1])
def test_cat(axis: int, agree: Callable[..., Any]) -> None:
    """Parts computed in place, parts that are inputs, one part twice."""
    a, b = value("a", 3, 5), value("b", 3, 5)
    s = value("s", 3, 5)
    shape = [3, 5]
    shape[axis] *= 4
    y = value("y", *shape)
    ops = (Op("sigmoid", (a,), s), Op("cat", (s, b, s, a), y, {"axis": axis}))
    agree(Loop(ops, per_step=(a, b), written=(y, s)))


def test_reshape_of_a_permuted_value_and_of_a_slot(agree: Callable[..., Any]) -> None:
    a = value("a", 3, 5)
    s, p, r, c, q = value("s", 3, 5), value("p", 5, 3), value("r", 15), value("c", 3, 10), value("q", 15)
    ops = (
        Op("tanh", (a,), s),
        Op("permute", (s,), p, {"axes": (1, 0)}),
        Op("reshape", (p,), r),
        Op("cat", (s, a), c, {"axis": 1}),
        Op("reshape", (s,), q),
    )
    agree(Loop(ops, per_step=(a,), written=(r, c, q)))


@pytest.mark.parametrize("axis", [0, 1])
def test_indexing(axis: int, agree: Callable[..., Any]) -> None:
    shape = (5, 7)
    x, i = value("x", *shape), value("i", 4, dtype=torch.int64)
    picked = [*shape]
    picked[axis] = 4
    y = value("y", *picked)
    n = shape[axis]

    def indices(buffers: list[torch.Tensor]) -> None:
        for buffer in buffers:
            if buffer.dtype == torch.int64:
                buffer.copy_(torch.randint(0, n, buffer.shape, generator=torch.Generator().manual_seed(1)))

    agree(loop_of("index_select", (x, i), y, axis=axis), inputs=indices)
    agree(loop_of("index_add", (i, y), value("z", *shape), axis=axis), inputs=indices)
    j = value("j", *picked, dtype=torch.int64)
    agree(loop_of("gather", (x, j), y, axis=axis), inputs=indices)
    agree(loop_of("scatter_add", (j, y), value("z", *shape), axis=axis), inputs=indices)


@pytest.mark.parametrize("kind", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("special", ["ordinary", "equal", "nan"])
def test_argbest(kind: str, axis: int, special: str, agree: Callable[..., Any]) -> None:
    def inputs(buffers: list[torch.Tensor]) -> None:
        if special == "equal":
            buffers[0].round_()
        if special == "nan":
            buffers[0][..., 2, 3] = float("nan")

    output = value("y", (5, 7)[1 - axis], dtype=torch.int64)
    agree(loop_of(kind, (value("a", 5, 7),), output, axis=axis), inputs=inputs)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("special", ["ordinary", "equal", "nan"])
def test_argsort(descending: bool, special: str, agree: Callable[..., Any]) -> None:
    def inputs(buffers: list[torch.Tensor]) -> None:
        if special == "equal":
            buffers[0].round_()
        if special == "nan":
            buffers[0][:, ::4] = float("nan")

    loop = loop_of("argsort", (value("a", 13),), value("y", 13, dtype=torch.int64), axis=0, descending=descending)
    agree(loop, inputs=inputs)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("B", [1, 5])
def test_states_sums_and_lengths(reverse: bool, B: int, agree: Callable[..., Any]) -> None:
    """All the lists of a loop at once; one carry can be replaced in place, the others cannot."""
    x, k, w = value("x", 6), value("k", 6), value("w", 6)
    h, g, n = value("h", 6), value("g", 6), value("n", dtype=torch.int64)
    a, b, c, m = value("a", 6), value("b", 6), value("c", 6), value("m", dtype=torch.int64)
    ops = (
        Op("mul", (h, w), a),
        Op("add", (a, x), b),
        Op("tanh", (b,), c),
        Op("mul", (c, k), d := value("d", 6)),
        Op("flip", (h,), f := value("f", 6), {"axes": (0,)}),
        Op("mul", (f, 0.5), e := value("e", 6)),
        Op("add", (n, 1), m),
    )
    loop = Loop(
        ops,
        shared=(w,),
        per_row=(k,),
        per_step=(x,),
        carried=(Carry(h, d), Carry(g, h), Carry(n, m)),
        written=(d, h, e, m, f),
        summed=(c, a, x),
        row_summed=(d, f),
        reverse=reverse,
    )
    for threads in (1, 2):
        agree(loop, T=7, B=B, threads=threads)
        agree(loop, T=7, B=B, lengths=[7, 0, 3, 7, 1][:B], threads=threads)


def test_states_that_change_places(agree: Callable[..., Any]) -> None:
    p, q = value("p", 5), value("q", 5)
    agree(Loop((), carried=(Carry(p, q), Carry(q, p)), written=(p,)))


def test_rows_do_not_depend_on_their_neighbours(agree: Callable[..., Any]) -> None:
    W, x, h = value("W", 65, 65), value("x", 65), value("h", 65)
    u, a, n = value("u", 65), value("a", 65), value("n", 65)
    ops = (Op("matvec", (W, h), u, {"transposed": False}), Op("add", (u, x), a), Op("tanh", (a,), n))
    loop = Loop(ops, shared=(W,), per_step=(x,), carried=(Carry(h, n),), written=(n,))
    compiled, T = compile_loop(loop), 5
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(65, 65, generator=generator) / 8
    xs, start = torch.randn(T, 13, 65, generator=generator), torch.randn(13, 65, generator=generator)
    results = []
    for rows, threads in ((13, 1), (13, 2), (13, 5), (1, 1)):
        state, out = start[:rows].clone(), torch.empty(T, rows, 65)
        inputs = xs[:, :rows].contiguous()
        offsets = torch.arange(T + 1) * rows
        compiled.run([tensor.data_ptr() for tensor in (weights, inputs, state, out)], offsets.data_ptr(), T, rows, threads)
        results.append(out)
    for other in results[1:]:
        assert torch.equal(results[0][:, : other.shape[1]], other)


def test_an_operation_without_lowering_is_named() -> None:
    loop = Loop(
        (Op("convolve", (value("a", 3),), value("y", 3), line="cell.py:7"),), per_step=(value("a", 3),), written=(value("y", 3),)
    )
    with pytest.raises(InputError, match=r"'convolve' of cell\.py:7"):
        compile_loop(loop)


def test_every_kind_has_a_lowering() -> None:
    from carousel.engine.native.single_ops import WRITERS

    for name, row in KINDS.items():
        assert (row.form == "single") == (name in {"matvec", *WRITERS}), name
        assert row.form != "elementwise" or row.function or row.native is not None, name
