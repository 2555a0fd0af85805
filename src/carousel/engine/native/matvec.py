"""Products of a shared matrix with the vector of every row of a block.

y[r, :] = W x[r, :] or W^T x[r, :]. W is packed once a call. A small W lies column by column and its
product is written out in full for each row. A large one lies in panels of two or more vectors of
outputs, one input after the other, so that memory is read in order; a tile of up to six rows by one
panel (one or two rows by several panels) is held in registers while a panel's inputs go by. The
order of summation of one output is that of the inputs, whatever the tile: a row's result does not
depend on the rows beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from carousel.engine.native.text import TYPES, Number, Text, Vectors

TILE_ROWS = 6
SMALL_PRODUCTS = 1024
SMALL_INSTRUCTIONS = 160


@dataclass(frozen=True)
class Product:
    """The shape of one product: m outputs, k inputs; `lanes` elements of `dtype` a vector."""

    m: int
    k: int
    dtype: torch.dtype
    transposed: bool
    lanes: int

    @property
    def kind(self) -> str:
        """LLVM's element type."""
        return TYPES[self.dtype]

    @property
    def panel(self) -> int:
        """Outputs of one panel: a cache line and two registers, at least."""
        return 2 * self.lanes

    @property
    def panels(self) -> int:
        """How many panels there are, the last one filled up with zeros."""
        return -(-self.m // self.panel)

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """(first output, lanes) of the vectors that make up y exactly."""
        found, start, lanes = [], 0, self.lanes
        while start < self.m:
            if self.m - start >= lanes:
                found.append((start, lanes))
                start += lanes
            else:
                lanes //= 2
        return found

    @property
    def is_small(self) -> bool:
        """Whether the product is written out in full."""
        return self.m * self.k <= SMALL_PRODUCTS and len(self.chunks) * self.k <= SMALL_INSTRUCTIONS

    @property
    def padded(self) -> int:
        """Elements that y needs room for."""
        return self.m if self.is_small else self.panels * self.panel

    @property
    def packed(self) -> int:
        """Elements of W once packed."""
        return self.padded * self.k


def pack(text: Text, product: Product, weights: str, packed: str, part: str, parts: str) -> None:
    """Write the packing of W into panels; part `part` of `parts` takes every `parts`-th panel."""
    kind, width = product.kind, product.m if product.is_small else product.panel
    panels = 1 if product.is_small else product.panels
    size = product.dtype.itemsize
    with text.loop(part, panels, parts) as panel:
        first = text.mul(panel, width)
        count = text.minimum(text.add(product.m, text.new(f"sub i64 0, {first}")), width)
        target = text.at(packed, text.mul(panel, width * product.k), kind)
        with text.loop(0, product.k) as j:
            row = text.at(target, text.mul(j, width), kind)
            if not product.is_small:
                text.line(f"call void @llvm.memset.p0.i64(ptr {row}, i8 0, i64 {width * size}, i1 false)")
            with text.loop(0, count) as c:
                output = text.add(first, c)
                index = text.add(text.mul(j, product.m), output) if product.transposed else text.add(text.mul(output, product.k), j)
                value = text.new(f"load {kind}, ptr {text.at(weights, index, kind)}")
                text.line(f"store {kind} {value}, ptr {text.at(row, c, kind)}")


def small(text: Text, product: Product, y: str, packed: str, x: str) -> None:
    """Write y = W x of one row in full: a running sum for each vector of y, more than one where there are few."""
    chunks, size = product.chunks, product.dtype.itemsize
    chains = max(1, min(product.k, 8 // len(chunks)))
    sums: dict[tuple[int, int], str] = {}
    for j in range(product.k):
        one = text.new(f"load {product.kind}, ptr {text.at(x, j, product.kind)}")
        for start, lanes in chunks:
            v = Vectors(text, product.kind, lanes)
            column = text.new(f"load {v.type}, ptr {text.at(packed, j * product.m + start, product.kind)}, align {size}")
            key = (start, j % chains)
            sums[key] = v.fma(column, v.splat(one), sums[key]) if key in sums else v.mul(column, v.splat(one))
    for start, lanes in chunks:
        v = Vectors(text, product.kind, lanes)
        parts = [sums[start, chain] for chain in range(chains)]
        while len(parts) > 1:
            parts = [v.add(parts[n], parts[n + 1]) if n + 1 < len(parts) else parts[n] for n in range(0, len(parts), 2)]
        text.line(f"store {v.type} {parts[0]}, ptr {text.at(y, start, product.kind)}, align {size}")


def call(text: Text, product: Product, y: str, y_row: int, packed: str, x: str, x_row: int, rows: Number) -> None:
    """Write the call of the tiled kernel for a block of rows."""
    name = kernel_name(product.kind, product.lanes)
    text.line(
        f"call void {name}(ptr {y}, i64 {y_row}, ptr {packed}, ptr {x}, i64 {x_row}, i64 {rows}, i64 {product.panels}, i64 {product.k})"
    )


def kernel_name(kind: str, lanes: int) -> str:
    """The tiled kernel for one element type."""
    return f"@matvec.v{lanes}{kind}"


def kernel(kind: str, lanes: int) -> str:
    """The definition of the tiled kernel and of its tiles."""
    name = kernel_name(kind, lanes)
    shapes = [(1, 4), (1, 1), (2, 2), (2, 1), *((rows, 1) for rows in range(3, TILE_ROWS + 1))]
    tiles = [_tile(f"{name}.{rows}x{panels}", kind, lanes, rows, panels) for rows, panels in shapes]

    text = Text()
    panel = 2 * lanes

    def sweep(start: Number, rows: int, panels: int, y: str, x: str) -> Number:
        """All whole groups of `panels` panels from `start`, for one tile of rows; where it ended."""
        count = text.new(f"sub i64 %panels, {start}")
        stop = text.add(start, text.mul(text.new(f"sdiv i64 {count}, {panels}"), panels))
        with text.loop(start, stop, panels) as p:
            weights = text.at("%packed", text.mul(text.mul(p, panel), "%k"), kind)
            target = text.at(y, text.mul(p, panel), kind)
            text.line(f"call void {name}.{rows}x{panels}(ptr {target}, i64 %y_row, ptr {weights}, ptr {x}, i64 %x_row, i64 %k)")
        return stop

    # One or two rows: several panels at a time, or there would be too few sums to keep the adders busy.
    for rows, panels in ((1, 4), (2, 2)):
        few = text.new(f"icmp eq i64 %rows, {rows}")
        with text.when(few):
            sweep(sweep(0, rows, panels, "%y", "%x"), rows, 1, "%y", "%x")
            text.line("ret void")
            text.label(text.unique("after"))
    # More: panel by panel, so that one stays in the first cache while all rows pass, in tiles of even height.
    tiles_needed = text.new(f"sdiv i64 {text.add('%rows', TILE_ROWS - 1)}, {TILE_ROWS}")
    with text.loop(0, "%panels") as p:
        weights = text.at("%packed", text.mul(text.mul(p, panel), "%k"), kind)
        column = text.at("%y", text.mul(p, panel), kind)
        with text.loop(0, tiles_needed) as tile:
            first = text.new(f"sdiv i64 {text.mul(tile, '%rows')}, {tiles_needed}")
            last = text.new(f"sdiv i64 {text.mul(text.add(tile, 1), '%rows')}, {tiles_needed}")
            height = text.new(f"sub i64 {last}, {first}")
            target = text.at(column, text.mul(first, "%y_row"), kind)
            x = text.at("%x", text.mul(first, "%x_row"), kind)
            after = text.unique("done")
            cases = {rows: text.unique("rows") for rows in range(3, TILE_ROWS + 1)}
            text.line(
                f"switch i64 {height}, label %{after} [{' '.join(f'i64 {rows}, label %{label}' for rows, label in cases.items())}]"
            )
            for rows, label in cases.items():
                text.label(label)
                text.line(f"call void {name}.{rows}x1(ptr {target}, i64 %y_row, ptr {weights}, ptr {x}, i64 %x_row, i64 %k)")
                text.line(f"br label %{after}")
            text.label(after)
    text.line("ret void")
    head = f"define internal void {name}(ptr %y, i64 %y_row, ptr %packed, ptr %x, i64 %x_row, i64 %rows, i64 %panels, i64 %k) nounwind {{"
    return "\n".join([*tiles, head, "entry:", *text.lines, "}"])


def _tile(name: str, kind: str, lanes: int, rows: int, panels: int) -> str:
    """`rows` rows by `panels` panels: every sum in a register of its own."""
    text = Text()
    v = Vectors(text, kind, lanes)
    width = 2 * lanes
    x = [text.at("%x", text.mul("%x_row", row), kind) for row in range(rows)]
    y = [text.at("%y", text.mul("%y_row", row), kind) for row in range(rows)]
    weights = [text.at("%packed", text.mul("%k", panel * width), kind) for panel in range(panels)]
    cells = [(row, panel, half) for panel in range(panels) for half in range(2) for row in range(rows)]
    sums = {cell: f"%sum{number}" for number, cell in enumerate(cells)}
    text.line("br label %loop")
    text.label("loop")
    text.line("%j = phi i64 [ 0, %entry ], [ %next, %loop ]")
    for cell in cells:
        text.line(f"{sums[cell]} = phi {v.type} [ zeroinitializer, %entry ], [ {sums[cell]}.next, %loop ]")
    ones = [v.splat(text.new(f"load {kind}, ptr {text.at(x[row], '%j', kind)}")) for row in range(rows)]
    offset = text.mul("%j", width)
    for panel in range(panels):
        for half in range(2):
            address = text.at(weights[panel], text.add(offset, half * lanes), kind)
            column = text.new(f"load {v.type}, ptr {address}, align {4 if kind == 'float' else 8}")
            for row in range(rows):
                total = sums[row, panel, half]
                text.line(
                    f"{total}.next = call {v.type} @llvm.fmuladd.{v.suffix}({v.type} {column}, {v.type} {ones[row]}, {v.type} {total})"
                )
    text.line("%next = add nsw i64 %j, 1")
    text.line(f"br i1 {text.new('icmp slt i64 %next, %k')}, label %loop, label %done")
    text.label("done")
    for row, panel, half in cells:
        address = text.at(y[row], panel * width + half * lanes, kind)
        text.line(f"store {v.type} {sums[row, panel, half]}.next, ptr {address}, align {4 if kind == 'float' else 8}")
    text.line("ret void")
    head = f"define internal void {name}(ptr %y, i64 %y_row, ptr %packed, ptr %x, i64 %x_row, i64 %k) nounwind noinline {{"
    return "\n".join([head, "entry:", *text.lines, "}"])
