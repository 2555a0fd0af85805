"""Operations that are a unit of their own: products, and those that walk an axis element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod

from carousel.engine.ir import Op
from carousel.engine.native import matvec
from carousel.engine.native.place import Place
from carousel.engine.native.routine import Routine
from carousel.engine.native.text import Number, Text, Vectors

HELD = 4
"""Vectors of a product's row that are summed at a time."""


def write(routine: Routine, op: Op) -> None:
    """Write one operation for all rows that still run."""
    if op.kind == "matvec":
        _matvec(routine, op)
        return
    with routine.rows() as row:
        WRITERS[op.kind](routine, op, row)


def _matvec(routine: Routine, op: Op) -> None:
    weights, x = op.values
    product = routine.product(weights, op.attributes["transposed"])
    y_place, x_place = routine.place(op.output), routine.place(x)
    packed = routine.packed[weights, op.attributes["transposed"]]
    if product.is_small:
        with routine.rows() as row:
            matvec.small(routine.text, product, routine.address(y_place, row), packed, routine.address(x_place, row))
        return
    if routine.together:
        y, start = (routine.address(place, "%before") for place in (y_place, x_place))
        matvec.call_in_part(routine.text, product, y, y_place.row, packed, start, x_place.row, "%running")
        return
    y, start = routine.address(y_place, 0), routine.address(x_place, 0)
    matvec.call(routine.text, product, y, y_place.row, packed, start, x_place.row, 1 if routine.single else "%active")


# Products of two matrices of the row.


def _transposed(place: Place) -> Place:
    return replace(place, shape=place.shape[::-1], strides=place.strides[::-1])


def _matmul(routine: Routine, op: Op, row: Number) -> None:
    a, b = (routine.place(value) for value in op.values)
    out = routine.place(op.output)
    (m, k), n = a.shape, b.shape[1]
    if (n == 1 or b.strides[1] != 1) and m > 1 and a.strides[0] == 1:
        a, b, out = _transposed(b), _transposed(a), _transposed(out)  # the same product, seen from its other side
    elif (n == 1 or b.strides[1] != 1) and a.strides[1] == 1 and b.strides[0] == 1 and k > 1:
        _products_along_k(routine, a, b, out, row)
        return
    _sums_of_rows(routine, a, b, out, row)


def _sums_of_rows(routine: Routine, a: Place, b: Place, out: Place, row: Number) -> None:
    """out[i, :] = sum over k of a[i, k] b[k, :], a few vectors of a row of `out` at a time."""
    text, n = routine.text, b.shape[1]
    lanes = routine.lanes(out.dtype) if b.strides[1] == 1 else 1
    whole = n // (HELD * lanes) * (HELD * lanes)
    bases = [routine.address(place, row) for place in (a, b, out)]

    def columns(i: Number, start: Number, chunks: list[tuple[int, int]]) -> None:
        _row_of_product(routine, (a, b, out), bases, i, start, chunks)

    with text.loop(0, a.shape[0]) as i:
        if whole:
            with text.loop(0, whole, HELD * lanes) as start:
                columns(i, start, [(number * lanes, lanes) for number in range(HELD)])
        rest = matvec.Product(n - whole, 1, out.dtype, False, lanes).chunks
        if rest:
            columns(i, whole, rest)


def _row_of_product(
    routine: Routine, places: tuple[Place, Place, Place], bases: list[str], i: Number, start: Number, chunks: list[tuple[int, int]]
) -> None:
    """The given chunks of row i of a product; several sums each where there are too few to keep the adders busy."""
    text, (a, b, out), k = routine.text, places, places[0].shape[1]
    kind, size = Routine.type(out.dtype), out.dtype.itemsize
    chains = min(k, max(1, 8 // len(chunks)))
    vectors = {chunk: Vectors(text, kind, chunk[1]) for chunk in chunks}
    sums = {(chunk, chain): routine.variable(vectors[chunk].type) for chunk in chunks for chain in range(chains)}
    for (chunk, _), total in sums.items():
        text.line(f"store {vectors[chunk].type} zeroinitializer, ptr {total}")

    def step(inner: Number, chain: int) -> None:
        one = text.new(f"load {kind}, ptr {text.at(bases[0], _index(text, a, [i, inner]), kind)}")
        for chunk in chunks:
            v, total = vectors[chunk], sums[chunk, chain]
            address = text.at(bases[1], _index(text, b, [inner, text.add(start, chunk[0])]), kind)
            x = text.new(f"load {v.type}, ptr {address}, align {size}")
            text.line(f"store {v.type} {v.fma(x, v.splat(one), text.new(f'load {v.type}, ptr {total}'))}, ptr {total}")

    whole = k // chains * chains
    with text.loop(0, whole, chains) as inner:
        for chain in range(chains):
            step(text.add(inner, chain), chain)
    for chain in range(k - whole):
        step(whole + chain, chain)
    for chunk in chunks:
        v = vectors[chunk]
        total = text.new(f"load {v.type}, ptr {sums[chunk, 0]}")
        for chain in range(1, chains):
            total = v.add(total, text.new(f"load {v.type}, ptr {sums[chunk, chain]}"))
        column = text.add(start, chunk[0])
        if out.strides[1] == 1:
            text.line(f"store {v.type} {total}, ptr {text.at(bases[2], _index(text, out, [i, column]), kind)}, align {size}")
            continue
        for lane in range(chunk[1]):
            address = text.at(bases[2], _index(text, out, [i, text.add(column, lane)]), kind)
            text.line(f"store {kind} {text.new(f'extractelement {v.type} {total}, i64 {lane}')}, ptr {address}")


def _products_along_k(routine: Routine, a: Place, b: Place, out: Place, row: Number) -> None:
    """out[i, j] = a[i, :] . b[:, j], where both lie along k."""
    text, kind, k = routine.text, Routine.type(out.dtype), a.shape[1]
    lanes = routine.lanes(out.dtype)
    whole = k // lanes * lanes
    bases = [routine.address(place, row) for place in (a, b, out)]

    def product(v: Vectors, i: Number, inner: Number, j: Number, so_far: str | None) -> str:
        x, y = (
            text.new(f"load {v.type}, ptr {text.at(base, _index(text, place, index), kind)}, align {place.dtype.itemsize}")
            for base, place, index in ((bases[0], a, [i, inner]), (bases[1], b, [inner, j]))
        )
        return v.mul(x, y) if so_far is None else v.fma(x, y, so_far)

    with text.loop(0, a.shape[0]) as i, text.loop(0, b.shape[1]) as j:
        parts = []
        if whole:
            v = Vectors(text, kind, lanes)
            total = routine.variable(v.type)
            text.line(f"store {v.type} zeroinitializer, ptr {total}")
            with text.loop(0, whole, lanes) as inner:
                text.line(f"store {v.type} {product(v, i, inner, j, text.new(f'load {v.type}, ptr {total}'))}, ptr {total}")
            parts.append(v.folded(text.new(f"load {v.type}, ptr {total}"), lambda half, x, y: half.add(x, y)))
        for first, count in matvec.Product(k - whole, 1, out.dtype, False, lanes).chunks:
            v = Vectors(text, kind, count)
            parts.append(v.folded(product(v, i, whole + first, j, None), lambda half, x, y: half.add(x, y)))
        one, value = Vectors(text, kind, 1), parts[0]
        for part in parts[1:]:
            value = one.add(value, part)
        text.line(f"store {one.type} {value}, ptr {text.at(bases[2], _index(text, out, [i, j]), kind)}, align {out.dtype.itemsize}")


# Element by element.


def _index(text: Text, place: Place, index: list[Number]) -> Number:
    total: Number = 0
    for position, stride in zip(index, place.strides, strict=True):
        total = text.add(total, text.mul(position, stride))
    return total


class _Elements:
    """Scalar access to one row of a place."""

    def __init__(self, routine: Routine, place: Place, row: Number) -> None:
        self.text, self.place = routine.text, place
        self.kind = routine.memory_type(place.dtype)
        self.base = routine.address(place, row)

    def address(self, index: list[Number]) -> str:
        return self.text.at(self.base, _index(self.text, self.place, index), self.kind)

    def load(self, index: list[Number], lanes: int = 1) -> str:
        return self.text.new(f"load {self._type(lanes)}, ptr {self.address(index)}, align {self.place.dtype.itemsize}")

    def store(self, value: str, index: list[Number], lanes: int = 1) -> None:
        self.text.line(f"store {self._type(lanes)} {value}, ptr {self.address(index)}, align {self.place.dtype.itemsize}")

    def _type(self, lanes: int) -> str:
        """Of so many elements along the last axis."""
        return self.kind if lanes == 1 else f"<{lanes} x {self.kind}>"

    def clear(self) -> None:
        """Zeros everywhere; only for places of the scratch, which lie in one run."""
        size = prod(self.place.shape) * self.place.dtype.itemsize
        self.text.line(f"call void @llvm.memset.p0.i64(ptr {self.base}, i8 0, i64 {size}, i1 false)")

    def add(self, value: str, index: list[Number]) -> None:
        self.store(
            self.text.new(f"{'fadd' if self.kind in ('float', 'double') else 'add'} {self.kind} {self.load(index)}, {value}"), index
        )


@contextmanager
def _walk(text: Text, shape: tuple[int, ...], without: int | None = None) -> Iterator[list[Number]]:
    """Loops over all axes but one, whose index is 0."""
    with ExitStack() as stack:
        yield [0 if axis == without else stack.enter_context(text.loop(0, size)) for axis, size in enumerate(shape)]


@contextmanager
def _walk_vectors(routine: Routine, axis: int, x: Place, out: Place) -> Iterator[tuple[list[Number], list[tuple[int, int]]]]:
    """Loops over all axes of `out` and one element, or over all but the last one, and the (first, lanes) of the vectors along it
    where it is not `axis` and lies in one run."""
    last = len(out.shape) - 1
    if axis == last or not x.strides[last] == out.strides[last] == 1:
        with _walk(routine.text, out.shape) as index:
            yield index, [(0, 1)]
        return
    with _walk(routine.text, out.shape, without=last) as index:
        yield index, matvec.Product(out.shape[last], 1, out.dtype, False, routine.lanes(out.dtype)).chunks


def _along(index: list[Number], axis: int, position: Number) -> list[Number]:
    return [*index[:axis], position, *index[axis + 1 :]]


def _parts(routine: Routine, op: Op, row: Number) -> list[_Elements]:
    return [_Elements(routine, routine.place(value), row) for value in (*op.values, op.output)]


def _pad(routine: Routine, op: Op, row: Number) -> None:
    x, out = _parts(routine, op, row)
    axis, start, step = (op.attributes[name] for name in ("axis", "start", "step"))
    out.clear()
    with _walk(routine.text, x.place.shape) as index:
        position = routine.text.add(routine.text.mul(index[axis], step), start)
        out.store(x.load(index), _along(index, axis, position))


def _cumsum(routine: Routine, op: Op, row: Number) -> None:
    x, out = _parts(routine, op, row)
    axis, text = op.attributes["axis"], routine.text
    total = routine.variable(x.kind)
    add = "fadd" if x.kind in ("float", "double") else "add"
    with _walk(text, x.place.shape, without=axis) as index:
        text.line(f"store {x.kind} zeroinitializer, ptr {total}")
        with text.loop(0, x.place.shape[axis]) as position:
            here = _along(index, axis, position)
            value = text.new(f"{add} {x.kind} {text.new(f'load {x.kind}, ptr {total}')}, {x.load(here)}")
            text.line(f"store {x.kind} {value}, ptr {total}")
            out.store(value, here)


def _before(text: Text, kind: str, x: str, y: str) -> str:
    """x < y, NaN being greater than all numbers, as PyTorch has it."""
    if kind not in ("float", "double"):
        return text.new(f"icmp slt {kind} {x}, {y}")
    less, number, nan = (
        text.new(f"fcmp {test}") for test in (f"olt {kind} {x}, {y}", f"ord {kind} {x}, {x}", f"uno {kind} {y}, {y}")
    )
    return text.new(f"or i1 {less}, {text.new(f'and i1 {number}, {nan}')}")


def _argbest(routine: Routine, op: Op, row: Number) -> None:
    """argmax or argmin: the first of equals, or the first NaN."""
    x, out = _parts(routine, op, row)
    axis, text = op.attributes["axis"], routine.text
    where = routine.variable("i64")
    with _walk(text, x.place.shape, without=axis) as index:
        text.line(f"store i64 0, ptr {where}")
        with text.loop(1, x.place.shape[axis]) as position:
            so_far, here = text.new(f"load i64, ptr {where}"), text.new(f"add i64 {position}, 0")
            best, value = x.load(_along(index, axis, so_far)), x.load(_along(index, axis, position))
            if op.kind == "argmax":
                better = _before(text, x.kind, best, value)
            elif x.kind in ("float", "double"):
                number = text.new(f"fcmp ord {x.kind} {best}, {best}")
                better = text.new(f"and i1 {number}, {text.new(f'fcmp ult {x.kind} {value}, {best}')}")
            else:
                better = text.new(f"icmp slt {x.kind} {value}, {best}")
            text.line(f"store i64 {text.new(f'select i1 {better}, i64 {here}, i64 {so_far}')}, ptr {where}")
        out.store(text.new(f"load i64, ptr {where}"), index[:axis] + index[axis + 1 :])


def _argsort(routine: Routine, op: Op, row: Number) -> None:
    """An element's place is the number of those that come before it; of equals, the earlier ones do."""
    x, out = _parts(routine, op, row)
    axis, text, descending = op.attributes["axis"], routine.text, op.attributes["descending"]
    size = x.place.shape[axis]
    count = routine.variable("i64")
    with _walk(text, x.place.shape, without=axis) as index, text.loop(0, size) as i:
        value = x.load(_along(index, axis, i))
        text.line(f"store i64 0, ptr {count}")

        def tally(start: Number, stop: Number, precedes: Callable[[str], str]) -> None:
            with text.loop(start, stop) as j:
                one = text.new(f"zext i1 {precedes(x.load(_along(index, axis, j)))} to i64")
                so_far = text.new(f"load i64, ptr {count}")
                text.line(f"store i64 {text.new(f'add i64 {so_far}, {one}')}, ptr {count}")

        def first(a: str, b: str) -> str:
            return _before(text, x.kind, b, a) if descending else _before(text, x.kind, a, b)

        tally(0, i, lambda other: text.new(f"xor i1 {first(value, other)}, true"))
        tally(text.add(i, 1), size, lambda other: first(other, value))
        out.store(text.new(f"add i64 {i}, 0"), _along(index, axis, text.new(f"load i64, ptr {count}")))


def _bounded(text: Text, index: str, size: int) -> str:
    """An index within the axis: one outside, which the caller is to refuse, must not reach foreign memory."""
    return text.maximum(text.minimum(index, size - 1), 0)


def _index_select(routine: Routine, op: Op, row: Number) -> None:
    x, index, out = _parts(routine, op, row)
    axis = op.attributes["axis"]
    with _walk_vectors(routine, axis, x.place, out.place) as (here, lanes):
        for start, count in lanes:
            chosen = _bounded(routine.text, index.load([here[axis]]), x.place.shape[axis])
            there = [*here[:-1], start] if start else here
            out.store(x.load(_along(there, axis, chosen), count), there, count)


def _index_add(routine: Routine, op: Op, row: Number) -> None:
    index, source, out = _parts(routine, op, row)
    axis = op.attributes["axis"]
    out.clear()
    with _walk(routine.text, source.place.shape) as here:
        chosen = _bounded(routine.text, index.load([here[axis]]), out.place.shape[axis])
        out.add(source.load(here), _along(here, axis, chosen))


def _gather(routine: Routine, op: Op, row: Number) -> None:
    x, index, out = _parts(routine, op, row)
    axis = op.attributes["axis"]
    with _walk(routine.text, out.place.shape) as here:
        chosen = _bounded(routine.text, index.load(here), x.place.shape[axis])
        out.store(x.load(_along(here, axis, chosen)), here)


def _scatter_add(routine: Routine, op: Op, row: Number) -> None:
    index, source, out = _parts(routine, op, row)
    axis = op.attributes["axis"]
    out.clear()
    with _walk(routine.text, index.place.shape) as here:
        chosen = _bounded(routine.text, index.load(here), out.place.shape[axis])
        out.add(source.load(here), _along(here, axis, chosen))


WRITERS: dict[str, Callable[[Routine, Op, Number], None]] = {
    "matmul": _matmul,
    "pad": _pad,
    "cumsum": _cumsum,
    "argmax": _argbest,
    "argmin": _argbest,
    "argsort": _argsort,
    "index_select": _index_select,
    "index_add": _index_add,
    "gather": _gather,
    "scatter_add": _scatter_add,
}
