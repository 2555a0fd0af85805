"""Loops as machine code, and what runs them: blocks of rows, threads, or rows side by side in vectors."""

from __future__ import annotations

import ctypes
import hashlib
from array import array
from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from carousel.engine.ir import Loop, Value
from carousel.engine.lock import LOCK
from carousel.engine.lowering import LoopRunner
from carousel.engine.native import jit, lanes, threads, tiles
from carousel.engine.native.lanes import LaneLoop
from carousel.engine.native.loop_code import WORDS, LoopCode
from carousel.engine.native.routine import ALIGNMENT
from carousel.engine.native.threads import symbols
from carousel.engine.packing import Packing

FIRST_CACHE = 32 * 2**10
"""Bytes of scratch that a block of rows may take before it is made smaller; a core's first cache."""

SECOND_CACHE = 256 * 2**10
"""The same where the rows of a block share the reading of large matrices; half a core's second cache."""

FAR = 2 * 2**20
"""Bytes of packed matrices that no second cache holds: they are read from further away, once a step and block, so that a
block has all the rows that it can."""

LEAST_ROWS, MOST_ROWS = 6, 64
"""Bounds of a block: a tile of the matrix kernel, and as many as pay for reading a matrix."""

PACKED_ALONE = 64 * 2**10
"""Bytes of packed matrices that one thread packs sooner than a team is called together."""

ALONE = 50_000
"""Elements (about a nanosecond each) that one thread computes sooner than a team is called together and waited for."""


WIDTH = 16
"""Float32 lanes of a vector, on every machine: where its registers are narrower an operation takes several of them, so that
sums are made in the same order, and results are the same to the last bit."""


def compile_loop(loop: Loop, vector_width: int | None = None) -> CompiledLoop:
    """A loop made ready to run natively; the machine code is made (or fetched from disk) at the first run.

    Args:
        loop:          the recurrence.
        vector_width:  float32 lanes of a vector, 4, 8 or 16; None for WIDTH.

    Raises:
        InputError: an operation or element type that has no lowering, by its kind and line.
    """
    return CompiledLoop(loop, vector_width or WIDTH)


def runner(loop: Loop, threads: int | None = None) -> LoopRunner:
    """A loop as a function of its buffers: its rows side by side in vectors where that takes less time, or one after the other.

    Args:
        threads:  the most to use; None for as many as PyTorch does.
    """
    compiled = compile_loop(loop)
    in_lanes_for = lru_cache(maxsize=64)(compiled.in_lanes)  # to weigh it up takes as long as many calls

    def run(buffers: Sequence[Tensor], packing: Packing) -> None:
        T, B, team = packing.steps, packing.batch, threads or torch.get_num_threads()
        in_lanes = in_lanes_for(B, team) if packing.order is None and T * B else None
        if in_lanes is not None:
            in_lanes.run(buffers, T, B, team)
            return
        compiled.run([buffer.data_ptr() for buffer in buffers], packing.offsets.data_ptr(), T, B, team)

    return run


class CompiledLoop:
    """A loop as machine code; one object may be run by several threads at once."""

    def __init__(self, loop: Loop, width: int) -> None:
        self.loop, self.width = loop, width
        self._variants = {single: _Variant(loop, width, single) for single in (True, False)}
        self._in_lanes: dict[int, LaneLoop | None] = {}

    def run(self, buffers: Sequence[int], offsets: int, T: int, B: int, threads: int) -> None:
        """Run all steps of all rows.

        Args:
            buffers:  addresses, in the order that `Loop` gives.
            offsets:  address of the (T + 1,) int64 offsets.
            T, B:     steps and rows.
            threads:  the most threads to use, at least 1; `summed` buffers have so many parts.
        """
        if T == 0 or B == 0:
            return
        if threads > 1 and self._together is not None and symbols() is not None:
            self._together.run(buffers, offsets, T, B, threads)
            return
        rows = -(-B // threads)
        self._variants[rows == 1].run(buffers, offsets, T, B, threads)

    @cached_property
    def _together(self) -> _Variant | None:
        """The code for a team of threads that share the reading of the matrices; None where these are not that large."""
        large = self._variants[False].matrix_bytes > FAR
        return _Variant(self.loop, self.width, False, together=True) if large else None

    def in_lanes(self, B: int, threads: int) -> LaneLoop | None:
        """The code that has B rows of equal length side by side in vectors, where that takes less time; else None."""
        rows = -(-B // threads)
        if not lanes.pays(self.loop, rows, self.width):
            return None
        return self.of_lanes(lanes.lanes_for(self.loop, rows, self.width))

    def of_lanes(self, L: int) -> LaneLoop | None:
        """The code for blocks of L rows side by side; None where an operation has no such form."""
        with LOCK:
            if L in self._in_lanes:
                return self._in_lanes[L]
            wide = lanes.in_lanes(self.loop, L)
            self._in_lanes[L] = None if wide is None else LaneLoop(self.loop, wide, L, _Variant(wide, self.width, True).run)
            return self._in_lanes[L]

    def over_heights(self, buffers: Sequence[Tensor], counts: np.ndarray, most: int) -> HeightsCode:
        """The code for steps of so many rows each, on up to so many threads, with the matrices packed for all of them."""
        one, many = self._variants[True], self._variants[False]
        if most > 1 and self._together is not None:
            one = many = self._together
        return HeightsCode(one, many, [buffer.data_ptr() for buffer in buffers], counts, most)

    def step(self) -> OneStep:
        """The code for a single step of a single row."""
        return self._variants[True].step()

    def llvm_ir(self, rows: str = "many") -> str:
        """The LLVM text for blocks of "one" row or of "many"."""
        return LoopCode(self.loop, self.width, rows == "one").text()


class _Variant:
    """The code for blocks of one row, or of many; or for a team of threads together."""

    def __init__(self, loop: Loop, width: int, single: bool, together: bool = False) -> None:
        self.loop, self.width, self.single, self.together = loop, width, single, together
        self.program = LoopCode(loop, width, single, together)
        self.matrix_bytes = sum(p.packed * p.dtype.itemsize for p in self.program.products.values() if not p.is_small)
        products = sum(product.m * product.k for product in self.program.products.values())
        self.elements = sum(prod(op.output.shape) for op in loop.ops) + products // 8  # of a row and step, roughly
        self._library: jit.Library | None = None

    def _loaded(self) -> jit.Library:
        """The code, made by the first thread that wants it: code that nobody holds is gone, even while another thread runs it."""
        library = self._library
        if library is None:
            with LOCK:
                library = self._library = self._library or self._load()
        return library

    def _load(self) -> jit.Library:
        key = f"{_sources()}\n{canonical(self.loop)}\nwidth {self.width}, single {self.single}, together {self.together}"
        kernels = {tiles.name(*kernel): tiles.library(*kernel).addresses[tiles.name(*kernel)] for kernel in self.program.kernels}
        if self.together:
            kernels |= symbols() or {}
        library = jit.load(key, ["run", "pack"], self.program.text, kernels)
        self._run = threads.Function(library.addresses["run"])
        self._pack = threads.Function(library.addresses["pack"])
        return library

    def run(self, buffers: Sequence[int], offsets: int, T: int, B: int, most: int) -> None:
        library = self._loaded()
        block, team = self._division(B, 1 if T * B * self.elements < ALONE else most)
        packed = self.program.packed_bytes
        rows = B if self.together else team * block
        memory = uninitialised(packed + rows * self.program.scratch_bytes + ALIGNMENT)
        start = -(-memory.ctypes.data // ALIGNMENT) * ALIGNMENT
        words = (ctypes.c_int64 * (len(WORDS) + len(buffers)))(T, B, team, block, offsets, start + packed, start, *buffers)
        arguments = ctypes.addressof(words)
        self.pack(words, team)
        if self.together:
            threads.together(library.addresses["run"], arguments, team)
        else:
            threads.run(library.addresses["run"], self._run, arguments, team)

    def addresses(self) -> dict[str, int]:
        """Where its functions are, "run" and "pack"; they stay as long as this object does."""
        return self._loaded().addresses

    def pack(self, words: ctypes.Array[ctypes.c_int64], team: int) -> None:
        """Pack the matrices, for the table of words that `run` is called with next."""
        library, packed, threads_word = self._loaded(), self.program.packed_bytes, WORDS.index("threads")
        if not packed:
            return
        words[threads_word] = 1 if packed <= PACKED_ALONE else team
        threads.run(library.addresses["pack"], self._pack, ctypes.addressof(words), words[threads_word])
        words[threads_word] = team

    def step(self) -> OneStep:
        # Python's threads get the interpreter back while a long step runs; a short one is over before they could.
        kind = threads.Function if self.elements > ALONE else threads.ShortFunction
        return OneStep(self._loaded(), kind, self.program.packed_bytes, self.program.scratch_bytes)

    def _division(self, B: int, most: int) -> tuple[int, int]:
        """(rows of a block, threads): every thread has as many blocks as the others, if it can be."""
        if self.together:
            return 1, most  # the team finds its blocks itself
        if self.single:
            return 1, min(B, most)  # any number of rows, one after the other
        team = min(B, most)
        rounds = -(-B // (team * self.largest))
        return -(-B // (team * rounds)), team

    @property
    def largest(self) -> int:
        """The most rows of a block."""
        bound = SECOND_CACHE if self.matrix_bytes > FIRST_CACHE else FIRST_CACHE
        fitting = MOST_ROWS if self.matrix_bytes > FAR else bound // max(self.program.scratch_bytes, 1)
        return max(LEAST_ROWS, min(MOST_ROWS, fitting))


class HeightsCode:
    """A loop's code for steps of unlike numbers of rows, ready to be called once a step with a table of words.

    threads, blocks: (steps,) of each step how many threads share its rows, and the rows of a block.
    single, many:    addresses of the code for blocks of one row and of more.
    together:        whether each thread of the team calls it once, for all rows.
    words:           the table, that of a step's rows still to be filled in.
    """

    def __init__(self, single: _Variant, many: _Variant, buffers: Sequence[int], counts: np.ndarray, most: int) -> None:
        self._held = single, many
        self.together = many.together
        self.threads = np.where(counts * many.elements < ALONE, 1, np.minimum(counts, most))
        if self.together:
            self.threads = np.full(len(counts), most)
        rounds = 1 if self.together else -(-counts // (self.threads * many.largest))
        self.blocks = -(-counts // (self.threads * rounds))
        packed = many.program.packed_bytes
        rows = int((self.threads * self.blocks).max())
        self._memory = aligned(packed + rows * max(variant.program.scratch_bytes for variant in self._held))
        start = self._memory.ctypes.data
        self.words = (ctypes.c_int64 * (len(WORDS) + len(buffers)))(1, 0, 1, 1, 0, start + packed, start, *buffers)
        self.single, self.many = (variant.addresses()["run"] for variant in self._held)
        many.pack(self.words, int(self.threads.max()))


class OneStep:
    """The code for a single step of a single row, its arguments laid out by who calls it.

    run:  takes (address of a table, 0).
    """

    FIRST = len(WORDS)
    """Where the buffers begin in a table, in the order that `Loop` gives."""

    def __init__(self, library: jit.Library, kind: Callable[[int], Callable[[int, int], None]], packed: int, scratch: int) -> None:
        self._library = library  # the code is there as long as it is
        self.run, self._pack = kind(library.addresses["run"]), kind(library.addresses["pack"])
        self._packed_bytes, self._scratch_bytes = packed, scratch
        self._offsets = np.array([0, 1])

    def packed(self, buffers: Sequence[int]) -> np.ndarray:
        """The matrices of the loop's buffers, packed; of the others the addresses do not matter."""
        memory = aligned(self._packed_bytes)
        table = self.table(buffers, memory, memory)
        self._pack(table.buffer_info()[0], 0)
        return memory

    def scratch(self) -> np.ndarray:
        """Memory for one call at a time."""
        return aligned(self._scratch_bytes)

    def table(self, buffers: Sequence[int], packed: np.ndarray, scratch: np.ndarray) -> array[int]:
        """The words that the routine reads; addresses of tensors may be changed from call to call."""
        return array("q", [1, 1, 1, 1, self._offsets.ctypes.data, scratch.ctypes.data, packed.ctypes.data, *buffers])


def aligned(size: int) -> np.ndarray:
    """Memory that begins where a cache line does."""
    memory = uninitialised(size + ALIGNMENT)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def uninitialised(size: int) -> np.ndarray:
    """Memory for one call."""
    return np.empty(size, np.uint8)


@cache
def _sources() -> str:
    """A digest of the code that writes the machine code: this package and the table of operations."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.with_name("kinds").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def canonical(loop: Loop) -> str:
    """All that the code depends on, with values numbered in order, whatever their names."""
    numbers: dict[Value, int] = {}

    def name(given: object) -> str:
        if not isinstance(given, Value):
            return f"{type(given).__name__} {given!r}"
        if given not in numbers:
            numbers[given] = len(numbers)
        return f"%{numbers[given]} {given.dtype} {given.shape}"

    lines = [f"reverse {loop.reverse}"]
    for stem in ("shared", "per_row", "per_step"):
        lines.append(f"{stem} {[name(value) for value in getattr(loop, stem)]}")
    lines.append(f"before {[name(carry.before) for carry in loop.carried]}")
    for op in loop.ops:
        attributes = sorted((key, str(value)) for key, value in op.attributes.items())
        lines.append(f"{op.kind} {[name(given) for given in op.inputs]} {attributes} -> {name(op.output)}")
    lines.append(f"after {[name(carry.after) for carry in loop.carried]}")
    for stem in ("written", "summed", "row_summed"):
        lines.append(f"{stem} {[name(value) for value in getattr(loop, stem)]}")
    return "\n".join(lines)
