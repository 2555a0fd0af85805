"""Which operations of a loop run together, and where their values lie.

A `Layout` turns the operations into units, run one after the other at every step. A unit is either a
fused nest, elementwise operations and reductions over one shape whose values pass from one to the
next in registers, or one operation of another kind. Views need no unit. Values are written where
they are wanted: in their slot of a cat, in the memory of the whole sequence, over the state they
replace; what is left lies in a scratch whose parts are used again as soon as they are free.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import torch

from carousel.engine.ir import Loop, Op, Value
from carousel.engine.kinds import KINDS
from carousel.engine.native.place import Place
from carousel.errors import InputError

FORMS: dict[str, str] = {"copy": "elementwise", **{name: row.form for name, row in KINDS.items()}}
"""How each kind is run; `copy` is the lowering's own: its output is its input, in a place of its own."""


@dataclass(frozen=True)
class Target:
    """A place that an elementwise value is stored in, or added to: an entry of a list of the loop, or a slot of a cat."""

    where: str  # "written", "carried", "summed", "row_summed", "slot"
    index: int = 0
    cat: Value | None = None
    axis: int = 0
    start: int = 0


@dataclass
class Unit:
    """What runs together: a fused nest over `shape`, or one operation (`shape` is None)."""

    shape: tuple[int, ...] | None
    ops: list[Op]


@dataclass
class Layout:
    """The units of a loop, in order, and what becomes of each value."""

    loop: Loop
    units: list[Unit] = field(default_factory=list)
    targets: dict[Value, list[Target]] = field(default_factory=dict)
    producer: dict[Value, Op] = field(default_factory=dict)
    unit_of: dict[Value, int] = field(default_factory=dict)
    dense: set[Value] = field(default_factory=set)  # values that something reads as one contiguous run

    @staticmethod
    def of(loop: Loop) -> Layout:
        """The plan of a loop; InputError for an operation that has no lowering."""
        plan = Layout(loop)
        ops = plan._rewritten()
        for op in ops:
            plan._schedule(op)
        plan._sink()
        plan._hand_on()
        return plan

    # Rewriting: what is left are views, cats whose parts are written in place, and units.

    def _rewritten(self) -> list[Op]:
        self._ops: list[Op] = []
        self._views: dict[Value, Place] = {}  # of every value, with what it is a view of taken to be contiguous
        for op in self.loop.ops:
            self._rewrite(op)
        for where in ("written", "summed", "row_summed"):
            for index, value in enumerate(getattr(self.loop, where)):
                self._send(value, Target(where, index))
        self._after = [self._elementwise(carry.after) for carry in self.loop.carried]
        return self._ops

    def _rewrite(self, op: Op) -> None:
        form = FORMS.get(op.kind)
        if form is None:
            raise InputError(f'native: no lowering for the operation {op.kind!r} of {op.line or "this step"}; use backend="eager"')
        if form == "view":
            seen = self._view(op.values[0]).seen(op.kind, op.attributes, op.output.shape)
            if seen is None:
                copied = self._copy(op.values[0])
                self._rewrite(Op(op.kind, (copied,), op.output, op.attributes, op.line))
                return
            if op.kind == "reshape":
                self.dense.add(self.root(op.values[0]))
            self._emit(op)
            self._views[op.output] = seen
        elif op.kind == "outer":
            a, b = op.values
            (m,), (n,) = a.shape, b.shape
            column, row = self._reshape(a, (m, 1)), self._reshape(b, (1, n))
            self._emit(Op("mul", (column, row), op.output, line=op.line))
        elif op.kind == "cat":
            parts = [self._elementwise(part) for part in op.values]
            start, axis = 0, op.attributes["axis"]
            for part in parts:
                self.targets.setdefault(part, []).append(Target("slot", cat=op.output, axis=axis, start=start))
                start += part.shape[axis]
            self._emit(Op(op.kind, tuple(parts), op.output, op.attributes, op.line))
        elif op.kind == "matvec":
            weights, x = op.values
            if not self._view(x).is_contiguous:
                x = self._copy(x)
            self.dense.add(self.root(x))
            self._emit(Op(op.kind, (weights, x), op.output, op.attributes, op.line))
        else:
            self._emit(op)

    def _emit(self, op: Op) -> None:
        self._ops.append(op)
        self.producer[op.output] = op

    def _view(self, value: Value) -> Place:
        return self._views.get(value) or Place.contiguous("", value.shape, value.dtype)

    def _value(self, stem: str, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        return Value(f"{stem}'{len(self._ops)}", shape, dtype)

    def _reshape(self, value: Value, shape: tuple[int, ...]) -> Value:
        output = self._value(value.name, shape, value.dtype)
        self._rewrite(Op("reshape", (value,), output))
        return output

    def _copy(self, value: Value) -> Value:
        output = self._value(value.name, value.shape, value.dtype)
        self._emit(Op("copy", (value,), output))
        return output

    def _elementwise(self, value: Value) -> Value:
        """The value itself where an elementwise operation makes it, else a copy."""
        producer = self.producer.get(value)
        return value if producer is not None and FORMS[producer.kind] == "elementwise" else self._copy(value)

    def _send(self, value: Value, target: Target) -> None:
        """Have the value stored in the target by what makes it; a cat can be built in one place only."""
        producer = self.producer.get(value)
        if target.where == "written" and producer is not None and producer.kind == "cat" and value not in self.targets:
            self.targets[value] = [target]
            return
        self.targets.setdefault(self._elementwise(value), []).append(target)

    # Scheduling.

    def root(self, value: Value) -> Value:
        """What the value is a view of."""
        while (producer := self.producer.get(value)) is not None and FORMS[producer.kind] == "view":
            value = producer.values[0]
        return value

    def _schedule(self, op: Op) -> None:
        """Put the operation into the first fused nest that can take it, else into a new unit."""
        if FORMS[op.kind] in ("view", "cat"):
            self.unit_of[op.output] = max((self.unit_of.get(value, -1) for value in op.values), default=-1)
            return
        if FORMS[op.kind] == "single":
            self.units.append(Unit(None, [op]))
            self.unit_of[op.output] = len(self.units) - 1
            return
        shape = op.values[0].shape if FORMS[op.kind] == "reduction" else op.output.shape
        earliest = max((self._ready(value, shape) for value in op.values), default=0)
        for index in range(earliest, len(self.units)):
            if self.units[index].shape == shape:
                break
        else:
            index = len(self.units)
            self.units.append(Unit(shape, []))
        self.units[index].ops.append(op)
        self.unit_of[op.output] = index

    def _ready(self, value: Value, shape: tuple[int, ...]) -> int:
        """The first unit that can read the value: its own, where it passes in a register, or the next."""
        unit = self.unit_of.get(value, -1)
        producer = self.producer.get(value)
        in_register = producer is not None and FORMS[producer.kind] == "elementwise" and value.shape == shape
        return unit if in_register else unit + 1

    def _sink(self) -> None:
        """Move operations on to the last unit over their shape, where all that reads them is there too.

        They were put where they can first be computed, which for what waits for a later value only means to be stored and
        read again: here the traces of a learning rule, over all weights, meet the error that comes last.
        """
        readers: dict[Value, list[Op]] = {}
        for op in self._ops:
            for value in op.values:
                readers.setdefault(value, []).append(op)
        for index in range(len(self.units) - 1, -1, -1):
            unit = self.units[index]
            last = max((n for n in range(index, len(self.units)) if self.units[n].shape == unit.shape), default=index)
            if unit.shape is None or last == index:
                continue
            for op in reversed(unit.ops):
                target = self._destination(op, index, last, readers)
                if target is not None:
                    unit.ops = [other for other in unit.ops if other is not op]
                    self.units[target].ops.insert(0, op)  # what reads it is there already
                    self.unit_of[op.output] = target
        kept = [unit for unit in self.units if unit.ops]
        numbers = {id(unit): number for number, unit in enumerate(kept)}
        moved = [numbers.get(id(unit), -1) for unit in self.units]
        for op in self._ops:
            if FORMS[op.kind] in ("view", "cat"):
                self.unit_of[op.output] = max((self.unit_of.get(value, -1) for value in op.values), default=-1)
            else:
                self.unit_of[op.output] = moved[self.unit_of[op.output]]
        self.units = kept

    def _destination(self, op: Op, index: int, last: int, readers: dict[Value, list[Op]]) -> int | None:
        """The unit that an operation of unit `index` is moved to; None where it stays."""
        if FORMS[op.kind] != "elementwise":
            return None
        found = readers.get(op.output, [])
        units = {self.unit_of[reader.output] for reader in found}
        together = all(FORMS[reader.kind] not in ("view", "cat") for reader in found) and len(units) <= 1
        if not together or any(target.where == "slot" for target in self.targets.get(op.output, ())):
            return None
        target = units.pop() if units else last
        if target == index or self.units[target].shape != self.units[index].shape:
            return None
        # What it reads from a register here would have to be stored for it there.
        stored = 0
        for value in op.values:
            producer = self.producer.get(value)
            here = producer is not None and FORMS[producer.kind] == "elementwise" and self.unit_of.get(value) == index
            others = {self.unit_of[reader.output] for reader in readers[value] if reader is not op}
            stored += here and value.shape == self.units[index].shape and others == {index}
        return target if stored <= (1 if found else 0) else None

    def _hand_on(self) -> None:
        """Store each carry's new value over the old one: at once where nobody reads the old one any more, else last."""
        last: list[Unit] = []
        for index, (carry, after) in enumerate(zip(self.loop.carried, self._after, strict=True)):
            target = Target("carried", index)
            if self._is_last_reader(self.unit_of[after], carry.before):
                self.targets.setdefault(after, []).append(target)
                continue
            copied = Value(f"{after.name}'after{index}", after.shape, after.dtype)
            op = Op("copy", (after,), copied)
            self.producer[copied] = op
            self.targets[copied] = [target]
            last.append(Unit(after.shape, [op]))
        for unit in last:
            self.unit_of[unit.ops[0].output] = len(self.units)
            self.units.append(unit)

    def _is_last_reader(self, index: int, before: Value) -> bool:
        """Whether nothing after unit `index` reads `before`, and it itself reads only the element it will replace."""
        for number, unit in enumerate(self.units[index:]):
            for op in unit.ops:
                for value in op.values:
                    if self.root(value) == before and (number > 0 or value != before or unit.shape != before.shape):
                        return False
        return True

    # What must be in memory, and for how long.

    def must_be_stored(self, value: Value) -> bool:
        """Whether an elementwise value is read by other units than its own, or there otherwise than in a register."""
        return value in self._read_elsewhere()

    def _read_elsewhere(self) -> set[Value]:
        if not hasattr(self, "_elsewhere"):
            self._elsewhere = set()
            for index, unit in enumerate(self.units):
                for op in unit.ops:
                    for value in op.values:
                        root = self.root(value)
                        if self.unit_of.get(root) != index or root != value:
                            self._elsewhere.add(root)
        return self._elsewhere

    def scratch(self, alignment: int, pad: dict[Value, int]) -> tuple[dict[Value, tuple[int, int]], int]:
        """(value -> (first byte of a row's part, elements of a row), bytes of a row), each a multiple of `alignment`.

        `pad` gives the elements of values that need more than their own.
        """
        spans: dict[Value, list[int]] = {}
        for index, unit in enumerate(self.units):
            for op in unit.ops:
                slots = [target.cat for target in self.targets.get(op.output, ()) if target.cat is not None]
                for value in (*op.values, op.output, *slots):
                    owner = self._owner(value)
                    if owner is not None:
                        spans.setdefault(owner, [index, index])[1] = index
        places: dict[Value, tuple[int, int]] = {}
        used: list[tuple[int, int, int]] = []  # (first byte, end, last unit that needs it)
        total = 0
        for value, (first, last) in sorted(spans.items(), key=lambda item: item[1][0]):
            elements = pad.get(value, prod(value.shape))
            size = -(-max(elements, 1) * value.dtype.itemsize // alignment) * alignment
            used = sorted(entry for entry in used if entry[2] >= first)
            start = 0
            for begin, end, _ in used:
                if begin - start >= size:
                    break
                start = max(start, end)
            used.append((start, start + size, last))
            places[value] = (start, size // value.dtype.itemsize)
            total = max(total, start + size)
        return places, total

    def _owner(self, value: Value) -> Value | None:
        """The value whose scratch this one lies in; None where it lies elsewhere or only in registers."""
        value = self.root(value)
        while (target := self.home(value)) is not None and target.where == "slot":
            assert target.cat is not None
            value = target.cat
        producer = self.producer.get(value)
        if producer is None or target is not None:
            return None
        if FORMS[producer.kind] == "elementwise" and not self.must_be_stored(value):
            return None
        return value

    def home(self, value: Value) -> Target | None:
        """The target that readers of the value look at; None where it has scratch of its own."""
        for target in self.targets.get(value, ()):
            if target.where in ("summed", "row_summed"):
                continue
            if target.where == "slot" and value in self.dense and not self._slot_is_contiguous(target):
                continue
            return target
        return None

    @staticmethod
    def _slot_is_contiguous(target: Target) -> bool:
        assert target.cat is not None
        return prod(target.cat.shape[: target.axis]) == 1
