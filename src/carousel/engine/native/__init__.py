"""The native lowering: a `Loop` as machine code for this processor, made with LLVM.

layout.py says which operations run together and where values lie; fused_nests.py, single_ops.py and matvec.py
write them in LLVM's text, math.py the elementary functions, loop_code.py the loop around them; jit.py
turns the text into functions and keeps them on disk, threads.py runs them; lanes.py has rows side by
side in vectors; heights.py is a loop over the heights of a forest; step.py is a single step. llvmlite is
loaded when the first loop is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from carousel.engine.ir import Loop
from carousel.engine.lowering import HeightsRunner, LoopRunner, Lowering, WholeStep
from carousel.engine.scan_call import Call
from carousel.engine.scan_function import Lowered

_FREQUENT = frozenset({torch.float32, torch.float64, torch.int64, torch.bool})


class Native(Lowering):
    """Machine code for the CPU."""

    name = "native"
    device = "cpu"

    def refuses(self, tensors: Iterable[Tensor]) -> str | None:
        for tensor in tensors:
            if tensor.is_cpu and tensor.dtype in _FREQUENT:
                continue
            if tensor.device.type != "cpu":
                return f"it runs on the CPU, got a tensor on {tensor.device}"
            if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
                return f"it knows float32 and float64, got {tensor.dtype}"
        return None

    def compile(self, loop: Loop) -> LoopRunner:
        from carousel.engine.native import compiled

        return compiled.runner(loop)

    def over_heights(self, loop: Loop) -> HeightsRunner:
        from carousel.engine.native import compiled, heights

        made = compiled.compile_loop(loop)
        return lambda buffers, gathering, offsets: heights.run(made, buffers, gathering, offsets)

    def sum_parts(self) -> int:
        return torch.get_num_threads()

    def step(self, call: Call, lowered: Lowered) -> WholeStep | None:
        from carousel.engine.native.step import NativeStep

        return NativeStep(call, lowered)

    def code(self, loop: Loop) -> str:
        from carousel.engine.native import compiled

        return compiled.compile_loop(loop).llvm_ir()
