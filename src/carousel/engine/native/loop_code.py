"""A loop as one native function in LLVM's text.

    for every block of rows of this thread:
        for t = 0 .. T - 1 (or backwards):
            the plan's units, one after the other, for the rows that still run

The function takes its arguments as a table of 64-bit words (`WORDS`, then one word a buffer) and
the number of its thread; block b belongs to thread b modulo threads. A second function packs the
shared matrices before.

Where matrices are so large that no core's cache holds them, each thread would read all of them at
every step. There the function is run by a team of threads `together`: one block a thread, and of a
large product each makes a share of the outputs for all rows, between two barriers.
"""

from __future__ import annotations

from math import prod

from carousel.engine.ir import Loop, Value
from carousel.engine.native import jit, math, matvec, single_ops, tiles
from carousel.engine.native.fused_nests import Nest
from carousel.engine.native.layout import Layout
from carousel.engine.native.routine import ALIGNMENT, Routine
from carousel.engine.native.text import Text

WORDS = ["T", "B", "threads", "block", "offsets", "scratch", "packed"]
"""The words before the buffers; `scratch` and `packed` are addresses of memory for this call."""

INTRINSICS = """
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""


TEAM = """
declare i32 @omp_get_thread_num()
declare i32 @omp_get_num_threads()
declare void @GOMP_barrier()
"""


class LoopCode:
    """The native text of a loop for blocks of one row or of many, and the memory that it needs.

    Attributes:
        scratch_bytes:  of a row of a block.
        packed_bytes:   of all packed matrices.
        kernels:        (element type, lanes) of the matrix kernels that it calls.
    """

    def __init__(self, loop: Loop, width: int, single: bool, together: bool = False) -> None:
        self.loop, self.together = loop, together
        self.routine = Routine(Layout.of(loop), width, single, together)
        self.scratch_bytes = self.routine.scratch_bytes
        self._lay_out_matrices()

    def _lay_out_matrices(self) -> None:
        """Give every packed matrix its place, and a name in the function."""
        self.products: dict[tuple[Value, bool], matvec.Product] = {}
        for op in self.routine.matvecs():
            self.products.setdefault(
                (op.values[0], op.attributes["transposed"]), self.routine.product(op.values[0], op.attributes["transposed"])
            )
        self.routine.packed = {key: f"%packed{number}" for number, key in enumerate(self.products)}
        self.kernels = sorted({(product.kind, product.tile_lanes) for product in self.products.values() if not product.is_small})
        self.packed_offsets, self.packed_bytes = [], 0
        for product in self.products.values():
            self.packed_offsets.append(self.packed_bytes)
            self.packed_bytes += -(-product.packed * product.dtype.itemsize // ALIGNMENT) * ALIGNMENT

    def text(self) -> str:
        """The whole module."""
        run = self._run()
        return "\n".join(
            [
                INTRINSICS,
                *([TEAM] if self.together else []),
                *math.C_FUNCTIONS.values(),
                *self.routine.functions.values(),
                *(tiles.declaration(*kernel) for kernel in self.kernels),
                self._pack(),
                run,
            ]
        )

    def _head(self, text: Text, together: bool = False) -> None:
        """Fetch the arguments; those of a team find the number of their thread, and its block, themselves."""
        lists = (
            ("shared", self.loop.shared),
            ("per_row", self.loop.per_row),
            ("per_step", self.loop.per_step),
            ("carried", self.loop.carried),
            ("written", self.loop.written),
            ("summed", self.loop.summed),
            ("row_summed", self.loop.row_summed),
        )
        if together:
            for name, function in (("thread", "thread_num"), ("threads", "num_threads")):
                text.line(f"%{name} = zext i32 {text.new(f'call i32 @omp_get_{function}()')} to i64")
        for number, name in enumerate(WORDS):
            if together and name in ("threads", "block"):
                continue
            address = text.at("%arguments", number, "i64")
            text.line(f"%{name} = load {'ptr' if name in ('offsets', 'scratch', 'packed') else 'i64'}, ptr {address}")
        number = len(WORDS)
        for stem, values in lists:
            for index in range(len(values)):
                name = f"%{stem}{index}" if stem == "shared" else f"%all_{stem}{index}"
                text.line(f"{name} = load ptr, ptr {text.at('%arguments', number, 'i64')}")
                number += 1
        for index, offset in enumerate(self.packed_offsets):
            text.line(f"%packed{index} = getelementptr inbounds i8, ptr %packed, i64 {offset}")

    def _pack(self) -> str:
        text = Text()
        self._head(text)
        shared = {value: f"%shared{number}" for number, value in enumerate(self.loop.shared)}
        for index, ((weights, _), product) in enumerate(self.products.items()):
            matvec.pack(text, product, shared[weights], f"%packed{index}", "%thread", "%threads")
        text.line("ret void")
        return "\n".join(["define void @pack(ptr %arguments, i64 %thread) nounwind {", "entry:", *text.lines, "}"])

    def _run(self) -> str:
        routine, text, loop = self.routine, self.routine.text, self.loop
        wide = ' "prefer-vector-width"="512"' if jit.vector_bits() == 512 else ""
        self._head(text, self.together)
        for index, value in enumerate(loop.summed):
            self._base("summed", index, value, text.mul("%thread", prod(value.shape)))
        if self.together:
            self._share()
            return "\n".join([f"define void @run(ptr %arguments) nounwind{wide} {{", "entry:", *routine.locals, *text.lines, "}"])
        scratch = text.mul("%thread", text.mul("%block", routine.scratch_bytes))
        text.line(f"%own = getelementptr inbounds i8, ptr %scratch, i64 {scratch}")
        for value, (start, _) in routine.scratch.items():
            if not routine.is_local(value):
                place = text.mul("%block", start)
                text.line(f"{routine.scratch_names[value]} = getelementptr inbounds i8, ptr %own, i64 {place}")
        blocks = text.new(f"sdiv i64 {text.add('%B', text.new('sub i64 %block, 1'))}, %block")
        with text.loop("%thread", blocks, "%threads") as block:
            first = text.mul(block, "%block")
            self._block(first)
        text.line("ret void")
        head = f"define void @run(ptr %arguments, i64 %thread) nounwind{wide} {{"
        local = []
        for value, (_, elements) in routine.scratch.items():
            if routine.is_local(value):
                name, kind = routine.scratch_names[value], routine.memory_type(value.dtype)
                size = max(elements, 1) * value.dtype.itemsize
                local.append(f"  {name} = alloca [{max(elements, 1)} x {kind}], align {ALIGNMENT}")
                # Of a variable that is stored only in parts and loaded only whole, LLVM 22's SROA may use a part
                # before it is computed, and then aborts; with this store the variable is not of that form.
                local.append(f"  call void @llvm.memset.p0.i64(ptr {name}, i8 0, i64 {size}, i1 false)")
        return "\n".join([head, "entry:", *local, *routine.locals, *text.lines, "}"])

    def _share(self) -> None:
        """All steps of the rows of one thread of a team; the scratch is that of all rows."""
        routine, text = self.routine, self.routine.text
        each = text.new(f"sdiv i64 {text.add('%B', text.new('sub i64 %threads, 1'))}, %threads")
        first = text.minimum("%B", text.mul("%thread", each))
        text.line(f"%block = add i64 {each}, 0")
        text.line(f"%before = sub i64 0, {first}")
        for value, (start, _) in routine.scratch.items():
            place = text.add(text.mul(first, routine.scratch_bytes), start)
            text.line(f"{routine.scratch_names[value]} = getelementptr inbounds i8, ptr %scratch, i64 {place}")
        self._block(first)
        text.line("ret void")

    def _block(self, first: int | str) -> None:
        """All steps of the rows from `first`."""
        text, loop, routine = self.routine.text, self.loop, self.routine
        rows = text.minimum("%block", text.new(f"sub i64 %B, {first}"))
        for stem, values in (("per_row", loop.per_row), ("row_summed", loop.row_summed)):
            for index, value in enumerate(values):
                self._base(stem, index, value, text.mul(first, prod(value.shape)))
        copies = []
        for index, carry in enumerate(loop.carried):
            value = carry.before
            if not routine.is_local(value):
                self._base("carried", index, value, text.mul(first, prod(value.shape)))
                continue
            kind, size = routine.memory_type(value.dtype), prod(value.shape)
            routine.locals.append(f"  %carried{index} = alloca [{max(size, 1)} x {kind}], align {ALIGNMENT}")
            outside = text.at(f"%all_carried{index}", text.mul(first, size), kind)
            copies.append((f"%carried{index}", outside, size * value.dtype.itemsize))
        for inside, outside, size in copies:
            text.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {inside}, ptr {outside}, i64 {size}, i1 false)")
        with text.loop(0, "%T") as count:
            self._step(first, rows, count)
        for inside, outside, size in copies:
            text.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {outside}, ptr {inside}, i64 {size}, i1 false)")

    def _step(self, first: int | str, rows: str, count: int | str) -> None:
        text, loop = self.routine.text, self.loop
        t = text.new(f"sub i64 {text.new('sub i64 %T, 1')}, {count}") if loop.reverse else count
        start = text.new(f"load i64, ptr {text.at('%offsets', t, 'i64')}")
        stop = text.new(f"load i64, ptr {text.at('%offsets', text.add(t, 1), 'i64')}")
        running = text.new(f"sub i64 {text.new(f'sub i64 {stop}, {start}')}, {first}")
        text.line(f"%active = call i64 @llvm.smin.i64(i64 {running}, i64 {rows})")
        if self.together:
            text.line(f"%running = sub i64 {stop}, {start}")
        # What is between barriers is for all threads of a team or for none.
        with text.when(text.new(f"icmp sgt i64 {'%running' if self.together else '%active'}, 0")):
            place = text.add(start, first)
            for stem, values in (("per_step", loop.per_step), ("written", loop.written)):
                for index, value in enumerate(values):
                    self._base(stem, index, value, text.mul(place, prod(value.shape)))
            for unit in self.routine.plan.units:
                if unit.shape is None:
                    single_ops.write(self.routine, unit.ops[0])
                else:
                    Nest(self.routine, unit).write()

    def _base(self, stem: str, index: int, value: Value, elements: int | str) -> None:
        """Name the address where this block's part of a buffer begins."""
        kind = self.routine.memory_type(value.dtype)
        self.routine.text.line(f"%{stem}{index} = getelementptr inbounds {kind}, ptr %all_{stem}{index}, i64 {elements}")
