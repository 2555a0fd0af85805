"""Products of a shared matrix with the vector of every row of a block.

y[r, :] = W x[r, :] or W^T x[r, :]. W is packed once a call. A small W lies column by column and its
product is written out in full for each row. A large one lies in panels of some outputs, one input
after the other, for the kernel of tiles.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from carousel.engine.native import jit, tiles
from carousel.engine.native.text import TYPES, Number, Text, Vectors

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
    def tile_lanes(self) -> int:
        """Lanes of the tiled kernel's vectors: a register's, as its sums are in the same order whatever they are."""
        return min(self.lanes, jit.vector_bits() // (8 * self.dtype.itemsize))

    @property
    def panel(self) -> int:
        """Outputs of one panel."""
        return tiles.PANEL * self.tile_lanes

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
        """Elements that y needs room for: as many on every machine, as blocks of rows are sized by it."""
        most = tiles.PANEL * self.lanes
        return self.m if self.is_small else -(-self.m // most) * most

    @property
    def packed(self) -> int:
        """Elements of W once packed."""
        return self.padded * self.k


def pack(text: Text, product: Product, weights: str, packed: str, part: str, parts: str) -> None:
    """Write the packing of W into panels; part `part` of `parts` takes every `parts`-th panel."""
    kind, k = product.kind, product.k
    if product.is_small:
        with text.when(text.new(f"icmp eq i64 {part}, 0")):
            _pack_panel(text, product, weights, packed, 0, product.m, product.m)
        return
    width, whole = product.panel, product.m // product.panel
    with text.loop(part, whole, parts) as panel:
        target = text.at(packed, text.mul(panel, width * k), kind)
        _pack_panel(text, product, weights, target, text.mul(panel, width), width, width)
    if whole < product.panels:
        with text.when(text.new(f"icmp eq i64 {part}, 0")):
            target = text.at(packed, whole * width * k, kind)
            size = width * k * product.dtype.itemsize
            text.line(f"call void @llvm.memset.p0.i64(ptr {target}, i8 0, i64 {size}, i1 false)")
            _pack_panel(text, product, weights, target, whole * width, product.m - whole * width, width)


def _pack_panel(text: Text, product: Product, weights: str, target: str, first: Number, count: int, width: int) -> None:
    """`count` outputs from `first` on into a panel of `width`; the outputs of one input are written out in full, for speed."""
    kind, m, k = product.kind, product.m, product.k
    with text.loop(0, k) as j:
        source = text.add(text.mul(j, m), first) if product.transposed else text.add(text.mul(first, k), j)
        row, start = text.at(target, text.mul(j, width), kind), text.at(weights, source, kind)
        if product.transposed:
            text.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {row}, ptr {start}, i64 {count * product.dtype.itemsize}, i1 false)")
        elif count <= product.panel:
            for c in range(count):
                _move(text, kind, start, c * k, row, c)
        else:
            with text.loop(0, count) as output:
                _move(text, kind, start, text.mul(output, k), row, output)


def _move(text: Text, kind: str, source: str, from_index: Number, target: str, to_index: Number) -> None:
    value = text.new(f"load {kind}, ptr {text.at(source, from_index, kind)}")
    text.line(f"store {kind} {value}, ptr {text.at(target, to_index, kind)}")


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
    """Write the call of the tiled kernel (tiles.py) for a block of rows."""
    _call(text, product, y, y_row, packed, x, x_row, rows, product.panels)


def call_in_part(text: Text, product: Product, y: str, y_row: int, packed: str, x: str, x_row: int, rows: Number) -> None:
    """The same for this thread's share of the panels, with all rows: the threads read each panel once, and wait for one another."""
    bounds = [text.new(f"udiv i64 {text.mul(thread, product.panels)}, %threads") for thread in ("%thread", text.add("%thread", 1))]
    count = text.new(f"sub i64 {bounds[1]}, {bounds[0]}")
    y = text.at(y, text.mul(bounds[0], product.panel), product.kind)
    packed = text.at(packed, text.mul(bounds[0], product.panel * product.k), product.kind)
    text.line("call void @GOMP_barrier()")
    _call(text, product, y, y_row, packed, x, x_row, rows, count)
    text.line("call void @GOMP_barrier()")


def _call(text: Text, product: Product, y: str, y_row: int, packed: str, x: str, x_row: int, rows: Number, panels: Number) -> None:
    given = f"ptr {y}, i64 {y_row}, ptr {packed}, ptr {x}, i64 {x_row}, i64 {rows}, i64 {panels}, i64 {product.k}"
    text.line(f"call void @{tiles.name(product.kind, product.tile_lanes)}({given})")
