"""Kind: all that the engine knows of one kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from carousel.engine.ir import Op, Value

if TYPE_CHECKING:
    from carousel.engine.build import Builder

Shape = tuple[int, ...]
Attributes = Mapping[str, Any]
Call = Callable[..., Tensor]


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    meaning:    (inputs), attributes, what it gives.
    adjoint:    (builder, operation, cotangent of its output) -> the cotangent of each input, None for none.
    call:       (output, attributes, whether each value has a leading axis of rows) -> the PyTorch function of the inputs.
    form:       how a loop runs it: "elementwise"; "reduction", among elementwise ones over the shape of its input; "view",
                which only looks at memory in another way; "cat" and "outer", which become these; "single", a unit of its own
                that native/single_ops.py writes.
    shape:      (shapes of the inputs, attributes) -> the output's; None where `Builder.emit` must be given it.
    dtype:      the output's; None for that of the first value among the inputs from `typed_by` on.
    arity:      of an elementwise kind: the number of its inputs.
    function:   of an elementwise kind: on floats it is an elementary function, which native/math.py writes or the C library has.
    native:     of an elementwise kind otherwise: (vectors, *arguments) -> its value on floats, in LLVM's text.
    whole:      the same on whole numbers and truths; None where it has no meaning there.
    linear:     in what the sum of its outputs is the operation on the sum of it: all "inputs" together, one "factor" of two, the
                "dividend".
    moves:      it does nothing but move entries, and so is linear in its inputs.
    lanes:      rows side by side, as one more axis at the end, change nothing in how it works along its own axes.
    idle:       (attributes, rank) -> whether it is its input where the output is shaped like that.
    """

    meaning: str
    adjoint: Callable[[Builder, Op, Value], tuple[Value | None, ...]]
    call: Callable[[Value, Attributes, tuple[bool, ...]], Call]
    form: Literal["elementwise", "reduction", "view", "cat", "outer", "single"]
    shape: Callable[[list[Shape], Attributes], Shape] | None = None
    dtype: torch.dtype | None = None
    typed_by: int = 0
    arity: int = 0
    function: bool = False
    native: Callable[..., str] | None = None
    whole: Callable[..., str] | None = None
    linear: Literal["", "inputs", "factor", "dividend"] = ""
    moves: bool = False
    lanes: bool = False
    idle: Callable[[Attributes, int], bool] = lambda attributes, rank: False

    @property
    def is_cheap(self) -> bool:
        """Whether backward computes it again instead of keeping it: arithmetic and moves, not products, reductions or functions."""
        return self.moves or (self.form == "elementwise" and not self.function)


def no_gradient(b: Builder, op: Op, g: Value) -> tuple[None, ...]:
    """The adjoint of what is flat, or an index."""
    return (None,) * len(op.inputs)


def unbroadcast(b: Builder, g: Value, item: object) -> Value | None:
    """g summed over the axes along which the input was broadcast."""
    if not isinstance(item, Value):
        return None
    axes = tuple(axis for axis, (given, made) in enumerate(zip(item.shape, g.shape, strict=True)) if given != made)
    return b.emit("reshape", b.emit("sum", g, axes=axes), shape=item.shape)
