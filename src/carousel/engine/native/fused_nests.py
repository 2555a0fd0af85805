"""Fused nests: elementwise operations and reductions over one shape, as loops over rows, axes and vectors.

Axes that every access sees as one run are joined; the last one is cut into vectors, its rest into
shorter ones by powers of two (masked stores are several times slower). A reduction adds into its
result, which has stride 0 along the reduced axes; where the vectors themselves are reduced, into a
vector of partial results that is folded at the end of the run. Where the last axis is one vector and
the one before it is reduced (as with rows for lanes), that vector is held while the run goes by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from carousel.engine.ir import Op, Value
from carousel.engine.native import elementwise
from carousel.engine.native.layout import FORMS, Unit
from carousel.engine.native.place import Place
from carousel.engine.native.routine import Routine
from carousel.engine.native.text import Number, Vectors

UNROLLED = 4
"""So many vectors of one row are written out one after the other, and LLVM can then keep them in registers."""


@dataclass
class Reduction:
    """A sum, maximum or minimum on its way: the running vector, where the vectors themselves are reduced."""

    op: Op
    place: Place
    running: str = ""
    held: bool = False  # over the axis before the last, the last one being a single vector
    scalars: list[str] = field(default_factory=list)


class Nest:
    """Writes one fused unit."""

    def __init__(self, routine: Routine, unit: Unit) -> None:
        self.routine, self.text, self.unit = routine, routine.text, unit
        assert unit.shape is not None
        self.shape = unit.shape
        self.inside = {op.output for op in unit.ops if FORMS[op.kind] == "elementwise"}
        self.reads = {value: routine.place(value) for value in self._outside()}
        self.stores = [
            (op.output, place) for op in unit.ops if FORMS[op.kind] == "elementwise" for place in routine.stores(op.output)
        ]
        self.sums = [(op.output, place) for op in unit.ops if FORMS[op.kind] == "elementwise" for place in routine.sums(op.output)]
        self.reductions = [Reduction(op, self._kept(op)) for op in unit.ops if FORMS[op.kind] != "elementwise"]
        wide = any(value.dtype.itemsize == 8 for op in unit.ops for value in (*op.values, op.output))
        self.lanes = routine.width // 2 if wide else routine.width
        self._join_axes()

    def _outside(self) -> list[Value]:
        """What the nest reads from memory, each once."""
        return list(dict.fromkeys(value for op in self.unit.ops for value in op.values if value not in self.inside))

    def _kept(self, op: Op) -> Place:
        """The place of a reduction's result as the nest walks it: stride 0 along the reduced axes."""
        place, strides = self.routine.place(op.output), []
        kept = iter(place.strides)
        for axis in range(len(self.shape)):
            strides.append(0 if axis in op.attributes["axes"] else next(kept))
        return replace(place, shape=self.shape, strides=tuple(strides))

    def _broadcast(self, place: Place) -> Place:
        strides = tuple(0 if size == 1 else stride for size, stride in zip(place.shape, place.strides, strict=True))
        return replace(place, shape=self.shape, strides=strides)

    def _join_axes(self) -> None:
        """Drop axes of size 1 and join neighbours that all accesses see as one run."""
        self.reads = {value: self._broadcast(place) for value, place in self.reads.items()}
        places = [*self.reads.values(), *(place for _, place in self.stores + self.sums), *(r.place for r in self.reductions)]
        kept: list[int] = []
        sizes: list[int] = []
        for axis, size in enumerate(self.shape):
            if size == 1:
                continue
            if kept and all(place.strides[kept[-1]] == place.strides[axis] * size for place in places):
                kept[-1], sizes[-1] = axis, sizes[-1] * size
            else:
                kept.append(axis)
                sizes.append(size)
        self.sizes = sizes

        def joined(place: Place) -> Place:
            return replace(place, shape=tuple(sizes), strides=tuple(place.strides[axis] for axis in kept))

        self.reads = {value: joined(place) for value, place in self.reads.items()}
        self.stores = [(value, joined(place)) for value, place in self.stores]
        self.sums = [(value, joined(place)) for value, place in self.sums]
        for reduction in self.reductions:
            reduction.place = place = joined(reduction.place)
            reduction.held = self._is_vector() and place.strides[-2] == 0 != place.strides[-1]

    def _is_vector(self) -> bool:
        """Whether the last of several axes is one vector."""
        return len(self.sizes) > 1 and self.sizes[-1] <= self.lanes and self.sizes[-1].bit_count() == 1

    def write(self) -> None:
        """Write the nest."""
        with self.routine.rows() as row:
            self._row = row
            self._addresses: dict[Place, str] = {}
            # Addresses of the row's first elements, before any loop of the nest begins.
            for place in [
                *self.reads.values(),
                *(place for _, place in self.stores + self.sums),
                *(r.place for r in self.reductions),
            ]:
                self._address(place)
            empty = prod(self.shape) == 0
            for reduction in self.reductions:
                if empty or self._stays(reduction):
                    self._fill(reduction)
            if not empty:
                self._axis(0, [])

    def _address(self, place: Place) -> str:
        if place not in self._addresses:
            index = self.text.add(self.text.mul(self._row, place.row), place.offset)
            self._addresses[place] = self.text.at(place.base, index, self.routine.memory_type(place.dtype))
        return self._addresses[place]

    def _axis(self, axis: int, outer: list[Number]) -> None:
        if axis >= len(self.sizes) - 1:
            self._run(outer)
            return
        held = [reduction for reduction in self.reductions if reduction.held and axis == len(self.sizes) - 2]
        for reduction in held:
            v = self._vectors(reduction.op.output, self.sizes[-1])
            self._begin(reduction, v)
        with self.text.loop(0, self.sizes[axis]) as index:
            self._axis(axis + 1, [*outer, index])
        for reduction in held:
            v = self._vectors(reduction.op.output, self.sizes[-1])
            value = self.text.new(f"load {v.type}, ptr {reduction.running}")
            if self._stays(reduction):
                value = self._combined(v, reduction.op, self._load(reduction.place, [*outer, 0], 0, v.lanes), value)
            self._store(reduction.place, value, [*outer, 0], 0, v.lanes)

    def _begin(self, reduction: Reduction, v: Vectors) -> None:
        """A running vector that adds nothing yet."""
        reduction.running = self.routine.variable(v.type)
        self.text.line(f"store {v.type} {v.constant(self._identity(reduction.op))}, ptr {reduction.running}")

    def _run(self, outer: list[Number]) -> None:
        """The last axis, in vectors."""
        size = self.sizes[-1] if self.sizes else 1
        whole = size // self.lanes * self.lanes
        for reduction in self.reductions:
            if self._folds(reduction):
                reduction.scalars = []
                if whole:
                    self._begin(reduction, self._vectors(reduction.op.output, self.lanes))
        if self.routine.single and whole <= UNROLLED * self.lanes:
            for start in range(0, whole, self.lanes):
                self._body(outer, start, self.lanes)
        elif whole:
            with self.text.loop(0, whole, self.lanes) as index:
                self._body(outer, index, self.lanes)
        for reduction in self.reductions:
            if self._folds(reduction) and whole:
                v = self._vectors(reduction.op.output, self.lanes)
                reduction.scalars.append(self._folded(v, reduction.op, self.text.new(f"load {v.type}, ptr {reduction.running}")))
        start, lanes = whole, self.lanes // 2
        while start < size:
            if size - start >= lanes:
                self._body(outer, start, lanes)
                start += lanes
            lanes //= 2
        for reduction in self.reductions:
            if self._folds(reduction):
                self._finish(reduction, outer)

    def _body(self, outer: list[Number], index: Number, lanes: int) -> None:
        """All operations on one vector; what is stored is stored last, so that a place may be read and replaced."""
        values: dict[Value, str] = {}

        def operand(op: Op, position: int) -> str:
            given = op.inputs[position]
            dtype = elementwise.argument_dtype(op, position, given)
            v = Vectors(self.text, elementwise.llvm_type(dtype, op), lanes)
            if not isinstance(given, Value):
                return v.constant(given)
            if given not in values:
                values[given] = self._load(self.reads[given], outer, index, lanes)
            return elementwise.cast(Vectors(self.text, elementwise.llvm_type(given.dtype, op), lanes), values[given], v.kind)

        for op in self.unit.ops:
            arguments = [operand(op, position) for position in range(len(op.inputs))]
            if op.kind == "cast":
                v = Vectors(self.text, elementwise.llvm_type(op.values[0].dtype, op), lanes)
                values[op.output] = elementwise.cast(v, arguments[0], elementwise.llvm_type(op.output.dtype, op))
            elif FORMS[op.kind] == "elementwise":
                v = Vectors(self.text, elementwise.llvm_type(elementwise.computing_dtype(op), op), lanes)
                values[op.output] = elementwise.apply(v, op, arguments, self.routine.function)
            else:
                self._reduce(next(r for r in self.reductions if r.op is op), arguments[0], outer, index, lanes)
        for value, place in self.stores:
            self._store(place, values[value], outer, index, lanes)
        for value, place in self.sums:
            v = self._vectors(value, lanes)
            so_far = self._load(place, outer, index, lanes)
            self._store(place, v.op("fadd" if v.kind in ("float", "double") else "add", so_far, values[value]), outer, index, lanes)

    def _vectors(self, value: Value, lanes: int) -> Vectors:
        return Vectors(self.text, self.routine.type(value.dtype), lanes)

    # Memory.

    def _element(self, place: Place, outer: list[Number], index: Number) -> str:
        offset: Number = 0
        for position, stride in zip([*outer, index], place.strides, strict=False):
            offset = self.text.add(offset, self.text.mul(position, stride))
        return self.text.at(self._address(place), offset, self.routine.memory_type(place.dtype))

    def _load(self, place: Place, outer: list[Number], index: Number, lanes: int) -> str:
        v = Vectors(self.text, self.routine.memory_type(place.dtype), lanes)
        stride = place.strides[-1] if place.strides else 0
        address = self._element(place, outer, index)
        if lanes == 1 or stride == 1:
            value = self.text.new(f"load {v.type}, ptr {address}, align {place.dtype.itemsize}")
        elif stride == 0:
            value = v.splat(self.text.new(f"load {v.kind}, ptr {address}"))
        else:
            value = "poison"
            for lane in range(lanes):
                one = self.text.new(f"load {v.kind}, ptr {self.text.at(address, lane * stride, v.kind)}")
                value = self.text.new(f"insertelement {v.type} {value}, {v.kind} {one}, i64 {lane}")
        return v.cast("trunc", value, "i1") if v.kind == "i8" else value

    def _store(self, place: Place, value: str, outer: list[Number], index: Number, lanes: int) -> None:
        v = Vectors(self.text, self.routine.memory_type(place.dtype), lanes)
        if v.kind == "i8":
            value = v.to("i1").cast("zext", value, "i8")
        stride = place.strides[-1] if place.strides else 1
        address = self._element(place, outer, index)
        if lanes == 1 or stride == 1:
            self.text.line(f"store {v.type} {value}, ptr {address}, align {place.dtype.itemsize}")
            return
        for lane in range(lanes):
            one = self.text.new(f"extractelement {v.type} {value}, i64 {lane}")
            self.text.line(f"store {v.kind} {one}, ptr {self.text.at(address, lane * stride, v.kind)}")

    # Reductions.

    def _folds(self, reduction: Reduction) -> bool:
        """Whether the vectors themselves are reduced."""
        return not self.sizes or reduction.place.strides[-1] == 0

    def _stays(self, reduction: Reduction) -> bool:
        """Whether another run adds to the same result."""
        if reduction.held:
            return any(stride == 0 for stride in reduction.place.strides[:-2])
        return any(stride == 0 for stride in reduction.place.strides[:-1]) or not self._folds(reduction)

    def _identity(self, op: Op) -> float | int:
        if op.kind == "sum":
            return 0
        if op.output.dtype.is_floating_point:
            return float("-inf") if op.kind == "max" else float("inf")
        bound = 2 ** (8 * op.output.dtype.itemsize - 1)
        return -bound if op.kind == "max" else bound - 1

    def _fill(self, reduction: Reduction) -> None:
        """Set a result to what adds nothing, before runs add to it."""
        place = self.routine.place(reduction.op.output)
        v = self._vectors(reduction.op.output, 1)
        constant = v.constant(self._identity(reduction.op))
        address = self._address(place)
        with self.text.loop(0, prod(place.shape)) as index:
            self.text.line(f"store {v.type} {constant}, ptr {self.text.at(address, index, v.kind)}, align {place.dtype.itemsize}")

    def _combined(self, v: Vectors, op: Op, a: str, b: str) -> str:
        floating = v.kind in ("float", "double")
        if op.kind == "sum":
            return v.op("fadd" if floating else "add", a, b)
        return v.call({"max": "maximum", "min": "minimum"}[op.kind] if floating else {"max": "smax", "min": "smin"}[op.kind], a, b)

    def _reduce(self, reduction: Reduction, value: str, outer: list[Number], index: Number, lanes: int) -> None:
        v = self._vectors(reduction.op.output, lanes)
        if not self._folds(reduction) and not reduction.held:
            so_far = self._load(reduction.place, outer, index, lanes)
            self._store(reduction.place, self._combined(v, reduction.op, so_far, value), outer, index, lanes)
        elif reduction.held or lanes == self.lanes:
            so_far = self.text.new(f"load {v.type}, ptr {reduction.running}")
            self.text.line(f"store {v.type} {self._combined(v, reduction.op, so_far, value)}, ptr {reduction.running}")
        else:
            reduction.scalars.append(self._folded(v, reduction.op, value))

    def _folded(self, v: Vectors, op: Op, value: str) -> str:
        return v.folded(value, lambda half, a, b: self._combined(half, op, a, b))

    def _finish(self, reduction: Reduction, outer: list[Number]) -> None:
        v = self._vectors(reduction.op.output, 1)
        value = reduction.scalars[0]
        for scalar in reduction.scalars[1:]:
            value = self._combined(v, reduction.op, value, scalar)
        if self._stays(reduction):
            value = self._combined(v, reduction.op, self._load(reduction.place, outer, 0, 1), value)
        self._store(reduction.place, value, outer, 0, 1)
