"""A loop over the heights of a forest in one native call: gather what the nodes of a height read, run them, go on.

The loop's own code (loop_code.py) is that of any loop, run on one step whose rows are the nodes of a height; the code here
calls it height by height, with the matrices packed once. It is the same for all loops. Its argument is a table of words (`WORDS`);
a team of threads shares the nodes of a height, and waits for one another before the next.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from carousel.engine.lowering import Gathering
from carousel.engine.native import jit, threads
from carousel.engine.native.compiled import CompiledLoop
from carousel.engine.native.loop_code import TEAM
from carousel.engine.native.loop_code import WORDS as LOOP_WORDS
from carousel.engine.native.text import Text, Vectors

WORDS = ("heights", "divisions", "gathers", "gathering", "single", "many", "together", "size", "words")
"""divisions: address of the words B, threads, block, offsets of each height, as the loop takes them; gathering: of the tables of
so many gathers; single, many: of the loop's code for blocks of one row and of more; together: whether each thread of the team
calls it once; words: of the loop's table of `size` words."""

GATHER = ("target", "index", "count", "row", "before", "befores", "made", "mades", "given", "double")
"""Of a gather: `count` places an entry, rows of `row` bytes; they stand side by side, or are added to `given` unless it is 0."""

_ADDRESSES = frozenset({"divisions", "gathering", "single", "many", "words", "target", "index", "before", "made", "given"})


def run(loop: CompiledLoop, buffers: Sequence[Tensor], gathering: Sequence[Gathering], offsets: Tensor) -> None:
    """Run a loop without carries over heights; see `carousel.engine.lowering.Lowering.over_heights`."""
    heights = len(offsets) - 1
    if heights == 0:
        return
    most = torch.get_num_threads() if threads.symbols() is not None else 1
    counts = np.diff(offsets.numpy())
    code = loop.over_heights(buffers, counts, most)
    starts = offsets.data_ptr() + offsets.element_size() * np.arange(heights)
    divisions = np.stack([counts, code.threads, code.blocks, starts], 1)
    if loop.loop.reverse:
        divisions = divisions[::-1].copy()
    tables = np.array([_table(one) for one in gathering], np.int64).reshape(-1)
    table = (ctypes.c_int64 * len(WORDS))(
        heights,
        divisions.ctypes.data,
        len(gathering),
        tables.ctypes.data,
        code.single,
        code.many,
        code.together,
        len(code.words),
        ctypes.addressof(code.words),
    )
    team = int(code.threads.max())
    climb = _climb(team > 1)
    if team > 1:
        threads.together(climb.address, ctypes.addressof(table), team)
    else:
        climb.call(ctypes.addressof(table), 0)


def _table(one: Gathering) -> list[int]:
    row = one.target[0].numel() if one.given is not None else one.target[0, 0].numel()
    given = 0 if one.given is None else one.given.data_ptr()
    before, made = one.before, one.made
    return [
        one.target.data_ptr(),
        one.index.data_ptr(),
        one.index.shape[1],
        row * one.target.element_size(),
        0 if before is None else before.data_ptr(),
        0 if before is None else len(before),
        made.data_ptr(),
        len(made),
        given,
        int(one.target.dtype == torch.float64),
    ]


class _Climb:
    def __init__(self, library: jit.Library) -> None:
        self._library = library  # the code is there as long as it is
        self.address = library.addresses["climb"]
        self.call: Callable[[int, int], None] = threads.Function(self.address)


@cache
def _climb(team: bool) -> _Climb:
    text = _definition(team)
    return _Climb(jit.load(text, ["climb"], lambda: text, threads.symbols() or {} if team else {}))


def _definition(team: bool) -> str:
    text = Text()
    _load(text, "%arguments", WORDS, "")
    if team:
        for name, function in (("own", "thread_num"), ("team", "num_threads")):
            text.line(f"%{name} = zext i32 {text.new(f'call i32 @omp_get_{function}()')} to i64")
    else:
        text.line("%own = add i64 0, 0")
        text.line("%team = add i64 1, 0")
    text.line("%now = alloca i64, i64 %size, align 64")
    text.line(f"call void @llvm.memcpy.p0.p0.i64(ptr %now, ptr %words, i64 {text.mul('%size', 8)}, i1 false)")
    head = list(text.lines)
    text.lines.clear()
    with text.loop(0, "%heights") as height:
        division = text.at("%divisions", text.mul(height, 4), "i64")
        first = LOOP_WORDS.index("B")  # B, threads, block, offsets follow one another
        target = text.at("%now", first, "i64")
        text.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {division}, i64 32, i1 false)")
        rows, planned, block = (text.new(f"load i64, ptr {text.at(division, n, 'i64')}") for n in range(3))
        offset = text.new(f"load ptr, ptr {text.at(division, 3, 'i64')}")
        start = text.new(f"load i64, ptr {offset}")
        shared = text.new("icmp ne i64 %together, 0")
        calls = text.new(f"select i1 {shared}, i64 %team, i64 {planned}")
        alone = text.new(f"icmp eq i64 {block}, 1")
        code = text.new(f"select i1 {alone}, ptr %single, ptr %many")
        with text.loop("%own", calls, "%team") as number:
            with text.loop(text.mul(number, block), rows, text.mul(calls, block)) as begin:
                end = text.minimum(rows, text.add(begin, block))
                with text.loop(0, "%gathers") as gather:
                    table = text.at("%gathering", text.mul(gather, len(GATHER)), "i64")
                    text.line(f"call void @gather(ptr {table}, i64 {text.add(start, begin)}, i64 {text.add(start, end)})")
            if team:  # only together's threads read rows that another one gathered
                with text.when(shared):
                    text.line("call void @GOMP_barrier()")
            text.line(f"call void {code}(ptr %now, i64 {number})")
        if team:
            text.line("call void @GOMP_barrier()")
    text.line("ret void")
    return "\n".join(
        [
            "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)",
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
            "declare i64 @llvm.smin.i64(i64, i64)",
            *([TEAM] if team else []),
            _gather(),
            "define void @climb(ptr %arguments, i64 %unused) nounwind {",
            "entry:",
            *head,
            *text.lines,
            "}",
        ]
    )


def _load(text: Text, table: str, names: Sequence[str], prefix: str) -> None:
    for number, name in enumerate(names):
        text.line(f"%{prefix}{name} = load {'ptr' if name in _ADDRESSES else 'i64'}, ptr {text.at(table, number, 'i64')}")


def _gather() -> str:
    """Entries start .. stop of a gather."""
    text = Text()
    _load(text, "%table", GATHER, "")
    adds = text.new("icmp ne ptr %given, null")
    each = text.new(f"select i1 {adds}, i64 1, i64 %count")
    text.line(f"%wide = mul i64 {each}, %row")
    text.line("%last = add i64 %befores, %mades")
    is_double = text.new("icmp ne i64 %double, 0")
    with text.loop("%start", "%stop") as entry:
        own = text.at("%target", text.mul(entry, "%wide"), "i8")
        with text.when(adds):
            here = text.at("%given", text.mul(entry, "%row"), "i8")
            text.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {own}, ptr {here}, i64 %row, i1 false)")
        with text.loop(0, "%count") as n:
            place = text.new(f"load i64, ptr {text.at('%index', text.add(text.mul(entry, '%count'), n), 'i64')}")
            early = text.new(f"icmp slt i64 {place}, %befores")
            later = text.new(f"sub i64 {place}, %befores")
            base = text.new(f"select i1 {early}, ptr %before, ptr %made")
            among = text.new(f"select i1 {early}, i64 {place}, i64 {later}")
            source = text.new(f"getelementptr i8, ptr {base}, i64 {text.mul(among, '%row')}")
            there = text.new(f"icmp slt i64 {place}, %last")
            slot = text.at(own, text.mul(n, "%row"), "i8")
            copies, added = text.new(f"xor i1 {adds}, true"), text.new(f"and i1 {adds}, {there}")
            with text.when(text.new(f"and i1 {copies}, {there}")):
                text.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {slot}, ptr {source}, i64 %row, i1 false)")
            with text.when(text.new(f"and i1 {copies}, {text.new(f'xor i1 {there}, true')}")):
                text.line(f"call void @llvm.memset.p0.i64(ptr {slot}, i8 0, i64 %row, i1 false)")
            for kind, size, wanted in (("double", 8, is_double), ("float", 4, text.new(f"xor i1 {is_double}, true"))):
                with text.when(text.new(f"and i1 {added}, {wanted}")):
                    _add(text, kind, size, own, source)
    text.line("ret void")
    head = "define internal void @gather(ptr %table, i64 %start, i64 %stop) nounwind {"
    return "\n".join([head, "entry:", *text.lines, "}"])


def _add(text: Text, kind: str, size: int, target: str, source: str) -> None:
    """target += source, rows of %row bytes."""
    count, lanes = text.new(f"sdiv i64 %row, {size}"), 64 // size
    whole = text.mul(text.new(f"sdiv i64 {count}, {lanes}"), lanes)
    for start, stop, width in ((0, whole, lanes), (whole, count, 1)):
        v = Vectors(text, kind, width)
        with text.loop(start, stop, width) as n:
            places = [text.at(base, n, kind) for base in (target, source)]
            a, b = (text.new(f"load {v.type}, ptr {place}, align {size}") for place in places)
            text.line(f"store {v.type} {v.add(a, b)}, ptr {places[0]}, align {size}")
