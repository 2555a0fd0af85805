"""Build a list of operations: shapes inferred, equal operations shared, what costs nothing left out."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from carousel.engine.ir import DTYPES, SHARED, STEP, Graph, Input, Op, Value
from carousel.engine.kinds import KINDS


class Builder:
    """Operations in the order in which they were emitted.

    ops:        so far.
    constants:  values known when the graph is made, and what they are.
    lead:       what each value has beside its own axes: SHARED, ROW or STEP.
    stopped:    values through which no gradient flows (`detach`).
    line:       where in the cell's source the next operation comes from.
    """

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.constants: dict[Value, Tensor] = {}
        self.lead: dict[Value, int] = {}
        self.stopped: set[Value] = set()
        self.line = ""
        self._producer: dict[Value, Op] = {}
        self._known: dict[Any, Value] = {}

    @classmethod
    def resumed(cls, graph: Graph) -> Builder:
        """A builder that goes on where a graph ends. How the prelude made its values is not known: only they are at hand."""
        builder = cls()
        builder.ops, builder.constants = list(graph.ops), dict(graph.constants)
        builder.lead, builder.stopped = dict(graph.lead), set(graph.stopped)
        of_steps = [op for op in graph.ops if graph.lead[op.output] == STEP]
        builder._producer = {op.output: op for op in of_steps}
        builder._known = {
            _identity(op.kind, op.inputs, op.attributes, op.output.shape, op.output.dtype): op.output
            for op in of_steps
            if op.output not in graph.stopped
        }
        return builder

    def input(self, name: str, shape: Iterable[int], dtype: torch.dtype, lead: int) -> Value:
        """A value that comes from outside."""
        value = Value(name, tuple(shape), dtype)
        self.lead[value] = lead
        return value

    def constant(self, tensor: Tensor) -> Value:
        """A value whose entries are known now; equal constants are one value."""
        for value, known in self.constants.items():
            if known.dtype == tensor.dtype and torch.equal(known, tensor):
                return value
        value = self.input(f"constant{len(self.constants)}", tensor.shape, tensor.dtype, SHARED)
        self.constants[value] = tensor.contiguous()
        return value

    def emit(
        self, kind: str, *inputs: Input, shape: Iterable[int] | None = None, dtype: torch.dtype | None = None, **attributes: Any
    ) -> Value:
        """The output of one more operation, or of an equal one that is already there.

        Inputs of elementwise kinds may differ in rank: axes are added in front, as in PyTorch.
        """
        row = KINDS[kind]
        if row.form == "elementwise":
            inputs = self._aligned(inputs)
            simpler = self._simplified(kind, inputs)
            if simpler is not None:
                return simpler
        if shape is None:
            assert row.shape is not None, f"the shape of {kind} must be given"
            shape = row.shape([value.shape for value in inputs if isinstance(value, Value)], attributes)
        shape = tuple(shape)
        if dtype is None:
            dtype = row.dtype or next(value for value in inputs[row.typed_by :] if isinstance(value, Value)).dtype
        self._check(kind, inputs, dtype)
        first = inputs[0]
        if isinstance(first, Value) and (first.shape, first.dtype) == (shape, dtype) and row.idle(attributes, len(shape)):
            return first
        if kind == "reshape" and isinstance(first, Value):
            first = self._before_reshape(first)
            inputs = (first,)
            if first.shape == shape:
                return first
        if kind == "permute" and isinstance(first, Value) and (below := self.producer(first)) and below.kind == "permute":
            axes = tuple(below.attributes["axes"][axis] for axis in attributes["axes"])
            return self.emit("permute", below.values[0], axes=axes)
        identity = _identity(kind, inputs, attributes, shape, dtype)
        if identity not in self._known:
            self._known[identity] = self._append(kind, inputs, attributes, shape, dtype)
        return self._known[identity]

    @staticmethod
    def _check(kind: str, inputs: tuple[Input, ...], dtype: torch.dtype) -> None:
        """ValueError where a kind has no meaning on these element types."""
        row = KINDS[kind]
        arithmetic = row.form in ("elementwise", "reduction") and row.dtype is None and kind not in ("where", "cast", "mul")
        known = dtype in DTYPES and all(item.dtype in DTYPES for item in inputs if isinstance(item, Value))
        meant = row.form != "elementwise" or row.whole is not None or dtype.is_floating_point
        if not known or not meant or (dtype is torch.bool and arithmetic):
            raise ValueError(f"{kind} does not apply to {dtype}")

    def detach(self, x: Value) -> Value:
        """x, with no gradient through it."""
        output = self._append("reshape", (x,), {}, x.shape, x.dtype)
        self.stopped.add(output)
        return output

    def full(self, shape: Iterable[int], fill: float | int | bool, dtype: torch.dtype) -> Value:
        """A constant whose entries are all `fill`."""
        return self.constant(torch.full(tuple(shape), fill, dtype=dtype))

    def _before_reshape(self, value: Value) -> Value:
        """What `value` is a reshape of: two reshapes in a row are one."""
        op = self.producer(value)
        if op is None or op.kind != "reshape" or value in self.stopped:
            return value
        return op.values[0]

    def producer(self, value: Value) -> Op | None:
        """The operation that makes a value; None for inputs and constants."""
        return self._producer.get(value)

    def turned(self, matrix: Value) -> Value | None:
        """What `matrix` is the transpose of, where it is one."""
        op = self.producer(matrix)
        return op.values[0] if op is not None and op.kind == "permute" and len(matrix.shape) == 2 else None

    def _append(
        self, kind: str, inputs: tuple[Input, ...], attributes: dict[str, Any], shape: tuple[int, ...], dtype: torch.dtype
    ) -> Value:
        output = Value(f"v{len(self.ops)}", shape, dtype)
        op = Op(kind, tuple(inputs), output, MappingProxyType(attributes), self.line)
        self.ops.append(op)
        self._producer[output] = op
        self.lead[output] = max((self.lead[value] for value in op.values), default=SHARED)
        return output

    def _aligned(self, inputs: tuple[Input, ...]) -> tuple[Input, ...]:
        """Inputs of one rank; constants with equal entries as literals where they do not make the shape."""
        values = [value for value in inputs if isinstance(value, Value)]
        varying = [value for value in values if value not in self.constants]
        if varying and len(varying) < len(values):
            shape = torch.broadcast_shapes(*(value.shape for value in values))
            if torch.broadcast_shapes(*(value.shape for value in varying)) == shape:
                inputs = tuple(self._literal(item) if isinstance(item, Value) else item for item in inputs)
        inputs = self._unexpanded(inputs)
        rank = max((len(value.shape) for value in values), default=0)

        def raised(item: Input) -> Input:
            if not isinstance(item, Value) or len(item.shape) == rank:
                return item
            return self.emit("reshape", item, shape=(1,) * (rank - len(item.shape)) + item.shape, dtype=item.dtype)

        return tuple(raised(item) for item in inputs)

    def _unexpanded(self, inputs: tuple[Input, ...]) -> tuple[Input, ...]:
        """Inputs before `expand`, where another input makes the shape: size-1 axes are broadcast anyway."""
        for n, item in enumerate(inputs):
            op = self.producer(item) if isinstance(item, Value) else None
            if op is None or op.kind != "expand":
                continue
            others = [other.shape for m, other in enumerate(inputs) if m != n and isinstance(other, Value)]
            source = op.values[0]
            if others and torch.broadcast_shapes(*others, source.shape) == torch.broadcast_shapes(*others, op.output.shape):
                inputs = (*inputs[:n], source, *inputs[n + 1 :])
        return inputs

    def _literal(self, value: Value) -> Input:
        tensor = self.constants.get(value)
        if tensor is None or tensor.numel() == 0:
            return value
        first = tensor.flatten()[0]
        return first.item() if bool((tensor == first).all()) else value

    def _simplified(self, kind: str, inputs: tuple[Input, ...]) -> Value | None:
        """The input that x * 1, x / 1, x + 0, x - 0 and x ** 1 are, x * -1 as a sign change, and a choice that is known."""
        if kind == "where" and not isinstance(inputs[0], Value):
            chosen, other = inputs[1:] if inputs[0] else inputs[:0:-1]
            value = chosen if isinstance(chosen, Value) else self.full((), chosen, other.dtype)  # type: ignore[union-attr]
            shape = torch.broadcast_shapes(*(item.shape for item in (chosen, other) if isinstance(item, Value)))
            raised = self.emit("reshape", value, shape=(1,) * (len(shape) - len(value.shape)) + value.shape)
            return self.emit("expand", raised, shape=shape)
        if kind not in ("mul", "add", "sub", "div", "pow"):
            return None
        a, b = inputs
        if kind in ("mul", "add") and not isinstance(a, Value):
            a, b = b, a
        neutral = {"mul": 1, "add": 0, "sub": 0, "div": 1, "pow": 1}[kind]
        if isinstance(a, Value) and not isinstance(b, Value):
            if b == neutral:
                return a
            if b == -1 and kind == "mul":
                return self.emit("neg", a)
            if kind == "pow" and b == 2:
                return self.emit("mul", a, a)
        return None


def _identity(kind: str, inputs: tuple[Input, ...], attributes: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    named = tuple(item.name if isinstance(item, Value) else (type(item), repr(item)) for item in inputs)
    return kind, named, tuple(sorted(attributes.items())), shape, dtype
