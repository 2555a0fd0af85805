"""The reference lowering: loops run by PyTorch, one step after the other. Every other one is compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from carousel.engine import batched
from carousel.engine.ir import Loop, Value
from carousel.engine.lowering import Gathering, HeightsRunner, LoopRunner, Lowering
from carousel.engine.packing import Packing, packing


class Reference(Lowering):
    """Loops by PyTorch, step by step."""

    name = "reference"
    device = "cpu"

    def compile(self, loop: Loop) -> LoopRunner:
        return compile_loop(loop)

    def over_heights(self, loop: Loop) -> HeightsRunner:
        run_step = compile_loop(loop)
        first, last = len(loop.shared), len(loop.shared) + len(loop.per_step) + len(loop.written)

        def run(buffers: Sequence[Tensor], gathering: Sequence[Gathering], offsets: Tensor) -> None:
            bounds = list(pairwise(offsets.tolist()))
            for start, stop in reversed(bounds) if loop.reverse else bounds:
                for one in gathering:
                    one.fill(start, stop)
                of_nodes = [buffer[start:stop] for buffer in buffers[first:last]]
                run_step([*buffers[:first], *of_nodes, *buffers[last:]], packing(1, stop - start, None))

        return run


def compile_loop(loop: Loop) -> LoopRunner:
    """The loop as a function of its buffers."""
    shared = set(loop.shared)
    made = batched.instructions(loop.ops, lambda value: value not in shared)

    def run(buffers: Sequence[Tensor], packing: Packing) -> None:
        rest = iter(buffers)
        groups = [[next(rest) for _ in group] for group in (loop.shared, loop.per_row, loop.per_step, loop.carried)]
        shared_buffers, row_buffers, step_buffers, carried = groups
        written, summed, row_summed = ([next(rest) for _ in group] for group in (loop.written, loop.summed, loop.row_summed))
        constant = dict(zip(loop.shared, shared_buffers, strict=True))
        steps = range(packing.steps)
        for t in reversed(steps) if loop.reverse else steps:
            rows = packing.counts[t]
            here = slice(int(packing.offsets[t]), int(packing.offsets[t]) + rows)
            env = dict(constant)
            env.update((value, buffer[:rows]) for value, buffer in zip(loop.per_row, row_buffers, strict=True))
            env.update((value, buffer[here]) for value, buffer in zip(loop.per_step, step_buffers, strict=True))
            env.update((carry.before, buffer[:rows].clone()) for carry, buffer in zip(loop.carried, carried, strict=True))
            batched.run(made, env)

            def led(value: Value, env: dict[Value, Tensor] = env, rows: int = rows) -> Tensor:
                return env[value].expand(rows, *value.shape) if value in shared else env[value]

            for value, buffer in zip(loop.written, written, strict=True):
                buffer[here] = led(value)
            for value, buffer in zip(loop.summed, summed, strict=True):
                buffer[0] += led(value).sum(0)
            for value, buffer in zip(loop.row_summed, row_summed, strict=True):
                buffer[:rows] += led(value)
            for carry, buffer in zip(loop.carried, carried, strict=True):
                buffer[:rows] = led(carry.after)

    return torch.no_grad()(run)
