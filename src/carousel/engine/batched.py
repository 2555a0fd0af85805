"""Run operations in PyTorch for many rows at once: values that have a lead carry it as their first axis.

Used for what is in no cycle (all rows and steps in one call), for what is the same at every step
(rows only, or nothing), and by the reference executor of a loop (the rows of one step).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from carousel.engine.ir import Op, Value
from carousel.engine.kinds import KINDS


class Instruction(NamedTuple):
    """output = function(*inputs); or into(place, *inputs), which writes it to a place that is there already."""

    function: Callable[..., Tensor]
    inputs: tuple[Value, ...]
    output: Value
    into: Callable[..., object] | None


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
    if op.kind == "linear":
        return lambda matrix, x, bias: F.linear(x, matrix, bias)
    return _with_literals(op, KINDS[op.kind].call(op.output, op.attributes, led))


def _with_literals(op: Op, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    if len(op.values) == len(op.inputs):
        return function
    template = op.inputs

    def call(*tensors: Tensor) -> Tensor:
        rest = iter(tensors)
        return function(*(next(rest) if isinstance(item, Value) else item for item in template))

    return call


def size(value: Value) -> int:
    """Number of entries of one row at one step."""
    return math.prod(value.shape)
