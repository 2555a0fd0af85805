"""Rows divided over threads: on PyTorch's OpenMP runtime, on Python's threads, and several calls at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from carousel.engine.ir import Carry, Loop, Op, Value
from carousel.engine.native import threads
from carousel.engine.native.compiled import compile_loop


def leaky_sum() -> Loop:
    """h = tanh(h + x), its sum over rows and steps wanted."""
    x, h = Value("x", (9,), torch.float32), Value("h", (9,), torch.float32)
    a, n = Value("a", (9,), torch.float32), Value("n", (9,), torch.float32)
    return Loop((Op("add", (h, x), a), Op("tanh", (a,), n)), per_step=(x,), carried=(Carry(h, n),), written=(n,), summed=(n,))


def test_without_openmp(agree: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_team", lambda: None)
    agree(leaky_sum(), B=13, threads=2)


def test_more_threads_than_rows(agree: Callable[..., Any]) -> None:
    agree(leaky_sum(), B=2, threads=5)


def test_same_thread_count_same_bits(agree: Callable[..., Any]) -> None:
    for count in (1, 2, 3):
        first, second = (agree(leaky_sum(), T=20, B=13, threads=count) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_several_calls_at_once() -> None:
    """One compiled loop, called from four threads with buffers of their own."""
    compiled, T, B = compile_loop(leaky_sum()), 50, 5
    offsets = torch.arange(T + 1) * B

    def run(seed: int) -> torch.Tensor:
        x = torch.randn(T, B, 9, generator=torch.Generator().manual_seed(seed))
        state, out, total = torch.zeros(B, 9), torch.empty(T, B, 9), torch.zeros(1, 9)
        for _ in range(20):
            state.zero_()
            compiled.run([tensor.data_ptr() for tensor in (x, state, out, total)], offsets.data_ptr(), T, B, 1)
        return out

    with ThreadPoolExecutor(4) as pool:  # first, so that all of them want the code when nobody has it yet
        together = list(pool.map(run, range(4)))
    alone = [run(seed) for seed in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
