"""What each ATen operation is in the kinds of the table (kinds/).

One function an operation, ``(b, out, *args, **kwargs) -> Value or tuple of Values``: `b` is the
builder, `out` what PyTorch returned (for shapes and dtypes), args and kwargs those of the call with
values in place of tensors. Operations that are missing here are decomposed by PyTorch's own table
where that has them (capture.py), and refused with their name and line where it has not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from carousel.engine.build import Builder
from carousel.engine.ir import SHARED, Input, Value
from carousel.engine.kinds import ELEMENTWISE
from carousel.torch_private import OpOverload, overload_name


class Unsupported(Exception):
    """An operation, or a way of calling it, that the intermediate representation cannot say."""


# Shapes


def to_shape(b: Builder, x: Value, shape: Sequence[int]) -> Value:
    """x broadcast to shape."""
    shape = tuple(shape)
    aligned = b.emit("reshape", x, shape=(1,) * (len(shape) - len(x.shape)) + x.shape)
    return b.emit("expand", aligned, shape=shape)


def _axis(x: Value, axis: int) -> int:
    return axis % max(len(x.shape), 1)


def _axes(x: Value, axes: Any) -> tuple[int, ...]:
    if axes is None or (isinstance(axes, (list, tuple)) and not axes):
        return tuple(range(len(x.shape)))
    return tuple(sorted(_axis(x, axis) for axis in ([axes] if isinstance(axes, int) else axes)))


def _slice(b: Builder, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    return b.emit("slice", x, axis=axis, start=start, stop=stop, step=step)


def _reshaped(b: Builder, out: Tensor, x: Value, *_: Any, **__: Any) -> Value:
    return b.emit("reshape", x, shape=out.shape)


def _permute(b: Builder, out: Tensor, x: Value, axes: Sequence[int]) -> Value:
    return b.emit("permute", x, axes=tuple(_axis(x, axis) for axis in axes))


def _transpose(b: Builder, out: Tensor, x: Value, first: int = 0, second: int = 1) -> Value:
    axes = list(range(len(x.shape)))
    if len(axes) > 1:
        axes[first], axes[second] = axes[second], axes[first]
    return b.emit("permute", x, axes=tuple(axes))


def _expand(b: Builder, out: Tensor, x: Value, *_: Any, **__: Any) -> Value:
    return to_shape(b, x, out.shape)


def _broadcast_in_dim(b: Builder, out: Tensor, x: Value, shape: Sequence[int], axes: Sequence[int]) -> Value:
    """x with its axes at the given ones of a larger shape."""
    sizes = [1] * out.dim()
    for size, axis in zip(x.shape, axes, strict=True):
        sizes[axis] = size
    return b.emit("expand", b.emit("reshape", x, shape=sizes), shape=out.shape)


def _bounds(x: Value, axis: int, start: int | None, stop: int | None, step: int) -> tuple[int, int, int, int]:
    axis = _axis(x, axis)
    start, stop, step = slice(start, stop, step).indices(x.shape[axis])
    return axis, start, max(stop, start), step


def _sliced(
    b: Builder, out: Tensor, x: Value, axis: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
) -> Value:
    return _slice(b, x, *_bounds(x, axis, start, stop, step))


def _select(b: Builder, out: Tensor, x: Value, axis: int, index: int) -> Value:
    axis = _axis(x, axis)
    index %= x.shape[axis]
    return b.emit("reshape", _slice(b, x, axis, index, index + 1), shape=out.shape)


def _split(b: Builder, out: Sequence[Tensor], x: Value, sizes: Any, axis: int = 0) -> tuple[Value, ...]:
    axis = _axis(x, axis)
    starts = [0]
    for part in out:
        starts.append(starts[-1] + part.shape[axis])
    return tuple(_slice(b, x, axis, start, stop) for start, stop in pairwise(starts))


def _unbind(b: Builder, out: Sequence[Tensor], x: Value, axis: int = 0) -> tuple[Value, ...]:
    return tuple(_select(b, part, x, axis, index) for index, part in enumerate(out))


def _cat(b: Builder, out: Tensor, parts: Sequence[Value], axis: int = 0) -> Value:
    # PyTorch lets a one-dimensional empty tensor stand beside anything.
    parts = [_cast_to(b, part, out.dtype) for part in parts if math.prod(part.shape)]
    return b.emit("cat", *parts, axis=axis % out.dim())


def _stack(b: Builder, out: Tensor, parts: Sequence[Value], axis: int = 0) -> Value:
    axis %= out.dim()
    raised = [b.emit("reshape", part, shape=(*part.shape[:axis], 1, *part.shape[axis:])) for part in parts]
    return b.emit("cat", *raised, axis=axis)


def _roll(b: Builder, out: Tensor, x: Value, shifts: Any, axes: Any = ()) -> Value:
    if not axes:
        flat = b.emit("reshape", x, shape=(math.prod(x.shape),))
        (shift,) = [shifts] if isinstance(shifts, int) else shifts
        return b.emit("reshape", _rolled(b, flat, 0, shift), shape=x.shape)
    for axis, shift in zip(_listed(axes), _listed(shifts), strict=True):
        x = _rolled(b, x, _axis(x, axis), shift)
    return x


def _rolled(b: Builder, x: Value, axis: int, shift: int) -> Value:
    size = x.shape[axis]
    cut = -shift % size if size else 0
    return b.emit("cat", _slice(b, x, axis, cut, size), _slice(b, x, axis, 0, cut), axis=axis) if cut else x


def _listed(item: Any) -> list[Any]:
    return list(item) if isinstance(item, (list, tuple)) else [item]


def _flip(b: Builder, out: Tensor, x: Value, axes: Sequence[int]) -> Value:
    return b.emit("flip", x, axes=_axes(x, axes))


def _repeat(b: Builder, out: Tensor, x: Value, repeats: Sequence[int]) -> Value:
    x = b.emit("reshape", x, shape=(1,) * (len(repeats) - len(x.shape)) + x.shape)
    for axis, count in enumerate(repeats):
        if count != 1:
            x = b.emit("cat", *[x] * count, axis=axis)
    return x


def _padded(b: Builder, out: Tensor, x: Value, sizes: Sequence[int], fill: float = 0) -> Value:
    for n in range(len(sizes) // 2):
        axis = len(x.shape) - 1 - n
        for size, in_front in ((sizes[2 * n], True), (sizes[2 * n + 1], False)):
            if size < 0:
                start, stop = (-size, x.shape[axis]) if in_front else (0, x.shape[axis] + size)
                x = _slice(b, x, axis, start, stop)
            elif size > 0:
                edge = b.full((*x.shape[:axis], size, *x.shape[axis + 1 :]), fill, x.dtype)
                x = b.emit("cat", *((edge, x) if in_front else (x, edge)), axis=axis)
    return x


def _slice_scatter(
    b: Builder,
    out: Tensor,
    x: Value,
    source: Value,
    axis: int = 0,
    start: int | None = None,
    stop: int | None = None,
    step: int = 1,
) -> Value:
    axis, start, stop, step = _bounds(x, axis, start, stop, step)
    if stop - start == x.shape[axis] and step == 1:
        return source
    if step == 1:
        parts = [_slice(b, x, axis, 0, start), source, _slice(b, x, axis, stop, x.shape[axis])]
        return b.emit("cat", *(part for part in parts if part.shape[axis]), axis=axis)
    inside = torch.zeros(x.shape[axis], dtype=torch.bool)
    inside[start:stop:step] = True
    shape = [1] * len(x.shape)
    shape[axis] = -1
    spread = b.emit("pad", source, shape=x.shape, axis=axis, start=start, step=step)
    return b.emit("where", b.constant(inside.reshape(shape)), spread, x)


def _select_scatter(b: Builder, out: Tensor, x: Value, source: Value, axis: int, index: int) -> Value:
    axis = _axis(x, axis)
    index %= x.shape[axis]
    raised = b.emit("reshape", source, shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    return _slice_scatter(b, out, x, raised, axis, index, index + 1)


def _triangle(below: bool) -> Callable[..., Value]:
    def convert(b: Builder, out: Tensor, x: Value, diagonal: int = 0) -> Value:
        ones = torch.ones(x.shape[-2:], dtype=torch.bool)
        kept = torch.tril(ones, diagonal) if below else torch.triu(ones, diagonal)
        return b.emit("where", b.constant(kept), x, 0.0)

    return convert


def _diagonal(b: Builder, out: Tensor, x: Value, offset: int = 0, first: int = 0, second: int = 1) -> Value:
    if len(x.shape) != 2 or (first % 2, second % 2) != (0, 1):
        raise Unsupported
    rows, columns = x.shape
    entries = torch.arange(rows * columns).reshape(rows, columns).diagonal(offset).contiguous()
    flat = b.emit("reshape", x, shape=(rows * columns,))
    return b.emit("index_select", flat, b.constant(entries), axis=0)


# Elementwise


def _cast_to(b: Builder, x: Any, dtype: torch.dtype) -> Any:
    return b.emit("cast", x, dtype=dtype) if isinstance(x, Value) else x


def _unary(kind: str) -> Callable[..., Value]:
    def convert(b: Builder, out: Tensor, x: Value) -> Value:
        return b.emit(kind, _cast_to(b, x, out.dtype))

    return convert


_OF_TRUTHS = {"add": "logical_or", "maximum": "logical_or", "minimum": "logical_and"}


def _binary(kind: str) -> Callable[..., Value]:
    def convert(b: Builder, out: Tensor, x: Input, y: Input, *, alpha: Any = 1) -> Value:
        x, y = _cast_to(b, x, out.dtype), _cast_to(b, y, out.dtype)
        if out.dtype is torch.bool and kind in _OF_TRUTHS:
            return _settled(b, out, b.emit(_OF_TRUTHS[kind], x, y))
        if alpha != 1:
            y = b.emit("mul", y, alpha) if isinstance(y, Value) else y * alpha
        return _settled(b, out, b.emit(kind, x, y))

    return convert


def _settled(b: Builder, out: Tensor, value: Value) -> Value:
    """`value` in the shape that PyTorch gave: a literal may have hidden an axis of size 1."""
    return value if value.shape == tuple(out.shape) else to_shape(b, value, out.shape)


def _rsub(b: Builder, out: Tensor, x: Value, y: Input, alpha: Any = 1) -> Value:
    return _binary("sub")(b, out, y, x, alpha=alpha)


def _div(b: Builder, out: Tensor, x: Input, y: Input, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None and not (rounding_mode == "floor" and out.dtype.is_floating_point):
        raise Unsupported
    quotient = _binary("div")(b, out, x, y)
    return quotient if rounding_mode is None else b.emit("floor", quotient)


def _compare(kind: str) -> Callable[..., Value]:
    def convert(b: Builder, out: Tensor, x: Value, y: Input) -> Value:
        if isinstance(y, Value):
            common = torch.promote_types(x.dtype, y.dtype)
            x, y = _cast_to(b, x, common), _cast_to(b, y, common)
        elif isinstance(y, float) and not x.dtype.is_floating_point:
            x = _cast_to(b, x, torch.get_default_dtype())
        if x.dtype is torch.bool:
            x, y = _cast_to(b, x, torch.int64), _cast_to(b, y, torch.int64)
        return b.emit(kind, x, y)

    return convert


def _logical(kind: str) -> Callable[..., Value]:
    def convert(b: Builder, out: Tensor, *inputs: Value) -> Value:
        return b.emit(kind, *(_as_bool(b, item) for item in inputs))

    return convert


def _as_bool(b: Builder, x: Value) -> Value:
    return x if x.dtype is torch.bool else b.emit("ne", x, 0)


def _bitwise(kind: str) -> Callable[..., Value]:
    def convert(b: Builder, out: Tensor, *inputs: Value) -> Value:
        if out.dtype is not torch.bool:
            raise Unsupported
        return b.emit(kind, *inputs)

    return convert


def _clamp(b: Builder, out: Tensor, x: Value, low: Input | None = None, high: Input | None = None) -> Value:
    x, low, high = (_cast_to(b, item, out.dtype) for item in (x, low, high))
    if isinstance(low, Value) and isinstance(high, Value):
        within = b.emit("logical_and", b.emit("ge", x, low), b.emit("le", x, high))
        beyond = b.emit("logical_and", b.emit("eq", low, low), b.emit("gt", x, high))
        above = b.emit("logical_or", beyond, b.emit("lt", high, low))
        below = b.emit("logical_and", b.emit("lt", x, low), b.emit("lt", low, high))
        rest = b.emit("where", b.emit("lt", x, low), high, b.emit("add", x, b.emit("add", low, high)))  # equal bounds, or NaN
        outside = b.emit("where", above, high, b.emit("where", below, low, b.detach(rest)))
        return _settled(b, out, b.emit("where", within, x, outside))
    # maximum and minimum with a literal have clamp's gradient (kinds/); with a tensor they have not,
    # so the bound's own gradient is cut where the choice is made by `where`.
    for kind, bound in (("maximum", low), ("minimum", high)):
        if bound is None:
            continue
        if not isinstance(bound, Value):
            x = b.emit(kind, x, bound)
        else:
            kept, left = ("ge", "lt") if kind == "maximum" else ("le", "gt")
            beyond = b.emit("where", b.emit(left, x, bound), bound, b.detach(b.emit("add", x, bound)))  # NaN, if one is
            x = b.emit("where", b.emit(kept, x, bound), x, beyond)
    return _settled(b, out, x)


def _clamp_min(b: Builder, out: Tensor, x: Value, low: Input) -> Value:
    return _clamp(b, out, x, low)


def _clamp_max(b: Builder, out: Tensor, x: Value, high: Input) -> Value:
    return _clamp(b, out, x, None, high)


def _where(b: Builder, out: Tensor, condition: Value, x: Input, y: Input) -> Value:
    return _settled(b, out, _chosen(b, out, condition, x, y))


def _chosen(b: Builder, out: Tensor, condition: Value, x: Input, y: Input) -> Value:
    known = b.constants.get(condition)
    if known is not None and known.numel() and bool((known == known.flatten()[0]).all()):
        return b.emit("expand", _broadcast(b, x if bool(known.flatten()[0]) else y, out), shape=out.shape)
    x, y = _cast_to(b, x, out.dtype), _cast_to(b, y, out.dtype)
    return b.emit("where", _as_bool(b, condition), x, y, dtype=out.dtype)


def _broadcast(b: Builder, x: Input, out: Tensor) -> Value:
    return to_shape(b, x, out.shape) if isinstance(x, Value) else b.full(out.shape, x, out.dtype)


def _masked_fill(b: Builder, out: Tensor, x: Value, mask: Value, fill: Input) -> Value:
    return _where(b, out, mask, fill, x)


def _pow(b: Builder, out: Tensor, x: Input, exponent: Input) -> Value:
    x, exponent = _cast_to(b, x, out.dtype), _cast_to(b, exponent, out.dtype)
    if isinstance(x, Value) and not isinstance(exponent, Value):
        if exponent == 0:  # flat, also where the power below it is infinite
            return b.full(out.shape, 1, out.dtype)
        if exponent == 3:
            return b.emit("mul", b.emit("mul", x, x), x)
        simple = {0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}.get(float(exponent))
        if simple is not None:
            return b.emit(simple, x)
    return b.emit("pow", x, exponent)


def _exp2(b: Builder, out: Tensor, x: Value) -> Value:
    return b.emit("pow", 2.0, _cast_to(b, x, out.dtype))


def _frac(b: Builder, out: Tensor, x: Value) -> Value:
    return b.emit("sub", x, b.emit("trunc", x))


def _remainder(b: Builder, out: Tensor, x: Input, y: Input) -> Value:
    """fmod, moved to the sign of the divisor."""
    rest = _binary("fmod")(b, out, x, y)
    y = _cast_to(b, y, out.dtype)
    other_sign = b.emit("ne", b.emit("lt", rest, 0.0), b.emit("lt", y, 0.0) if isinstance(y, Value) else y < 0)
    return b.emit("where", b.emit("logical_and", b.emit("ne", rest, 0.0), other_sign), b.emit("add", rest, y), rest)


def _logical_xor(b: Builder, out: Tensor, x: Value, y: Value) -> Value:
    return b.emit("ne", _as_bool(b, x), _as_bool(b, y))


def _square(b: Builder, out: Tensor, x: Value) -> Value:
    return b.emit("mul", x, x)


def _softplus(b: Builder, out: Tensor, x: Value, beta: float = 1, threshold: float = 20) -> Value:
    if threshold != 20 or beta == 0:
        raise Unsupported
    return b.emit("div", b.emit("softplus", b.emit("mul", x, beta)), beta) if beta != 1 else b.emit("softplus", x)


def _elu(b: Builder, out: Tensor, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    # exp sees negative numbers only: where it is infinite, a gradient of 0 would become NaN.
    negative = b.emit("le", x, 0.0)
    grown = b.emit("expm1", b.emit("mul", b.emit("where", negative, x, 0.0), input_scale))
    return b.emit("where", negative, b.emit("mul", grown, alpha * scale), b.emit("mul", x, scale))


def _log_sigmoid(b: Builder, out: Sequence[Tensor], x: Value) -> tuple[Value, Value]:
    negative = b.emit("lt", x, 0.0)
    tail = b.emit("exp", b.emit("where", negative, x, b.emit("neg", x)))  # exp(-|x|), with a slope at 0
    y = b.emit("sub", b.emit("where", negative, x, 0.0), b.emit("log1p", tail))
    return y, tail if out[1].shape == out[0].shape else b.full(out[1].shape, 0, out[1].dtype)


def _hardtanh(b: Builder, out: Tensor, x: Value, low: float = -1, high: float = 1) -> Value:
    """clamp, but flat at the bounds themselves."""
    x = b.emit("where", b.emit("le", x, low), low, x)
    return b.emit("where", b.emit("ge", x, high), high, x)


def _hardsigmoid(b: Builder, out: Tensor, x: Value) -> Value:
    inside = b.emit("logical_and", b.emit("gt", x, -3.0), b.emit("lt", x, 3.0))
    y = b.emit("div", b.emit("minimum", b.emit("maximum", b.emit("add", x, 3.0), 0.0), 6.0), 6.0)
    return b.emit("where", inside, y, b.detach(y))


def _hardswish(b: Builder, out: Tensor, x: Value) -> Value:
    factor = b.emit("where", b.emit("gt", x, -3.0), b.emit("add", x, 3.0), 0.0)
    return b.emit("div", b.emit("mul", x, b.emit("where", b.emit("lt", x, 3.0), factor, 6.0)), 6.0)


def _prelu(b: Builder, out: Tensor, x: Value, slope: Value) -> Value:
    return b.emit("mul", x, b.emit("where", b.emit("gt", x, 0.0), 1.0, slope, dtype=out.dtype))


def _softshrink(b: Builder, out: Tensor, x: Value, width: float = 0.5) -> Value:
    inside = b.emit("logical_and", b.emit("ge", x, -width), b.emit("le", x, width))
    outside = b.emit("where", b.emit("lt", x, -width), b.emit("add", x, width), b.emit("sub", x, width))
    return b.emit("where", inside, b.detach(b.emit("mul", x, 0.0)), outside)


def _rounded_corner(smooth: bool) -> Callable[..., Value]:
    """huber_loss and smooth_l1_loss: a parabola within `width`, straight lines outside."""

    def convert(b: Builder, out: Tensor, x: Value, target: Value, reduction: int = 1, width: float = 1) -> Value:
        z = b.emit("sub", x, target)
        size = b.emit("abs", z)
        straight = b.emit("ge" if smooth else "gt", size, width)
        near = b.emit("where", straight, 0.0, z)  # where z is infinite its square must not reach the gradient
        parabola = b.emit("mul", b.emit("mul", near, near), 0.5)
        line = b.emit("sub", size, 0.5 * width)
        if smooth:
            losses = b.emit("where", straight, line, b.emit("div", parabola, width) if width else 0.0)
        else:
            losses = b.emit("where", straight, b.emit("mul", line, width), parabola)
        if reduction == 0:
            return losses
        return _mean(b, out, losses) if reduction == 1 else _sum(b, out, losses)

    return convert


def _refused(*_: Any, **__: Any) -> Value:
    """Of what PyTorch's decomposition has other gradients at the edges than PyTorch itself."""
    raise Unsupported


def _scaled(kind: str, base: float) -> Callable[..., Value]:
    """log2, log10: log(x) / log(base)."""

    def convert(b: Builder, out: Tensor, x: Value) -> Value:
        return b.emit("mul", b.emit(kind, _cast_to(b, x, out.dtype)), 1 / math.log(base))

    return convert


def _copied(b: Builder, out: Tensor, x: Value, *_: Any, **__: Any) -> Value:
    return _cast_to(b, x, out.dtype)


def _copy(b: Builder, out: Tensor, x: Value, source: Value, non_blocking: bool = False) -> Value:
    return to_shape(b, _cast_to(b, source, out.dtype), out.shape)


def _detach(b: Builder, out: Tensor, x: Value) -> Value:
    return x if x in b.constants or not x.dtype.is_floating_point else b.detach(x)


# Reductions


def _kept(b: Builder, out: Tensor, value: Value) -> Value:
    """With the reduced axes at size 1 again where PyTorch kept them."""
    return b.emit("reshape", value, shape=out.shape)


def _sum(b: Builder, out: Tensor, x: Value, axes: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Value:
    return _kept(b, out, b.emit("sum", _cast_to(b, x, out.dtype), axes=_axes(x, axes)))


def _mean(b: Builder, out: Tensor, x: Value, axes: Any = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Value:
    x, axes = _cast_to(b, x, out.dtype), _axes(x, axes)
    return b.emit("mul", _kept(b, out, b.emit("sum", x, axes=axes)), 1 / _size(x, axes))


def _size(x: Value, axes: Sequence[int]) -> int:
    return math.prod(x.shape[axis] for axis in axes)


def _extreme(kind: str, **options: Any) -> Callable[..., Value]:
    """amax, amin, and max, min over everything."""

    def convert(b: Builder, out: Tensor, x: Value, axes: Any = None, keepdim: bool = False) -> Value:
        number = _cast_to(b, x, torch.int64) if x.dtype is torch.bool else x
        return _cast_to(b, _kept(b, out, b.emit(kind, number, axes=_axes(x, axes), **options)), out.dtype)

    return convert


def _extreme_along(kind: str) -> Callable[..., tuple[Value, Value]]:
    """max.dim, min.dim: the value is gathered, so that the gradient goes to that one entry."""

    def convert(b: Builder, out: Sequence[Tensor], x: Value, axis: int, keepdim: bool = False) -> tuple[Value, Value]:
        axis = _axis(x, axis)
        index = b.emit("arg" + kind, _cast_to(b, x, torch.int64) if x.dtype is torch.bool else x, axis=axis)
        raised = b.emit("reshape", index, shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        return _kept(b, out[0], b.emit("gather", x, raised, axis=axis)), _kept(b, out[1], index)

    return convert


def _arg_extreme(kind: str) -> Callable[..., Value]:
    def convert(b: Builder, out: Tensor, x: Value, axis: int | None = None, keepdim: bool = False) -> Value:
        if axis is None:
            return _kept(b, out, b.emit(kind, b.emit("reshape", x, shape=(math.prod(x.shape),)), axis=0))
        return _kept(b, out, b.emit(kind, x, axis=_axis(x, axis)))

    return convert


def _quantified(kind: str) -> Callable[..., Value]:
    """any as a maximum, all as a minimum."""

    def convert(b: Builder, out: Tensor, x: Value, axes: Any = None, keepdim: bool = False) -> Value:
        counted = b.emit("cast", _as_bool(b, x), dtype=torch.int64)
        return b.emit("ne", _kept(b, out, b.emit(kind, counted, axes=_axes(x, axes))), 0)

    return convert


def _centred(b: Builder, x: Value, axes: tuple[int, ...]) -> Value:
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    mean = b.emit("mul", b.emit("sum", x, axes=axes), 1 / _size(x, axes))
    return b.emit("sub", x, b.emit("reshape", mean, shape=shape))


def _var(
    b: Builder,
    out: Tensor,
    x: Value,
    axes: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Value:
    if isinstance(axes, bool):  # var(x, unbiased)
        axes, unbiased = None, axes
    axes = _axes(x, axes)
    if correction is None:
        correction = 0 if unbiased is False else 1
    centred = _centred(b, x, axes)
    divisor = max(_size(x, axes) - correction, 0)
    squares = _kept(b, out, b.emit("sum", b.emit("mul", centred, centred), axes=axes))
    return b.emit("mul", squares, 1 / divisor) if divisor else b.emit("div", squares, 0.0)


def _std(b: Builder, out: Tensor, *arguments: Any, **options: Any) -> Value:
    return _root(b, _var(b, out, *arguments, **options))


def _with_mean(spread: Callable[..., Value]) -> Callable[..., tuple[Value, Value]]:
    """var_mean, std_mean."""

    def convert(b: Builder, out: Sequence[Tensor], x: Value, *arguments: Any, **options: Any) -> tuple[Value, Value]:
        axes = None if not arguments or isinstance(arguments[0], bool) else arguments[0]
        return spread(b, out[0], x, *arguments, **options), _mean(b, out[1], x, axes)

    return convert


def _root(b: Builder, x: Value, order: float = 2) -> Value:
    """A root whose gradient is 0 where x is, as those of norms and deviations are."""
    zero = b.emit("eq", x, 0.0)
    safe = b.emit("where", zero, 1.0, x)
    return b.emit("where", zero, 0.0, b.emit("sqrt", safe) if order == 2 else b.emit("pow", safe, 1 / order))


def _layer_norm(
    b: Builder, out: Sequence[Tensor], x: Value, shape: Sequence[int], gain: Value | None, shift: Value | None, eps: float
) -> tuple[Value, Value, Value]:
    axes = tuple(range(len(x.shape) - len(shape), len(x.shape)))
    reduced = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    mean = b.emit("reshape", b.emit("mul", b.emit("sum", x, axes=axes), 1 / _size(x, axes)), shape=reduced)
    centred = b.emit("sub", x, mean)
    variance = b.emit("mul", b.emit("sum", b.emit("mul", centred, centred), axes=axes), 1 / _size(x, axes))
    scale = b.emit("reshape", b.emit("rsqrt", b.emit("add", variance, eps)), shape=reduced)
    y = b.emit("mul", centred, scale)
    if gain is not None:
        y = b.emit("mul", y, gain)
    if shift is not None:
        y = b.emit("add", y, shift)
    return y, mean, scale


def _shifted_exp(b: Builder, x: Value, axes: tuple[int, ...], finite: bool = False) -> tuple[Value, Value, Value]:
    """exp(x - m), its sum along the axes and m, the largest entry (0 for an infinite one, if `finite`); m does not matter."""
    reduced = [1 if n in axes else size for n, size in enumerate(x.shape)]
    largest = b.emit("reshape", b.detach(b.emit("max", x, axes=axes)), shape=reduced)
    if finite:
        largest = b.emit("where", b.emit("eq", b.emit("abs", largest), math.inf), 0.0, largest)
    shifted = b.emit("exp", b.emit("sub", x, largest))
    return shifted, b.emit("reshape", b.emit("sum", shifted, axes=axes), shape=reduced), largest


def _softmax(b: Builder, out: Tensor, x: Value, axis: int, half_to_float: bool = False) -> Value:
    if not x.shape:
        return b.full((), 1.0, x.dtype)
    shifted, total, _ = _shifted_exp(b, x, (_axis(x, axis),))
    return b.emit("div", shifted, total)


def _log_softmax(b: Builder, out: Tensor, x: Value, axis: int, half_to_float: bool = False) -> Value:
    if not x.shape:
        return b.full((), 0.0, x.dtype)
    _, total, largest = _shifted_exp(b, x, (_axis(x, axis),))
    return b.emit("sub", b.emit("sub", x, largest), b.emit("log", total))


def _logsumexp(b: Builder, out: Tensor, x: Value, axes: Any, keepdim: bool = False) -> Value:
    if not x.shape:
        return x
    _, total, largest = _shifted_exp(b, _cast_to(b, x, out.dtype), _axes(x, axes), finite=True)
    return _kept(b, out, b.emit("add", b.emit("log", total), largest))


def _vector_norm(
    b: Builder, out: Tensor, x: Value, order: float = 2, axes: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    x, axes = _cast_to(b, x, out.dtype), _axes(x, axes)
    if order == 2:
        return _root(b, _kept(b, out, b.emit("sum", b.emit("mul", x, x), axes=axes)))
    size = b.emit("abs", x)
    if order == 0:
        return _kept(b, out, b.emit("sum", b.emit("cast", b.emit("ne", x, 0.0), dtype=out.dtype), axes=axes))
    if order == 1:
        return _kept(b, out, b.emit("sum", size, axes=axes))
    if abs(order) == math.inf:
        y = b.emit("max" if order > 0 else "min", size, axes=axes, nan=True)
        return _kept(b, out, b.emit("where", b.emit("eq", y, y), y, b.detach(y)))
    if order < 1:
        raise Unsupported
    return _root(b, _kept(b, out, b.emit("sum", b.emit("pow", size, float(order)), axes=axes)), order)


def _norm(
    b: Builder, out: Tensor, x: Value, order: Any = 2, axes: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    return _vector_norm(b, out, x, 2 if order is None else order, axes, dtype=dtype)


def _cumsum(b: Builder, out: Tensor, x: Value, axis: int, *, dtype: torch.dtype | None = None) -> Value:
    return b.emit("cumsum", _cast_to(b, x, out.dtype), axis=_axis(x, axis)) if x.shape else _cast_to(b, x, out.dtype)


def _prod(b: Builder, out: Tensor, x: Value, axis: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    x = _cast_to(b, x, out.dtype)
    if axis is None:
        x, axis = b.emit("reshape", x, shape=(math.prod(x.shape),)), 0
    axis = _axis(x, axis)
    if not x.shape or not x.shape[axis]:
        return x if not x.shape else b.full(out.shape, 1, out.dtype)
    while (size := x.shape[axis]) > 1:  # halves, so that no gradient divides by an entry that is zero
        half = size // 2
        product = b.emit("mul", _slice(b, x, axis, 0, half), _slice(b, x, axis, half, 2 * half))
        x = b.emit("cat", product, _slice(b, x, axis, 2 * half, size), axis=axis) if size % 2 else product
    return _kept(b, out, x)


def _running(combine: Callable[[Builder, Value, Value], Value]) -> Callable[..., Value]:
    """cumprod, logcumsumexp: each entry with that 1, 2, 4, ... places before it."""

    def convert(b: Builder, out: Tensor, x: Value, axis: int, *, dtype: torch.dtype | None = None) -> Value:
        x, axis, distance = _cast_to(b, x, out.dtype), _axis(x, axis), 1
        while x.shape and distance < (size := x.shape[axis]):
            later = combine(b, _slice(b, x, axis, 0, size - distance), _slice(b, x, axis, distance, size))
            x = b.emit("cat", _slice(b, x, axis, 0, distance), later, axis=axis)
            distance *= 2
        return x

    return convert


def _log_add_exp(b: Builder, x: Value, y: Value) -> Value:
    """Where both are the same infinity, their difference is taken for 0."""
    difference = b.emit("sub", x, y)
    same = b.emit("logical_and", b.emit("eq", x, y), b.emit("eq", b.emit("abs", x), math.inf))
    tail = b.emit("log1p", b.emit("exp", b.emit("neg", b.emit("abs", b.emit("where", same, 0.0, difference)))))
    return b.emit("where", same, x, b.emit("add", b.emit("maximum", x, y), tail))


def _sort(
    b: Builder, out: Sequence[Tensor], x: Value, axis: int = -1, descending: bool = False, *, stable: bool = False
) -> tuple[Value, Value]:
    order = b.emit("argsort", x, axis=_axis(x, axis), descending=descending)
    return b.emit("gather", x, order, axis=_axis(x, axis)), order


def _sort_stable(
    b: Builder, out: Sequence[Tensor], x: Value, *, stable: bool = False, dim: int = -1, descending: bool = False
) -> tuple[Value, Value]:
    return _sort(b, out, x, dim, descending)


def _topk(
    b: Builder, out: Sequence[Tensor], x: Value, k: int, axis: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Value, Value]:
    axis = _axis(x, axis)
    order = _slice(b, b.emit("argsort", x, axis=axis, descending=largest), axis, 0, k)
    return b.emit("gather", x, order, axis=axis), order


# Products


def _matrix_vector(b: Builder, matrix: Value, x: Value) -> Value:
    """matrix x: a matvec where the matrix is the same for all rows, else products summed."""
    turned = b.turned(matrix)
    if b.lead[matrix] != SHARED:
        if turned is None:
            return b.emit("sum", b.emit("mul", matrix, x), axes=(1,))
        return b.emit("sum", b.emit("mul", turned, b.emit("reshape", x, shape=(*x.shape, 1))), axes=(0,))  # as it lies in memory
    return b.emit("matvec", matrix if turned is None else turned, x, transposed=turned is not None)


def _mv(b: Builder, out: Tensor, matrix: Value, x: Value) -> Value:
    return _matrix_vector(b, matrix, x)


def _mm(b: Builder, out: Tensor, x: Value, y: Value) -> Value:
    if x.shape[1] == 1:
        return b.emit("mul", x, y)
    if y.shape[1] == 1:
        product = _matrix_vector(b, x, b.emit("reshape", y, shape=(y.shape[0],)))
    elif x.shape[0] == 1:
        turned = b.emit("permute", y, axes=(1, 0))
        product = _matrix_vector(b, turned, b.emit("reshape", x, shape=(x.shape[1],)))
    else:
        return b.emit("matmul", x, y)
    return b.emit("reshape", product, shape=out.shape)


def _bmm(b: Builder, out: Tensor, x: Value, y: Value) -> Value:
    if x.shape[0] == 1:
        first, second = (b.emit("reshape", item, shape=item.shape[1:]) for item in (x, y))
        return b.emit("reshape", _mm(b, out[0], first, second), shape=out.shape)
    left = b.emit("reshape", x, shape=(*x.shape, 1))
    right = b.emit("reshape", y, shape=(y.shape[0], 1, *y.shape[1:]))
    return b.emit("sum", b.emit("mul", left, right), axes=(2,))


def _plus_product(product: Callable[..., Value]) -> Callable[..., Value]:
    """addmm, addmv, baddbmm: beta c + alpha a b."""

    def convert(b: Builder, out: Tensor, c: Value, x: Value, y: Value, *, beta: float = 1, alpha: float = 1) -> Value:
        scaled = b.emit("mul", product(b, out, x, y), alpha)
        return scaled if beta == 0 else b.emit("add", scaled, b.emit("mul", c, beta))

    return convert


def _dot(b: Builder, out: Tensor, x: Value, y: Value) -> Value:
    return b.emit("sum", b.emit("mul", x, y), axes=(0,))


# Indices


def _embedding(b: Builder, out: Tensor, table: Value, index: Value, padding: int = -1, *_: Any) -> Value:
    if padding != -1:
        raise Unsupported
    return _rows(b, table, index, 0, out)


def _rows(b: Builder, x: Value, index: Value, axis: int, out: Tensor) -> Value:
    flat = b.emit("reshape", _cast_to(b, index, torch.int64), shape=(math.prod(index.shape),))
    return b.emit("reshape", b.emit("index_select", x, flat, axis=axis), shape=out.shape)


def _index_select(b: Builder, out: Tensor, x: Value, axis: int, index: Value) -> Value:
    return _rows(b, x, index, _axis(x, axis), out)


def _joined(b: Builder, x: Value, indices: Sequence[Value | None]) -> tuple[Value, Value, int]:
    """(x with the indexed axes, which stand side by side, as one; the place in it; its number)."""
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    first = axes[0]
    if axes != list(range(first, first + len(axes))) or any(index.dtype is torch.bool for index in given):
        raise Unsupported
    flat: Value | None = None
    for axis, index in zip(axes, given, strict=True):
        index = _cast_to(b, index, torch.int64)
        wrapped = b.emit("where", b.emit("lt", index, 0), b.emit("add", index, x.shape[axis]), index)
        flat = wrapped if flat is None else b.emit("add", b.emit("mul", flat, x.shape[axis]), wrapped)
    assert flat is not None
    size = math.prod(x.shape[axis] for axis in axes)
    return b.emit("reshape", x, shape=(*x.shape[:first], size, *x.shape[first + len(axes) :])), flat, first


def _index(b: Builder, out: Tensor, x: Value, indices: Sequence[Value | None]) -> Value:
    return _rows(b, *_joined(b, x, indices), out)


def _index_put(
    b: Builder, out: Tensor, x: Value, indices: Sequence[Value | None], source: Value, accumulate: bool = False
) -> Value:
    mask = indices[0]
    if mask is not None and mask.dtype is torch.bool:
        if len(indices) > 1 or accumulate or math.prod(source.shape) != 1:
            raise Unsupported
        mask = b.emit("reshape", mask, shape=(*mask.shape, *[1] * (len(x.shape) - len(mask.shape))))
        return _where(b, out, mask, b.emit("reshape", source, shape=()), x)
    joined, index, axis = _joined(b, x, indices)
    lead, trail = joined.shape[:axis], joined.shape[axis + 1 :]
    source = to_shape(b, source, (*lead, *index.shape, *trail))
    count = math.prod(index.shape)
    source = b.emit("reshape", source, shape=(*lead, count, *trail))
    index = b.emit("reshape", index, shape=(count,))
    put = _index_add if accumulate else _index_copy
    return b.emit("reshape", put(b, out, joined, axis, index, source), shape=out.shape)


def _index_copy(b: Builder, out: Tensor, x: Value, axis: int, index: Value, source: Value) -> Value:
    axis = _axis(x, axis)
    index = b.emit("reshape", index, shape=[math.prod(index.shape) if n == axis else 1 for n in range(len(x.shape))])
    return _scatter(b, out, x, axis, to_shape(b, index, source.shape), source)


# Windows: convolutions and pooling. In all of them the last axes are walked by windows of some size.


def _windows(
    b: Builder, x: Value, sizes: Sequence[int], steps: Sequence[int], padding: Sequence[int], dilation: Sequence[int], fill: float
) -> tuple[Value, list[int], Tensor]:
    """(x as (..., places of the window, entries in it), places along each axis, where in x each entry lies)."""
    count = len(sizes)
    steps, padding, dilation = ([*given, *[given[-1]] * (count - len(given))] for given in (steps or sizes, padding, dilation))
    lead, spatial = x.shape[:-count], x.shape[-count:]
    places, index, numbers = [], torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)
    for n, size in enumerate(sizes):
        full = spatial[n] + 2 * padding[n]
        starts = torch.arange(0, full - dilation[n] * (size - 1), steps[n])
        here = starts[:, None] + dilation[n] * torch.arange(size)  # (places, entries) along this axis
        places.append(len(starts))
        index, numbers = (
            (earlier[:, None, :, None] * length + now[None, :, None, :]).reshape(len(earlier) * len(starts), -1)
            for earlier, length, now in ((index, full, here), (numbers, spatial[n], here - padding[n]))
        )
    if any(padding):
        x = _padded(b, torch.empty(0), x, [amount for amount in reversed(padding) for _ in range(2)], fill)
    flat = b.emit("reshape", x, shape=(*lead, math.prod(x.shape[-count:])))
    chosen = b.emit("index_select", flat, b.constant(index.flatten()), axis=len(lead))
    return b.emit("reshape", chosen, shape=(*lead, *index.shape)), places, numbers


def _unfold(b: Builder, out: Tensor, x: Value, axis: int, size: int, step: int) -> Value:
    axis = _axis(x, axis)
    last = len(x.shape) - 1
    moved = b.emit("permute", x, axes=(*(n for n in range(last + 1) if n != axis), axis))
    windows, _, _ = _windows(b, moved, [size], [step], [0], [1], 0.0)
    return b.emit("permute", windows, axes=(*range(axis), last, *range(axis, last), last + 1))


def _im2col(b: Builder, out: Tensor, x: Value, sizes: Any, dilation: Any, padding: Any, steps: Any) -> Value:
    windows, _, _ = _windows(b, x, sizes, steps, padding, dilation, 0.0)
    axes = range(len(windows.shape))
    return b.emit("reshape", b.emit("permute", windows, axes=(*axes[:-2], axes[-1], axes[-2])), shape=out.shape)


def _convolution(
    b: Builder,
    out: Tensor,
    x: Value,
    weight: Value,
    bias: Value | None,
    steps: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Value:
    """A product of the kernels with the windows; of one group, or with a group for each channel."""
    rows, channels = x.shape[:2]
    outputs, of_group, *sizes = weight.shape
    if transposed or (groups > 1 and not of_group == 1 == outputs // channels):
        raise Unsupported
    windows, places, _ = _windows(b, x, sizes, steps, padding, dilation, 0.0)  # (rows, channels, places, entries)
    entries, count = math.prod(sizes), math.prod(places)
    if groups > 1:
        kernels = b.emit("reshape", weight, shape=(1, channels, 1, entries))
        y = b.emit("sum", b.emit("mul", windows, kernels), axes=(3,))
    else:
        columns = b.emit("permute", windows, axes=(1, 3, 0, 2))
        columns = b.emit("reshape", columns, shape=(channels * entries, rows * count))
        kernels = b.emit("reshape", weight, shape=(outputs, channels * entries))
        product = _mm(b, torch.empty(outputs, rows * count), kernels, columns)
        y = b.emit("permute", b.emit("reshape", product, shape=(outputs, rows, count)), axes=(1, 0, 2))
    if bias is not None:
        y = b.emit("add", y, b.emit("reshape", bias, shape=(1, outputs, 1)))
    return b.emit("reshape", y, shape=out.shape)


def _avg_pool(
    b: Builder,
    out: Tensor,
    x: Value,
    sizes: Any,
    steps: Any = (),
    padding: Any = (0,),
    ceil: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Value:
    if ceil or (any(padding) and not count_include_pad):
        raise Unsupported
    windows, _, _ = _windows(b, x, sizes, steps, padding, [1], 0.0)
    total = b.emit("sum", windows, axes=(len(windows.shape) - 1,))
    return b.emit("reshape", b.emit("div", total, divisor or math.prod(sizes)), shape=out.shape)


def _adaptive_avg_pool(b: Builder, out: Tensor, x: Value, sizes: Any) -> Value:
    spatial = x.shape[-len(sizes) :]
    if any(size % places for size, places in zip(spatial, sizes, strict=True)):
        raise Unsupported
    return _avg_pool(b, out, x, [size // places for size, places in zip(spatial, sizes, strict=True)])


def _max_pool(
    b: Builder,
    out: Sequence[Tensor],
    x: Value,
    sizes: Any,
    steps: Any = (),
    padding: Any = (0,),
    dilation: Any = (1,),
    ceil: bool = False,
) -> tuple[Value, Value]:
    if ceil:
        raise Unsupported
    windows, _, numbers = _windows(b, x, sizes, steps, padding, dilation, -math.inf)
    axis = len(windows.shape) - 1
    index = b.emit("argmax", windows, axis=axis)
    raised = b.emit("reshape", index, shape=(*index.shape, 1))
    largest = b.emit("gather", windows, raised, axis=axis)
    where = b.emit("gather", to_shape(b, b.constant(numbers), windows.shape), raised, axis=axis)
    return b.emit("reshape", largest, shape=out[0].shape), b.emit("reshape", where, shape=out[1].shape)


def _gather(b: Builder, out: Tensor, x: Value, axis: int, index: Value, *, sparse_grad: bool = False) -> Value:
    return b.emit("gather", x, index, axis=_axis(x, axis)) if x.shape else x


def _scatter_add(b: Builder, out: Tensor, x: Value, axis: int, index: Value, source: Value) -> Value:
    source = _leading_part(b, source, index)
    return b.emit("add", x, b.emit("scatter_add", index, source, shape=x.shape, axis=_axis(x, axis)))


MOST_PUT = 256
"""Entries along an axis up to which those that a later one overwrites are found by comparing all with all."""


def _scatter(b: Builder, out: Tensor, x: Value, axis: int, index: Value, source: Value) -> Value:
    """x with the entries at index replaced, by the last one where indices repeat; all of them get the gradient, as in PyTorch."""
    axis, source = _axis(x, axis), _cast_to(b, _leading_part(b, source, index), x.dtype)
    count = index.shape[axis] if index.shape else 1
    if count > MOST_PUT:
        raise Unsupported
    hit = b.emit("scatter_add", index, b.full(index.shape, 1, torch.int64), shape=x.shape, dtype=torch.int64, axis=axis)
    if count > 1:
        earlier, later = (
            b.emit("reshape", index, shape=(*index.shape[:axis], *pair, *index.shape[axis + 1 :]))
            for pair in ((count, 1), (1, count))
        )
        after = torch.ones(count, count, dtype=torch.bool).triu(1).reshape(count, count, *[1] * (len(index.shape) - axis - 1))
        again = b.emit("cast", b.emit("logical_and", b.emit("eq", earlier, later), b.constant(after)), dtype=torch.int64)
        overwritten = b.emit("ne", b.emit("max", again, axes=(axis + 1,)), 0)
        nothing: Input = 0
        if x.dtype.is_floating_point:  # 0 with a slope of 1
            difference = b.emit("sub", source, b.detach(source))
            nothing = b.emit("where", b.emit("eq", difference, difference), difference, 0.0)
        source = b.emit("where", overwritten, nothing, source, dtype=x.dtype)
    put = b.emit("scatter_add", index, source, shape=x.shape, axis=axis)
    return b.emit("where", b.emit("ne", hit, 0), put, x)


def _scatter_value(b: Builder, out: Tensor, x: Value, axis: int, index: Value, fill: Input) -> Value:
    ones = b.full(index.shape, 1, torch.int64)
    hit = b.emit("scatter_add", index, ones, shape=x.shape, dtype=torch.int64, axis=_axis(x, axis))
    return _where(b, out, b.emit("ne", hit, 0), fill, x)


def _index_fill(b: Builder, out: Tensor, x: Value, axis: int, index: Value, fill: Input) -> Value:
    axis = _axis(x, axis)
    index = b.emit("reshape", index, shape=[math.prod(index.shape) if n == axis else 1 for n in range(len(x.shape))])
    shape = [index.shape[axis] if n == axis else size for n, size in enumerate(x.shape)]
    return _scatter_value(b, out, x, axis, to_shape(b, index, shape), fill)


def _leading_part(b: Builder, source: Value, index: Value) -> Value:
    for axis, size in enumerate(index.shape):
        source = _slice(b, source, axis, 0, size)
    return source


def _index_add(b: Builder, out: Tensor, x: Value, axis: int, index: Value, source: Value, *, alpha: float = 1) -> Value:
    axis = _axis(x, axis)
    source = b.emit("mul", source, alpha)
    flat = b.emit("reshape", index, shape=(math.prod(index.shape),))
    return b.emit("add", x, b.emit("index_add", flat, source, shape=x.shape, axis=axis))


CONVERSIONS: dict[str, Callable[..., Any]] = {
    **{name: (_unary, _binary)[row.arity - 1](name) for name, row in ELEMENTWISE.items() if row.arity in (1, 2)},
    "sgn": _unary("sign"),
    "rsub": _rsub,
    "div": _div,
    "max.other": _binary("maximum"),
    "min.other": _binary("minimum"),
    "pow": _pow,
    "square": _square,
    "exp2": _exp2,
    "frac": _frac,
    "remainder": _remainder,
    "logical_xor": _logical_xor,
    "log2": _scaled("log", 2),
    "log10": _scaled("log", 10),
    "softplus": _softplus,
    "elu": _elu,
    "celu": lambda b, out, x, alpha=1.0: _elu(b, out, x, alpha, 1, 1 / alpha),
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "softshrink": _softshrink,
    "_prelu_kernel": _prelu,
    "huber_loss": _rounded_corner(smooth=False),
    "smooth_l1_loss": _rounded_corner(smooth=True),
    **dict.fromkeys(("adaptive_max_pool2d", "logit", "sinc", "special_entr", "special_xlog1py", "xlogy"), _refused),
    "hardtanh": _hardtanh,
    "log_sigmoid_forward": _log_sigmoid,
    **{name: _compare(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{name: _logical(name) for name in ("logical_and", "logical_or", "logical_not")},
    "bitwise_and": _bitwise("logical_and"),
    "bitwise_or": _bitwise("logical_or"),
    "bitwise_not": _bitwise("logical_not"),
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "where": _where,
    "masked_fill": _masked_fill,
    "clone": _copied,
    "alias": _copied,
    "contiguous": _copied,
    "lift_fresh": _copied,
    "lift_fresh_copy": _copied,
    "_to_copy": _copied,
    "copy": _copy,
    "detach": _detach,
    "sum": _sum,
    "mean": _mean,
    "amax": _extreme("max"),
    "amin": _extreme("min"),
    "max": _extreme("max", nan=True),
    "min": _extreme("min", nan=True),
    "max.dim": _extreme_along("max"),
    "min.dim": _extreme_along("min"),
    "argmax": _arg_extreme("argmax"),
    "argmin": _arg_extreme("argmin"),
    "any": _quantified("max"),
    "all": _quantified("min"),
    "var": _var,
    "std": _std,
    "var_mean": _with_mean(_var),
    "std_mean": _with_mean(_std),
    "native_layer_norm": _layer_norm,
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "linalg_vector_norm": _vector_norm,
    "norm": _norm,
    "cumsum": _cumsum,
    "prod": _prod,
    "cumprod": _running(lambda b, x, y: b.emit("mul", x, y)),
    "logcumsumexp": _running(_log_add_exp),
    "sort": _sort,
    "sort.stable": _sort_stable,
    "topk": _topk,
    "mv": _mv,
    "mm": _mm,
    "bmm": _bmm,
    "addmm": _plus_product(_mm),
    "addmv": _plus_product(_mv),
    "baddbmm": _plus_product(_bmm),
    "dot": _dot,
    "vdot": _dot,
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "flatten", "_reshape_alias", "view_copy"), _reshaped
    ),
    "permute": _permute,
    "t": _transpose,
    "transpose": _transpose,
    "expand": _expand,
    **dict.fromkeys(("slice", "slice_copy"), _sliced),
    "select": _select,
    "split": _split,
    "split_with_sizes": _split,
    "unbind": _unbind,
    "cat": _cat,
    "stack": _stack,
    "roll": _roll,
    "flip": _flip,
    "repeat": _repeat,
    "constant_pad_nd": _padded,
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
    "tril": _triangle(below=True),
    "triu": _triangle(below=False),
    "diagonal": _diagonal,
    "embedding": _embedding,
    "index_select": _index_select,
    "index": _index,
    **dict.fromkeys(("index_put", "_unsafe_index_put"), _index_put),
    "index_copy": _index_copy,
    "index_fill": _index_fill,
    "unfold": _unfold,
    "im2col": _im2col,
    "convolution": _convolution,
    "avg_pool1d": _avg_pool,
    "avg_pool2d": _avg_pool,
    "_adaptive_avg_pool2d": _adaptive_avg_pool,
    "max_pool2d_with_indices": _max_pool,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "scatter.src": _scatter,
    "scatter.value": _scatter_value,
    "index_add": _index_add,
}
"""ATen's name, or name.overload where overloads differ, -> its conversion."""

PRIMITIVES: dict[str, Callable[..., Any]] = {
    **{name: CONVERSIONS[name] for name in (*ELEMENTWISE, "sum", "amax", "amin", "cat", "clone", "reshape")},
    **dict.fromkeys(("collapse_view", "split_dim", "squeeze"), _reshaped),
    "broadcast_in_dim": _broadcast_in_dim,
    "convert_element_type": _copied,
    "transpose": _permute,
    "view_of": _copied,
    "var": lambda b, out, x, axes, correction=1: _var(b, out, x, axes, correction=correction),
}
"""The same of PyTorch's primitives."""


def conversion(operation: OpOverload) -> Callable[..., Any] | None:
    """How an operation is written in the table's kinds; None where it cannot be."""
    name = operation.overloadpacket.__name__
    if operation.namespace == "prims":  # what PyTorch's own decompositions are made of; names that mean other things there
        return PRIMITIVES.get(name)
    return CONVERSIONS.get(f"{name}.{overload_name(operation)}", CONVERSIONS.get(name))
