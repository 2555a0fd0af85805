"""The kernel of large products: rows of a block times a packed matrix, held tile by tile in registers.

The matrix lies in panels of two vectors of outputs, one input after the other, so that memory is
read in order. A tile of up to six or twelve rows by one panel (one or two rows by several panels) is
held in registers while a panel's inputs go by. The order of summation of one output is that of the inputs,
whatever the tile: a row's result does not depend on the rows beside it.

The kernel is compiled once for an element type, apart from the loops that call it.
"""

from __future__ import annotations

from functools import cache

from carousel.engine.native import jit
from carousel.engine.native.text import Number, Text, Vectors

SIZES = {"float": 4, "double": 8}

PANEL = 2
"""Vectors of a panel."""

AHEAD = 4096
"""Bytes of a panel that are fetched before they are multiplied: a processor by itself does not look past the end of a page."""

FEW = {1: 4, 2: 2}
"""Panels at a time where there are so few rows that one panel's sums would not keep the adders busy."""

PREFETCH = "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)"

ARGUMENTS = "ptr %y, i64 %y_row, ptr %packed, ptr %x, i64 %x_row, i64 %rows, i64 %panels, i64 %k"
TILE_ARGUMENTS = "ptr %y, i64 %y_row, ptr %packed, ptr %x, i64 %x_row, i64 %k"


def height(kind: str, lanes: int) -> int:
    """Rows of the largest tile: its sums and what is multiplied fill sixteen registers; there are thirty-two of 64 bytes."""
    return 12 if lanes * SIZES[kind] == 64 else 6


def name(kind: str, lanes: int) -> str:
    """The kernel's symbol."""
    return f"matvec.v{lanes}{kind}"


def declaration(kind: str, lanes: int) -> str:
    """What a module that calls the kernel says of it."""
    return f"declare void @{name(kind, lanes)}(ptr, i64, ptr, ptr, i64, i64, i64, i64) nounwind"


@cache
def library(kind: str, lanes: int) -> jit.Library:
    """The kernel, loaded."""
    text = definition(kind, lanes)
    return jit.load(text, [name(kind, lanes)], lambda: text, unroll=True)


def definition(kind: str, lanes: int) -> str:
    """The kernel and its tiles: y[r, :] = W x[r, :] for `rows` rows, rows of y and x being so many elements apart."""
    shapes = [(rows, panels) for rows, most in FEW.items() for panels in (most, 1)] + [
        (rows, 1) for rows in range(3, height(kind, lanes) + 1)
    ]
    text = Text()
    for rows in FEW:
        with text.when(text.new(f"icmp eq i64 %rows, {rows}")):
            _few_rows(text, kind, lanes, rows)
    with text.when(text.new(f"icmp sgt i64 %rows, {max(FEW)}")):
        _many_rows(text, kind, lanes)
    text.line("ret void")
    head = f"define void @{name(kind, lanes)}({ARGUMENTS}) nounwind {{"
    return "\n".join([PREFETCH, *(_tile(kind, lanes, *shape) for shape in shapes), head, "entry:", *text.lines, "}"])


def _few_rows(text: Text, kind: str, lanes: int, rows: int) -> None:
    """One tile of rows; several panels at a time, then what is left one by one."""
    start: Number = 0
    for panels in (FEW[rows], 1):
        count = text.new(f"sub i64 %panels, {start}")
        stop = text.add(start, text.mul(text.new(f"sdiv i64 {count}, {panels}"), panels))
        with text.loop(start, stop, panels) as panel:
            _call(text, kind, lanes, (rows, panels), panel, 0)
        start = stop


def _many_rows(text: Text, kind: str, lanes: int) -> None:
    """Panel by panel, so that one stays in the first cache while all rows pass, in tiles of even height."""
    most = height(kind, lanes)
    count = text.new(f"sdiv i64 {text.add('%rows', most - 1)}, {most}")
    with text.loop(0, "%panels") as panel, text.loop(0, count) as tile:
        first = text.new(f"sdiv i64 {text.mul(tile, '%rows')}, {count}")
        last = text.new(f"sdiv i64 {text.mul(text.add(tile, 1), '%rows')}, {count}")
        tall = text.new(f"sub i64 {last}, {first}")
        for rows in range(3, most + 1):
            with text.when(text.new(f"icmp eq i64 {tall}, {rows}")):
                _call(text, kind, lanes, (rows, 1), panel, first)


def _call(text: Text, kind: str, lanes: int, shape: tuple[int, int], panel: Number, row: Number) -> None:
    width = PANEL * lanes
    y = text.at("%y", text.add(text.mul(panel, width), text.mul(row, "%y_row")), kind)
    packed = text.at("%packed", text.mul(text.mul(panel, width), "%k"), kind)
    x = text.at("%x", text.mul(row, "%x_row"), kind)
    text.line(f"call void @{_tile_name(*shape)}(ptr {y}, i64 %y_row, ptr {packed}, ptr {x}, i64 %x_row, i64 %k)")


def _tile_name(rows: int, panels: int) -> str:
    return f"tile.{rows}x{panels}"


def _tile(kind: str, lanes: int, rows: int, panels: int) -> str:
    """`rows` rows by `panels` panels: every sum in a register of its own."""
    text = Text()
    v = Vectors(text, kind, lanes)
    width, size = PANEL * lanes, SIZES[kind]
    x = [text.at("%x", text.mul("%x_row", row), kind) for row in range(rows)]
    y = [text.at("%y", text.mul("%y_row", row), kind) for row in range(rows)]
    weights = [text.at("%packed", text.mul("%k", panel * width), kind) for panel in range(panels)]
    columns = [(panel, start) for panel in range(panels) for start in range(0, width, lanes)]
    sums = {(row, column): f"%sum{row}.{n}" for n, column in enumerate(columns) for row in range(rows)}

    text.line("br label %loop")
    text.label("loop")
    text.line("%j = phi i64 [ 0, %entry ], [ %next, %loop ]")
    for total in sums.values():
        text.line(f"{total} = phi {v.type} [ zeroinitializer, %entry ], [ {total}.next, %loop ]")
    weights_now = []
    for panel, start in columns:
        address = text.at(weights[panel], text.add(text.mul("%j", width), start), kind)
        text.line(f"call void @llvm.prefetch.p0(ptr {text.at(address, AHEAD // size, kind)}, i32 0, i32 3, i32 1)")
        weights_now.append(text.new(f"load {v.type}, ptr {address}, align {size}"))
    for row in range(rows):  # one input at a time: all of them at once would not fit the registers
        one = v.splat(text.new(f"load {kind}, ptr {text.at(x[row], '%j', kind)}"))
        for column, loaded in zip(columns, weights_now, strict=True):
            total = sums[row, column]
            factors = f"{v.type} {loaded}, {v.type} {one}, {v.type} {total}"
            text.line(f"{total}.next = call {v.type} @llvm.fma.{v.suffix}({factors})")
    text.line("%next = add nsw i64 %j, 1")
    text.line(f"br i1 {text.new('icmp slt i64 %next, %k')}, label %loop, label %done")
    text.label("done")
    for (row, (panel, start)), total in sums.items():
        text.line(f"store {v.type} {total}.next, ptr {text.at(y[row], panel * width + start, kind)}, align {size}")
    text.line("ret void")
    head = f"define internal void @{_tile_name(rows, panels)}({TILE_ARGUMENTS}) nounwind noinline {{"
    return "\n".join([head, "entry:", *text.lines, "}"])
