"""What the native lowering is checked with: a loop run by it and by PyTorch, on the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from carousel.engine import reference
from carousel.engine.ir import Loop, Value
from carousel.engine.native.compiled import compile_loop
from carousel.engine.packing import Packing, packing

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(autouse=True)
def scratch_full_of_nan(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Scratch begins as NaN, so that nothing is read before it is written; two threads are two however little there is
    to do; objects are kept for this session only."""
    monkeypatch.setattr("carousel.engine.native.compiled.ALONE", 0)
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path_factory.getbasetemp() / "objects"))
    monkeypatch.setattr("carousel.engine.native.compiled.uninitialised", lambda size: np.full(size, 0xFF, np.uint8))


def random_tensor(value: Value, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
    shape = (*lead, *value.shape)
    if value.dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=value.dtype)
    return torch.randint(0, 2, shape, generator=generator).to(value.dtype)


def random_buffers(loop: Loop, rows: Packing, threads: int, generator: torch.Generator) -> list[Tensor]:
    """Buffers for a loop, what it is to write being NaN."""
    B, N = rows.batch, rows.total
    buffers = [random_tensor(value, (), generator) for value in loop.shared]
    buffers += [random_tensor(value, (B,), generator) for value in loop.per_row]
    buffers += [random_tensor(value, (N,), generator) for value in loop.per_step]
    buffers += [random_tensor(carry.before, (B,), generator) for carry in loop.carried]
    for value in loop.written:
        fill = float("nan") if value.dtype.is_floating_point else 0
        buffers.append(torch.full((N, *value.shape), fill, dtype=value.dtype))
    buffers += [torch.zeros(threads, *value.shape, dtype=value.dtype) for value in loop.summed]
    buffers += [torch.zeros(B, *value.shape, dtype=value.dtype) for value in loop.row_summed]
    return buffers


@pytest.fixture
def agree() -> Callable[..., list[Tensor]]:
    """A check that a loop gives what the reference gives; it returns the native results."""

    def check(
        loop: Loop,
        *,
        T: int = 3,
        B: int = 3,
        lengths: list[int] | None = None,
        threads: int = 1,
        width: int | None = None,
        seed: int = 0,
        inputs: Callable[[list[Tensor]], None] = lambda buffers: None,
    ) -> list[Tensor]:
        rows = packing(T, B, None if lengths is None else torch.tensor(lengths))
        given = random_buffers(loop, rows, threads, torch.Generator().manual_seed(seed))
        inputs(given)
        wanted, found = ([buffer.clone() for buffer in given] for _ in range(2))
        reference.compile_loop(loop)(wanted, rows)
        compile_loop(loop, width).run([buffer.data_ptr() for buffer in found], rows.offsets.data_ptr(), T, B, threads)
        compare(loop, wanted, found)
        for L in (2, 4) if lengths is None else ():  # B rows in full blocks, and in one with rows to spare
            in_lanes = compile_loop(loop, width).of_lanes(L)
            if in_lanes is not None:
                beside = [buffer.clone() for buffer in given]
                in_lanes.run(beside, T, B, threads)
                compare(loop, wanted, beside)
        return found

    def compare(loop: Loop, wanted: list[Tensor], found: list[Tensor]) -> None:
        first_sum = len(found) - len(loop.summed) - len(loop.row_summed)
        for number, (want, got) in enumerate(zip(wanted, found, strict=True)):
            if first_sum <= number < first_sum + len(loop.summed):
                want, got = want.sum(0), got.sum(0)
            finite = want[want.isfinite()].double().abs()
            tolerance = TOLERANCE.get(want.dtype, 0.0) * max(finite.max().item() if finite.numel() else 1.0, 1e-3)
            torch.testing.assert_close(
                got, want, rtol=0, atol=tolerance, equal_nan=True, msg=lambda text, n=number: f"buffer {n}: {text}"
            )

    return check
