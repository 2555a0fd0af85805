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


def two_products() -> Loop:
    """h = tanh(U tanh(W (h + x))), W (70, 50) and U (50, 70), the sum of both over rows and steps wanted."""
    W, U = Value("W", (70, 50), torch.float32), Value("U", (50, 70), torch.float32)
    x, h, a = (Value(name, (50,), torch.float32) for name in "xha")
    b, c = Value("b", (70,), torch.float32), Value("c", (70,), torch.float32)
    d, n = Value("d", (50,), torch.float32), Value("n", (50,), torch.float32)
    ops = (
        Op("add", (h, x), a),
        Op("matvec", (W, a), b, {"transposed": False}),
        Op("tanh", (b,), c),
        Op("matvec", (U, c), d, {"transposed": False}),
        Op("tanh", (d,), n),
    )
    return Loop(ops, shared=(W, U), per_step=(x,), carried=(Carry(h, n),), written=(n, c), summed=(n, c))


@pytest.fixture
def teams(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every large product is one that no cache holds; the sizes of the teams that shared them."""
    asked: list[int] = []
    together = threads.together

    def counted(address: int, arguments: int, count: int) -> None:
        asked.append(count)
        together(address, arguments, count)

    monkeypatch.setattr("carousel.engine.native.compiled.FAR", 0)
    monkeypatch.setattr(threads, "together", counted)
    return asked


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("lengths", [[6] * 4, [6, 2, 0, 1], [0] * 4, [6], [3] * 29])
def test_threads_share_large_matrices(agree: Callable[..., Any], teams: list[int], count: int, lengths: list[int]) -> None:
    options = {"T": 6, "B": len(lengths), "lengths": lengths, "inputs": lambda buffers: [b.mul_(0.2) for b in buffers[:2]]}
    alone = agree(two_products(), **options)
    assert not teams
    shared = agree(two_products(), **options, threads=count)
    assert teams == [count]
    for one, other in zip(alone[3:6], shared[3:6], strict=True):  # the last state and what is written, row by row
        assert torch.equal(one, other)


def test_large_matrices_without_openmp(agree: Callable[..., Any], teams: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_team", lambda: None)
    agree(two_products(), T=6, B=4, threads=2, inputs=lambda buffers: [b.mul_(0.2) for b in buffers[:2]])
    assert not teams
