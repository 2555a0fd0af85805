"""Run operations in PyTorch for many rows at once: values that have a lead carry it as their first axis.

Used for what is in no cycle (all rows and steps in one call), for what is the same at every step
(rows only, or nothing), and by the reference executor of a loop (the rows of one step).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from carousel.engine.ir import BINARY, UNARY, Op, Value


class Instruction(NamedTuple):
    """output = function(*inputs); or into(place, *inputs), which writes it to a place that is there already."""

    function: Callable[..., Tensor]
    inputs: tuple[Value, ...]
    output: Value
    into: Callable[..., object] | None


_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{kind: getattr(torch, kind) for kind in UNARY - {"softplus"}},
    "softplus": F.softplus,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "maximum": lambda a, b: torch.maximum(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else _bounded(a, b, low=True),
    "minimum": lambda a, b: torch.minimum(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else _bounded(a, b, low=False),
}


def _bounded(a: Any, b: Any, low: bool) -> Tensor:
    tensor, bound = (a, b) if isinstance(a, Tensor) else (b, a)
    return tensor.clamp_min(bound) if low else tensor.clamp_max(bound)


def instructions(ops: Iterable[Op], has_lead: Callable[[Value], bool], stopped: Container[Value] = ()) -> list[Instruction]:
    """The operations as PyTorch calls.

    Args:
        has_lead: whether the tensor of a value that the operations read has the leading axis.
        stopped:  outputs through which PyTorch must take no gradient.
    """
    led: dict[Value, bool] = {}

    def is_led(value: Value) -> bool:
        return led[value] if value in led else has_lead(value)

    made = []
    for op in ops:
        flags = tuple(is_led(value) for value in op.values)
        led[op.output] = any(flags)
        call = Tensor.detach if op.output in stopped else _call(op, flags)
        made.append(Instruction(call, op.values, op.output, _into(op, flags)))
    return made


def run(made: Iterable[Instruction], env: dict[Value, Tensor], place: Callable[[Value], Tensor] | None = None) -> None:
    """Run instructions in order; env holds what they read and gets what they make, at `place` where it can be."""
    for function, inputs, output, into in made:
        given = [env[value] for value in inputs]
        if into is None or place is None:
            env[output] = function(*given)
        else:
            env[output] = place(output)
            into(env[output], *given)


def _into(op: Op, led: tuple[bool, ...]) -> Callable[..., object] | None:
    """The products of many rows with one matrix, as functions (place, ...)."""
    if op.kind == "matvec" and led == (False, True):
        if op.attributes["transposed"]:
            return lambda place, matrix, x: torch.mm(x, matrix, out=place)
        return lambda place, matrix, x: torch.mm(x, matrix.t(), out=place)
    if op.kind == "linear" and led == (False, True, False):
        return lambda place, matrix, x, bias: torch.addmm(bias, x, matrix.t(), out=place)
    return None


def _call(op: Op, led: tuple[bool, ...]) -> Callable[..., Tensor]:
    if op.kind in UNARY or op.kind in BINARY:
        return _with_literals(op, _ELEMENTWISE[op.kind])
    if op.kind == "where":
        dtype = op.output.dtype
        return _with_literals(op, lambda condition, a, b: torch.where(condition, a, b).to(dtype))
    return _CALLS[op.kind](op.output, op.attributes, led)


def _with_literals(op: Op, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    if len(op.values) == len(op.inputs):
        return function
    template = op.inputs

    def call(*tensors: Tensor) -> Tensor:
        rest = iter(tensors)
        return function(*(next(rest) if isinstance(item, Value) else item for item in template))

    return call


Maker = Callable[[Value, Mapping[str, Any], tuple[bool, ...]], Callable[..., Tensor]]


def _cast(output: Value, _: Any, led: Any) -> Callable[..., Tensor]:
    return lambda x: x.to(output.dtype)


def _reduction(function: Callable[..., Tensor]) -> Maker:
    def make(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
        axes = [axis + led[0] for axis in attributes["axes"]]
        return lambda x: function(x, axes)

    return make


def _along(function: Callable[..., Tensor]) -> Maker:
    """A function of (x, axis)."""

    def make(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
        axis = attributes["axis"] + led[0]
        return lambda x: function(x, axis)

    return make


def _argsort(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axis, descending = attributes["axis"] + led[0], attributes["descending"]
    return lambda x: torch.argsort(x, dim=axis, descending=descending, stable=True)


def _matvec(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    if attributes["transposed"]:
        return lambda matrix, x: x @ matrix
    return lambda matrix, x: F.linear(x, matrix)


def _linear(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    return lambda matrix, x, bias: F.linear(x, matrix, bias)


def _matmul(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    return torch.matmul


def _outer(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    return lambda a, b: a.unsqueeze(-1) * b.unsqueeze(-2)


def _reshape(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    shape = output.shape
    return (lambda x: x.reshape(x.shape[0], *shape)) if led[0] else (lambda x: x.reshape(shape))


def _permute(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axes = [0] * led[0] + [axis + led[0] for axis in attributes["axes"]]
    return lambda x: x.permute(axes)


def _expand(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    shape = output.shape
    return (lambda x: x.expand(x.shape[0], *shape)) if led[0] else (lambda x: x.expand(shape))


def _strided(attributes: Any, count: int, led: bool) -> tuple[slice, ...]:
    """The index of `count` entries from start with a step along an axis."""
    start, step = attributes["start"], attributes["step"]
    return (slice(None),) * (attributes["axis"] + led) + (slice(start, start + step * count, step),)


def _slice(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    index = _strided(attributes, output.shape[attributes["axis"]], led[0])
    return lambda x: x[index]


def _pad(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axis = attributes["axis"] + led[0]

    def call(x: Tensor) -> Tensor:
        result = x.new_zeros(x.shape[: led[0]] + output.shape)
        result[_strided(attributes, x.shape[axis], led[0])] = x
        return result

    return call


def _cat(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axis = attributes["axis"] + any(led)
    if all(led) or not any(led):
        return lambda *parts: torch.cat(parts, axis)

    def call(*parts: Tensor) -> Tensor:
        return torch.cat(_with_lead(parts, led), axis)

    return call


def _with_lead(tensors: Iterable[Tensor], led: Iterable[bool]) -> list[Tensor]:
    """All tensors with the leading axis that some of them have."""
    pairs = list(zip(tensors, led, strict=True))
    lead = next((tensor.shape[0] for tensor, flag in pairs if flag), None)
    return [tensor if flag or lead is None else tensor.expand(lead, *tensor.shape) for tensor, flag in pairs]


def _flip(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axes = [axis + led[0] for axis in attributes["axes"]]
    return lambda x: x.flip(axes)


def _index_select(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axis = attributes["axis"]
    if led == (False, True) and axis == 0:
        return lambda x, index: F.embedding(index, x) if x.dim() == 2 else x[index]
    if not led[1]:
        return lambda x, index: x.index_select(axis + led[0], index)
    return _indexed(lambda x, index, axis: x.gather(axis, index), output, axis, led)


def _indexed(function: Callable[[Tensor, Tensor, int], Tensor], output: Value, axis: int, led: Any) -> Callable[..., Tensor]:
    """function(x, index, axis) with the index repeated over the other axes of x."""

    def call(x: Tensor, index: Tensor) -> Tensor:
        x, index = _with_lead((x, index), led)
        shape = list(x.shape)
        shape[axis + 1] = index.shape[1]
        narrow = [1] * len(shape)
        narrow[0], narrow[axis + 1] = index.shape
        return function(x, index.reshape(narrow).expand(shape), axis + 1)

    return call


def _index_add(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axis = attributes["axis"]
    if not any(led):
        return lambda index, source: source.new_zeros(output.shape).index_add(axis, index, source)

    def add(source: Tensor, index: Tensor, axis: int) -> Tensor:
        return source.new_zeros((source.shape[0], *output.shape)).scatter_add(axis, index, source)

    added = _indexed(add, output, axis, led[::-1])
    return lambda index, source: added(source, index)


def _gather(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axis = attributes["axis"] + any(led)
    return lambda *tensors: torch.gather(_with_lead(tensors, led)[0], axis, _with_lead(tensors, led)[1])


def _scatter_add(output: Value, attributes: Any, led: Any) -> Callable[..., Tensor]:
    axis = attributes["axis"] + any(led)

    def call(index: Tensor, source: Tensor) -> Tensor:
        index, source = _with_lead((index, source), led)
        return source.new_zeros(source.shape[: any(led)] + output.shape).scatter_add(axis, index, source)

    return call


_CALLS: dict[str, Maker] = {
    "cast": _cast,
    "sum": _reduction(torch.sum),
    "max": _reduction(torch.amax),
    "min": _reduction(torch.amin),
    "argmax": _along(torch.argmax),
    "argmin": _along(torch.argmin),
    "matvec": _matvec,
    "linear": _linear,
    "matmul": _matmul,
    "outer": _outer,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "slice": _slice,
    "pad": _pad,
    "cat": _cat,
    "flip": _flip,
    "cumsum": _along(torch.cumsum),
    "argsort": _argsort,
    "index_select": _index_select,
    "index_add": _index_add,
    "gather": _gather,
    "scatter_add": _scatter_add,
}


def size(value: Value) -> int:
    """Number of entries of one row at one step."""
    return math.prod(value.shape)
