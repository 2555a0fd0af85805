"""One native function under construction: its text, and where the plan's values lie in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch

from carousel.engine.ir import Op, Value
from carousel.engine.native import math
from carousel.engine.native.layout import FORMS, Layout, Target
from carousel.engine.native.matvec import Product
from carousel.engine.native.place import Place
from carousel.engine.native.text import TYPES, Number, Text, Vectors
from carousel.errors import InputError

ALIGNMENT = 64
"""Bytes; a cache line, so that rows of the scratch share none."""

IN_REGISTERS = 512
"""Bytes up to which a value of a single row is a local variable, which LLVM can keep in registers."""


class Routine:
    """What the writers of units share.

    single:    the function runs one row at a time, not a block of rows.
    width:     lanes of a float32 vector.
    together:  threads divide the outputs of a large product among them, not only the rows.
    """

    def __init__(self, plan: Layout, width: int, single: bool, together: bool = False) -> None:
        self.plan, self.width, self.single, self.together = plan, width, single, together
        self.text = Text()
        self.locals: list[str] = []  # variables, at the head of the function
        self.packed: dict[tuple[Value, bool], str] = {}  # (matrix, transposed) -> where it lies packed
        self.functions: dict[str, str] = {}  # elementary functions it calls: symbol -> definition
        padded = {op.output: self.product(op.values[0], op.attributes["transposed"]).padded for op in self.matvecs()}
        self.scratch, self.scratch_bytes = plan.scratch(ALIGNMENT, padded)
        if together:  # all that a row has in one piece: other threads' rows may be at another unit
            self.scratch = {
                value: (start, self.scratch_bytes // value.dtype.itemsize) for value, (start, _) in self.scratch.items()
            }
        self.scratch_names = {value: f"%scratch{number}" for number, value in enumerate(self.scratch)}
        loop = plan.loop
        self._inputs: dict[Value, Place] = {}
        for stem, values in (("shared", loop.shared), ("per_row", loop.per_row), ("per_step", loop.per_step)):
            for number, value in enumerate(values):
                row = 0 if stem == "shared" else None
                self._inputs[value] = Place.contiguous(f"%{stem}{number}", value.shape, value.dtype, row)
        for number, carry in enumerate(loop.carried):
            self._inputs[carry.before] = Place.contiguous(f"%carried{number}", carry.before.shape, carry.before.dtype)

    def matvecs(self) -> list[Op]:
        """The products with shared matrices."""
        return [op for unit in self.plan.units for op in unit.ops if op.kind == "matvec"]

    # Types and functions.

    @staticmethod
    def type(dtype: torch.dtype) -> str:
        """LLVM's type of an element, as it is computed on."""
        if dtype not in TYPES:
            raise InputError(f'native: no lowering for {dtype}; use backend="eager"')
        return TYPES[dtype]

    @classmethod
    def memory_type(cls, dtype: torch.dtype) -> str:
        """LLVM's type of an element in memory: a bool takes a byte there."""
        kind = cls.type(dtype)
        return "i8" if kind == "i1" else kind

    def function(self, name: str, v: Vectors) -> str:
        """The symbol of an elementary function on the vectors of `v`."""
        symbol, definition = math.function(name, v.kind, v.lanes)
        self.functions[symbol] = definition
        return symbol

    def lanes(self, dtype: torch.dtype) -> int:
        """Elements of a vector."""
        return self.width // 2 if dtype.itemsize == 8 else self.width

    def product(self, weights: Value, transposed: bool) -> Product:
        """The product of a shared matrix with a vector."""
        m, k = reversed(weights.shape) if transposed else weights.shape
        return Product(m, k, weights.dtype, transposed, self.lanes(weights.dtype))

    def variable(self, kind: str) -> str:
        """A local variable of LLVM type `kind`."""
        name = self.text.unique("%local")
        self.locals.append(f"  {name} = alloca {kind}, align {ALIGNMENT}")
        return name

    @contextmanager
    def rows(self) -> Iterator[Number]:
        """The body for every row that still runs."""
        if self.single:
            yield 0
        else:
            with self.text.loop(0, "%active") as row:
                yield row

    # Places.

    def place(self, value: Value) -> Place:
        """Where readers find the value."""
        if value in self._inputs:
            return self._inputs[value]
        producer = self.plan.producer[value]
        if FORMS[producer.kind] == "view":
            seen = self.place(producer.values[0]).seen(producer.kind, producer.attributes, value.shape)
            assert seen is not None, f"{producer.kind} of {value.name} needs a copy that the plan did not foresee"
            return seen
        target = self.plan.home(value)
        if target is not None:
            return self._target(value, target)
        return Place.contiguous(self.scratch_names[value], value.shape, value.dtype, self.scratch[value][1])

    def stores(self, value: Value) -> list[Place]:
        """All places that an elementwise value is stored in."""
        targets = self.plan.targets.get(value, [])
        places = [self._target(value, target) for target in targets if target.where not in ("summed", "row_summed")]
        if value in self.scratch_names:
            places.append(self.place(value))
        return places

    def sums(self, value: Value) -> list[Place]:
        """All places that an elementwise value is added to."""
        return [
            self._target(value, target) for target in self.plan.targets.get(value, []) if target.where in ("summed", "row_summed")
        ]

    def _target(self, value: Value, target: Target) -> Place:
        if target.cat is not None:
            return self.place(target.cat).sliced(target.axis, target.start, value.shape[target.axis])
        row = 0 if target.where == "summed" else None
        return Place.contiguous(f"%{target.where}{target.index}", value.shape, value.dtype, row)

    def address(self, place: Place, row: Number) -> str:
        """The address of a row's first element."""
        text = self.text
        return text.at(place.base, text.add(text.mul(row, place.row), place.offset), self.memory_type(place.dtype))

    def is_local(self, value: Value) -> bool:
        """Whether a value of the scratch or a carry is a local variable."""
        return self.single and max(prod(value.shape), 1) * value.dtype.itemsize <= IN_REGISTERS
