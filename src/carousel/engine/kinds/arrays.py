"""The kinds that see more than one entry: reductions, products, moves and indices.

Their PyTorch calls run many rows at once: values that have a lead carry it as their first axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from carousel.engine.ir import Op, Value
from carousel.engine.kinds.kind import Attributes, Call, Kind, Shape, no_gradient, unbroadcast

if TYPE_CHECKING:
    from carousel.engine.build import Builder

ARRAYS: dict[str, Kind] = {}


def _same(shapes: list[Shape], attributes: Attributes) -> Shape:
    return shapes[0]


def _without(shapes: list[Shape], attributes: Attributes) -> Shape:
    """The shape without the axes that are reduced."""
    axes = attributes["axes"] if "axes" in attributes else (attributes["axis"],)
    return tuple(size for axis, size in enumerate(shapes[0]) if axis not in axes)


def _resized(shapes: list[Shape], attributes: Attributes, size: int) -> Shape:
    axis = attributes["axis"]
    return (*shapes[0][:axis], size, *shapes[0][axis + 1 :])


def _along(function: Callable[..., Tensor]) -> Callable[..., Call]:
    """A function of (x, axis)."""

    def make(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
        axis = attributes["axis"] + led[0]
        return lambda x: function(x, axis)

    return make


def _over(function: Callable[..., Tensor]) -> Callable[..., Call]:
    """A function of (x, axes)."""

    def make(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
        axes = [axis + led[0] for axis in attributes["axes"]]
        return lambda x: function(x, axes)

    return make


def _with_lead(tensors: Iterable[Tensor], led: Iterable[bool]) -> list[Tensor]:
    """All tensors with the leading axis that some of them have."""
    pairs = list(zip(tensors, led, strict=True))
    lead = next((tensor.shape[0] for tensor, flag in pairs if flag), None)
    return [tensor if flag or lead is None else tensor.expand(lead, *tensor.shape) for tensor, flag in pairs]


# Reductions


def _reduction(
    name: str, function: Callable[..., Tensor], adjoint: Callable[..., tuple[Value]], linear: Literal["", "inputs"] = ""
) -> None:
    ARRAYS[name] = Kind(
        meaning="(x), axes: tuple; these axes are dropped from the shape; of max and min, nan: how NaN shares a gradient",
        adjoint=adjoint,
        call=_over(function),
        form="reduction",
        shape=_without,
        linear=linear,
        lanes=True,
        idle=lambda attributes, rank: not attributes["axes"],
    )


def _kept(op: Op) -> Shape:
    """The input's shape with the reduced axes at size 1."""
    return tuple(1 if axis in op.attributes["axes"] else size for axis, size in enumerate(op.values[0].shape))


def _sum(b: Builder, op: Op, g: Value) -> tuple[Value]:
    return (b.emit("expand", b.emit("reshape", g, shape=_kept(op)), shape=op.values[0].shape),)


def _extreme(b: Builder, op: Op, g: Value) -> tuple[Value]:
    """Divided equally among the largest; where these are NaN, that is among all of those or, as in `amax`, NaN for every entry."""
    (x,) = op.values
    y = b.emit("reshape", op.output, shape=_kept(op))
    equal = b.emit("eq", x, y)
    if "nan" in op.attributes:
        equal = b.emit("logical_or", equal, b.emit("logical_and", b.emit("ne", x, x), b.emit("ne", y, y)))
    hit = b.emit("cast", equal, dtype=x.dtype)
    share = b.emit("div", g, b.emit("sum", hit, axes=op.attributes["axes"]))
    return (b.emit("mul", hit, b.emit("reshape", share, shape=_kept(op))),)


_reduction("sum", torch.sum, _sum, "inputs")
_reduction("max", torch.amax, _extreme)
_reduction("min", torch.amin, _extreme)

for _name, _function in (("argmax", torch.argmax), ("argmin", torch.argmin)):
    ARRAYS[_name] = Kind(
        meaning="(x), axis; the first of equals, or the first NaN; the axis is dropped",
        adjoint=no_gradient,
        call=_along(_function),
        form="single",
        shape=_without,
        dtype=torch.int64,
    )

# Products


def _matvec(b: Builder, op: Op, g: Value) -> tuple[Value, Value]:
    matrix, x = op.values
    transposed = op.attributes["transposed"]
    d_matrix = b.emit("outer", x, g) if transposed else b.emit("outer", g, x)
    return d_matrix, b.emit("matvec", matrix, g, transposed=not transposed)


def _matvec_call(output: Value, attributes: Attributes, led: Any) -> Call:
    if attributes["transposed"]:
        return lambda matrix, x: x @ matrix
    return lambda matrix, x: F.linear(x, matrix)


ARRAYS["matvec"] = Kind(
    meaning="(W, x), transposed: bool; W (m, k) is shared by all rows; W x, or W^T x where transposed",
    adjoint=_matvec,
    call=_matvec_call,
    form="single",
    shape=lambda shapes, attributes: (shapes[0][1 if attributes["transposed"] else 0],),
)


def _matmul(b: Builder, op: Op, g: Value) -> tuple[Value, Value]:
    left, right = op.values
    return b.emit("matmul", g, b.emit("permute", right, axes=(1, 0))), b.emit("matmul", b.emit("permute", left, axes=(1, 0)), g)


ARRAYS["matmul"] = Kind(
    meaning="(a, b); (m, k) (k, n) -> (m, n); either or both depend on the row",
    adjoint=_matmul,
    call=lambda output, attributes, led: torch.matmul,
    form="single",
    shape=lambda shapes, attributes: (shapes[0][0], shapes[1][1]),
)


def _outer(b: Builder, op: Op, g: Value) -> tuple[Value, Value]:
    left, right = op.values
    column = b.emit("reshape", left, shape=(*left.shape, 1))
    return b.emit("sum", b.emit("mul", g, right), axes=(1,)), b.emit("sum", b.emit("mul", g, column), axes=(0,))


ARRAYS["outer"] = Kind(
    meaning="(a, b); (m,) (n,) -> (m, n)",
    adjoint=_outer,
    call=lambda output, attributes, led: lambda a, b: a.unsqueeze(-1) * b.unsqueeze(-2),
    form="outer",
    shape=lambda shapes, attributes: (*shapes[0], *shapes[1]),
)

# Moves


def _to_output(method: Callable[..., Tensor]) -> Callable[..., Call]:
    def make(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
        shape = output.shape
        return (lambda x: method(x, (x.shape[0], *shape))) if led[0] else (lambda x: method(x, shape))

    return make


ARRAYS["reshape"] = Kind(
    meaning="(x) to output.shape, row-major",
    adjoint=lambda b, op, g: (b.emit("reshape", g, shape=op.values[0].shape),),
    call=_to_output(Tensor.reshape),
    form="view",
    moves=True,
    idle=lambda attributes, rank: True,
)
ARRAYS["expand"] = Kind(
    meaning="(x) to output.shape of the same rank; axes of size 1 are repeated",
    adjoint=lambda b, op, g: (unbroadcast(b, g, op.values[0]),),
    call=_to_output(Tensor.expand),
    form="view",
    moves=True,
    idle=lambda attributes, rank: True,
)


def _permute(b: Builder, op: Op, g: Value) -> tuple[Value]:
    axes = op.attributes["axes"]
    return (b.emit("permute", g, axes=tuple(axes.index(axis) for axis in range(len(axes)))),)


def _permute_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axes = [0] * led[0] + [axis + led[0] for axis in attributes["axes"]]
    return lambda x: x.permute(axes)


ARRAYS["permute"] = Kind(
    meaning="(x), axes: output axis i is input axis axes[i]",
    adjoint=_permute,
    call=_permute_call,
    form="view",
    shape=lambda shapes, attributes: tuple(shapes[0][axis] for axis in attributes["axes"]),
    moves=True,
    idle=lambda attributes, rank: attributes["axes"] == tuple(range(rank)),
)


ARRAYS["flip"] = Kind(
    meaning="(x), axes",
    adjoint=lambda b, op, g: (b.emit("flip", g, axes=op.attributes["axes"]),),
    call=_over(torch.flip),
    form="view",
    shape=_same,
    moves=True,
    lanes=True,
)


def _strided(attributes: Attributes, count: int, led: bool) -> tuple[slice, ...]:
    """The index of `count` entries from start with a step along an axis."""
    start, step = attributes["start"], attributes["step"]
    return (slice(None),) * (attributes["axis"] + led) + (slice(start, start + step * count, step),)


def _slice(b: Builder, op: Op, g: Value) -> tuple[Value]:
    place = {name: op.attributes[name] for name in ("axis", "start", "step")}
    return (b.emit("pad", g, shape=op.values[0].shape, **place),)


def _slice_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    index = _strided(attributes, output.shape[attributes["axis"]], led[0])
    return lambda x: x[index]


def _sliced(shapes: list[Shape], attributes: Attributes) -> Shape:
    return _resized(shapes, attributes, max(0, math.ceil((attributes["stop"] - attributes["start"]) / attributes["step"])))


ARRAYS["slice"] = Kind(
    meaning="(x), axis, start, stop, step: x[start:stop:step] along axis, 0 <= start, step >= 1",
    adjoint=_slice,
    call=_slice_call,
    form="view",
    shape=_sliced,
    moves=True,
    lanes=True,
    idle=lambda attributes, rank: True,
)


def _pad(b: Builder, op: Op, g: Value) -> tuple[Value]:
    axis, start, step = (op.attributes[name] for name in ("axis", "start", "step"))
    count = op.values[0].shape[axis]
    return (b.emit("slice", g, axis=axis, start=start, stop=start + step * (count - 1) + 1 if count else start, step=step),)


def _pad_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axis = attributes["axis"] + led[0]

    def call(x: Tensor) -> Tensor:
        result = x.new_zeros(x.shape[: led[0]] + output.shape)
        result[_strided(attributes, x.shape[axis], led[0])] = x
        return result

    return call


ARRAYS["pad"] = Kind(
    meaning="(x), axis, start, step: zeros with x at start, start + step, ... along axis (the adjoint of slice)",
    adjoint=_pad,
    call=_pad_call,
    form="single",
    moves=True,
    lanes=True,
    idle=lambda attributes, rank: True,
)


def _cat(b: Builder, op: Op, g: Value) -> tuple[Value, ...]:
    axis, start, cotangents = op.attributes["axis"], 0, []
    for part in op.values:
        stop = start + part.shape[axis]
        cotangents.append(b.emit("slice", g, axis=axis, start=start, stop=stop, step=1))
        start = stop
    return tuple(cotangents)


def _cat_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axis = attributes["axis"] + any(led)
    if all(led) or not any(led):
        return lambda *parts: torch.cat(parts, axis)
    return lambda *parts: torch.cat(_with_lead(parts, led), axis)


ARRAYS["cat"] = Kind(
    meaning="(x, ...), axis",
    adjoint=_cat,
    call=_cat_call,
    form="cat",
    shape=lambda shapes, attributes: _resized(shapes, attributes, sum(shape[attributes["axis"]] for shape in shapes)),
    moves=True,
    lanes=True,
)

# Along an axis


def _cumsum(b: Builder, op: Op, g: Value) -> tuple[Value]:
    axis = op.attributes["axis"]
    return (b.emit("flip", b.emit("cumsum", b.emit("flip", g, axes=(axis,)), axis=axis), axes=(axis,)),)


def _argsort_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axis, descending = attributes["axis"] + led[0], attributes["descending"]
    return lambda x: torch.argsort(x, dim=axis, descending=descending, stable=True)


ARRAYS["cumsum"] = Kind(
    meaning="(x), axis", adjoint=_cumsum, call=_along(torch.cumsum), form="single", shape=_same, linear="inputs", lanes=True
)
ARRAYS["argsort"] = Kind(
    meaning="(x), axis, descending: indices that sort x along axis, equals in their order (sort is this and a gather)",
    adjoint=no_gradient,
    call=_argsort_call,
    form="single",
    shape=_same,
    dtype=torch.int64,
)

# Indices


def _into(kind: str) -> Callable[[Builder, Op, Value], tuple[Value, None]]:
    """The adjoint of a look-up: the cotangent added at the index."""
    return lambda b, op, g: (b.emit(kind, op.values[1], g, shape=op.values[0].shape, axis=op.attributes["axis"]), None)


def _index_select_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axis = attributes["axis"]
    if led == (False, True) and axis == 0:
        return lambda x, index: F.embedding(index, x) if x.dim() == 2 else x[index]
    if not led[1]:
        return lambda x, index: x.index_select(axis + led[0], index)
    return _indexed(lambda x, index, axis: x.gather(axis, index), axis, led)


def _indexed(function: Callable[[Tensor, Tensor, int], Tensor], axis: int, led: tuple[bool, ...]) -> Call:
    """function(x, index, axis) with the index repeated over the other axes of x."""

    def call(x: Tensor, index: Tensor) -> Tensor:
        x, index = _with_lead((x, index), led)
        shape = list(x.shape)
        shape[axis + 1] = index.shape[1]
        narrow = [1] * len(shape)
        narrow[0], narrow[axis + 1] = index.shape
        return function(x, index.reshape(narrow).expand(shape), axis + 1)

    return call


ARRAYS["index_select"] = Kind(
    meaning="(x, index), axis: x.index_select(axis, index); index (k,) int64",
    adjoint=_into("index_add"),
    call=_index_select_call,
    form="single",
    shape=lambda shapes, attributes: _resized(shapes, attributes, shapes[1][0]),
)


def _index_add_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axis = attributes["axis"]
    if not any(led):
        return lambda index, source: source.new_zeros(output.shape).index_add(axis, index, source)

    def add(source: Tensor, index: Tensor, axis: int) -> Tensor:
        return source.new_zeros((source.shape[0], *output.shape)).scatter_add(axis, index, source)

    added = _indexed(add, axis, led[::-1])
    return lambda index, source: added(source, index)


ARRAYS["index_add"] = Kind(
    meaning="(index, source), axis: zeros of output.shape with source added along axis at index (the adjoint of index_select)",
    adjoint=lambda b, op, g: (None, b.emit("index_select", g, op.values[0], axis=op.attributes["axis"])),
    call=_index_add_call,
    form="single",
    typed_by=1,
)


def _gather_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axis = attributes["axis"] + any(led)
    return lambda *tensors: torch.gather(_with_lead(tensors, led)[0], axis, _with_lead(tensors, led)[1])


ARRAYS["gather"] = Kind(
    meaning="(x, index), axis: torch.gather",
    adjoint=_into("scatter_add"),
    call=_gather_call,
    form="single",
    shape=lambda shapes, attributes: shapes[1],
)


def _scatter_add_call(output: Value, attributes: Attributes, led: tuple[bool, ...]) -> Call:
    axis = attributes["axis"] + any(led)

    def call(index: Tensor, source: Tensor) -> Tensor:
        index, source = _with_lead((index, source), led)
        return source.new_zeros(source.shape[: any(led)] + output.shape).scatter_add(axis, index, source)

    return call


ARRAYS["scatter_add"] = Kind(
    meaning="(index, source), axis: zeros of output.shape with source added at index (the adjoint of gather)",
    adjoint=lambda b, op, g: (None, b.emit("gather", g, op.values[0], axis=op.attributes["axis"])),
    call=_scatter_add_call,
    form="single",
    typed_by=1,
)
