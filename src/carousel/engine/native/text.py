"""Writing LLVM's text: instructions, loops and constants, line by line.

Text is written straight and parsed once by LLVM; building its objects one by one from Python
takes several times as long. Everything that is computed on is a vector, of one lane where need be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.bool: "i1",
}
"""The element types, as they are computed on."""

Number = str | int
"""An i64: the name of a value, or a constant."""


def literal(value: float | int | bool, kind: str) -> str:
    """A scalar constant of LLVM type `kind`; floats as the bits of a double, the way LLVM reads them exactly."""
    if kind == "float":
        value = (
            struct.unpack("f", struct.pack("f", value))[0]
            if abs(value) < 3.5e38
            else value * float("inf")
            if value == value
            else value
        )
    if kind in ("float", "double"):
        return f"0x{struct.unpack('Q', struct.pack('d', float(value)))[0]:016X}"
    return str(int(value)) if kind != "i1" else str(bool(value)).lower()


class Text:
    """A function body under construction."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.block = "entry"
        self.count = 0

    def unique(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def new(self, instruction: str) -> str:
        """Write an instruction; the name of its value."""
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    # Integers and addresses.

    def add(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.new(f"add nsw i64 {a}, {b}")

    def mul(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if a == 1 or b == 1:
            return b if a == 1 else a
        return self.new(f"mul nsw i64 {a}, {b}")

    def minimum(self, a: Number, b: Number) -> str:
        return self.new(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    def maximum(self, a: Number, b: Number) -> str:
        return self.new(f"call i64 @llvm.smax.i64(i64 {a}, i64 {b})")

    def at(self, base: str, index: Number, kind: str) -> str:
        """The address of element `index` of the array of `kind` at `base`."""
        return base if index == 0 else self.new(f"getelementptr inbounds {kind}, ptr {base}, i64 {index}")

    # Control.

    @contextmanager
    def loop(self, start: Number, stop: Number, step: Number = 1) -> Iterator[Number]:
        """The body of `for (i = start; i < stop; i += step)`; a single round is written without a loop."""
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and start < stop <= start + step:
            yield start
            return
        n = self.unique("")
        index, before = f"%i{n}", self.block
        self.line(f"br label %head{n}")
        self.label(f"head{n}")
        self.line(f"{index} = phi i64 [ {start}, %{before} ], [ {index}.next, %latch{n} ]")
        more = self.new(f"icmp slt i64 {index}, {stop}")
        self.line(f"br i1 {more}, label %body{n}, label %done{n}")
        self.label(f"body{n}")
        yield index
        self.line(f"br label %latch{n}")
        self.label(f"latch{n}")
        self.line(f"{index}.next = add nsw i64 {index}, {step}")
        self.line(f"br label %head{n}")
        self.label(f"done{n}")

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """The body of `if (condition)`, which is an i1."""
        n = self.unique("")
        self.line(f"br i1 {condition}, label %then{n}, label %after{n}")
        self.label(f"then{n}")
        yield
        self.line(f"br label %after{n}")
        self.label(f"after{n}")


class Vectors:
    """Arithmetic on vectors of `lanes` elements, written into a `Text`."""

    def __init__(self, text: Text, kind: str, lanes: int) -> None:
        self.text, self.kind, self.lanes = text, kind, lanes
        self.type = f"<{lanes} x {kind}>"
        self.suffix = f"v{lanes}{ {'float': 'f32', 'double': 'f64'}.get(kind, kind) }"

    def to(self, kind: str) -> Vectors:
        """The same lanes with another element type."""
        return Vectors(self.text, kind, self.lanes)

    def constant(self, value: float | int | bool) -> str:
        return f"splat ({self.kind} {literal(value, self.kind)})"

    def bits(self, pattern: int) -> str:
        return f"splat ({self.kind} {pattern})"

    def splat(self, scalar: str) -> str:
        """A scalar in all lanes."""
        one = self.text.new(f"insertelement {self.type} poison, {self.kind} {scalar}, i64 0")
        if self.lanes == 1:
            return one
        return self.text.new(f"shufflevector {self.type} {one}, {self.type} poison, <{self.lanes} x i32> zeroinitializer")

    def op(self, name: str, a: str, b: str) -> str:
        return self.text.new(f"{name} {self.type} {a}, {b}")

    def add(self, a: str, b: str) -> str:
        return self.op("fadd", a, b)

    def sub(self, a: str, b: str) -> str:
        return self.op("fsub", a, b)

    def mul(self, a: str, b: str) -> str:
        return self.op("fmul", a, b)

    def div(self, a: str, b: str) -> str:
        return self.op("fdiv", a, b)

    def neg(self, a: str) -> str:
        return self.text.new(f"fneg {self.type} {a}")

    def fma(self, a: str, b: str, c: str) -> str:
        """a b + c, rounded once, on every machine."""
        return self.call("fma", a, b, c)

    def call(self, name: str, *arguments: str) -> str:
        given = ", ".join(f"{self.type} {argument}" for argument in arguments)
        return self.text.new(f"call {self.type} @llvm.{name}.{self.suffix}({given})")

    def compare(self, predicate: str, a: str, b: str) -> str:
        return self.text.new(f"{'fcmp' if self.kind in ('float', 'double') else 'icmp'} {predicate} {self.type} {a}, {b}")

    def truth(self, a: str) -> str:
        """Whether each lane is not 0, as i1."""
        if self.kind == "i1":
            return a
        return self.compare("une" if self.kind in ("float", "double") else "ne", a, self.constant(0))

    def select(self, condition: str, a: str, b: str) -> str:
        return self.text.new(f"select <{self.lanes} x i1> {condition}, {self.type} {a}, {self.type} {b}")

    def cast(self, name: str, a: str, kind: str) -> str:
        """`a` changed by the LLVM instruction `name` into lanes of another kind."""
        return self.text.new(f"{name} {self.type} {a} to <{self.lanes} x {kind}>")

    def all(self, condition: str) -> str:
        return self.text.new(f"call i1 @llvm.vector.reduce.and.v{self.lanes}i1(<{self.lanes} x i1> {condition})")

    def polynomial(self, x: str, coefficients: list[float]) -> str:
        """Horner's rule, highest power first."""
        value = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fma(value, x, self.constant(coefficient))
        return value

    def folded(self, value: str, combine: Callable[[Vectors, str, str], str]) -> str:
        """One lane that holds all of the vector's, combined by halves."""
        v = self
        while v.lanes > 1:
            half = Vectors(self.text, self.kind, v.lanes // 2)
            parts = []
            for start in (0, half.lanes):
                mask = ", ".join(f"i32 {lane}" for lane in range(start, start + half.lanes))
                parts.append(self.text.new(f"shufflevector {v.type} {value}, {v.type} poison, <{half.lanes} x i32> <{mask}>"))
            value, v = combine(half, *parts), half
        return value

    def lanewise(self, function: str, *arguments: str) -> str:
        """The scalar C function of every lane."""
        value = "poison"
        for lane in range(self.lanes):
            given = [self.text.new(f"extractelement {self.type} {argument}, i64 {lane}") for argument in arguments]
            one = self.text.new(f"call {self.kind} @{function}({', '.join(f'{self.kind} {scalar}' for scalar in given)})")
            value = self.text.new(f"insertelement {self.type} {value}, {self.kind} {one}, i64 {lane}")
        return value
