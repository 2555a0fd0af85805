"""Rows into blocks and back: (T, B, ...) to (T, blocks, ..., L), the same element of L rows side by side.

Both ways are a walk over the elements with four loops; PyTorch's copy between such strides takes several times as long.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod

from torch import Tensor

from carousel.engine.native import jit, threads
from carousel.engine.native.text import Text

WORDS = ("T", "B", "blocks", "L", "size", "rows", "lanes")
"""Of the table that the functions read; the last two are addresses: (T, B, size) and (T, blocks, size, L)."""


@dataclass(frozen=True)
class Blocks:
    """How B rows of T steps become blocks of L. Lanes that the last block has to spare are zero, and left out of the way back."""

    T: int
    B: int
    L: int

    @property
    def count(self) -> int:
        """Blocks."""
        return -(-self.B // self.L)

    def of_rows(self, x: Tensor) -> Tensor:
        """(B, ...) to (blocks, ..., L)."""
        return self._into(x, 1)

    def of_steps(self, x: Tensor) -> Tensor:
        """(T B, ...) to (T blocks, ..., L)."""
        return self._into(x, self.T)

    def to_rows(self, wide: Tensor, x: Tensor) -> None:
        """(blocks, ..., L) into x (B, ...)."""
        self._move("into_rows", x, wide, 1)

    def to_steps(self, wide: Tensor, x: Tensor) -> None:
        """(T blocks, ..., L) into x (T B, ...)."""
        self._move("into_rows", x, wide, self.T)

    def _into(self, x: Tensor, T: int) -> Tensor:
        make = x.new_empty if self.B % self.L == 0 else x.new_zeros
        wide = make(T * self.count, *x.shape[1:], self.L)
        self._move("into_lanes", x, wide, T)
        return wide

    def _move(self, name: str, x: Tensor, wide: Tensor, T: int) -> None:
        words = (ctypes.c_int64 * len(WORDS))(T, self.B, self.count, self.L, prod(x.shape[1:]), x.data_ptr(), wide.data_ptr())
        _functions(x.element_size())[name](ctypes.addressof(words), 0)


@cache
def _functions(size: int) -> dict[str, Callable[[int, int], None]]:
    """Both ways for elements of so many bytes."""
    names = ["into_lanes", "into_rows"]
    text = "\n".join(["declare i64 @llvm.smin.i64(i64, i64)", *(_definition(name, f"i{8 * size}") for name in names)])
    library = jit.load(text, names, lambda: text, unroll=True)
    return {name: _Held(library, library.addresses[name]) for name in names}


class _Held:
    """A function of a library, which is there as long as it is."""

    def __init__(self, library: jit.Library, address: int) -> None:
        self._library, self._function = library, threads.Function(address)

    def __call__(self, arguments: int, thread: int) -> None:
        self._function(arguments, thread)


def _definition(name: str, kind: str) -> str:
    text = Text()
    for number, word in enumerate(WORDS):
        text.line(f"%{word} = load {'i64' if number < 5 else 'ptr'}, ptr {text.at('%arguments', number, 'i64')}")
    with text.loop(0, "%T") as t, text.loop(0, "%blocks") as block:
        first = text.mul(block, "%L")
        held = text.minimum("%L", text.new(f"sub i64 %B, {first}"))
        rows = text.at("%rows", text.mul(text.add(text.mul(t, "%B"), first), "%size"), kind)
        lanes = text.at("%lanes", text.mul(text.mul(text.add(text.mul(t, "%blocks"), block), "%size"), "%L"), kind)
        with text.loop(0, "%size") as element:
            of_rows, of_lanes = text.at(rows, element, kind), text.at(lanes, text.mul(element, "%L"), kind)
            with text.loop(0, held) as lane:
                places = text.at(of_rows, text.mul(lane, "%size"), kind), text.at(of_lanes, lane, kind)
                source, target = places if name == "into_lanes" else places[::-1]
                text.line(f"store {kind} {text.new(f'load {kind}, ptr {source}')}, ptr {target}")
    text.line("ret void")
    return "\n".join([f"define void @{name}(ptr %arguments, i64 %thread) nounwind {{", "entry:", *text.lines, "}"])
