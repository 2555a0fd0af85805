"""What must be measured in a process of its own: peak memory, and a cell's first call."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from carousel.errors import InputError

RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs: the peak resident set size becomes the present one


def alone(work: Callable[..., Any], *arguments: Any, cache: str | None = None) -> Any:
    """work(*arguments) in a new process with as many threads as this one; `cache` holds its machine code."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_begin, torch.get_num_threads(), cache, work, *arguments).result()


def _begin(threads: int, cache: str | None, work: Callable[..., Any], *arguments: Any) -> Any:
    torch.set_num_threads(threads)
    if cache is not None:
        os.environ["CAROUSEL_CACHE"] = cache
    return work(*arguments)


def with_new_cache(times: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What work(*arguments) gives in so many processes, one after the other, that share a cache empty at first."""
    with tempfile.TemporaryDirectory() as folder:
        return [alone(work, *arguments, cache=folder) for _ in range(times)]


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_bytes(call: Callable[[], object]) -> float:
    """How far one call raises this process's resident memory at its highest.

    Raises:
        InputError: this system does not tell.
    """
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    except OSError as error:
        raise InputError(f"peak memory is measured through /proc/self/clear_refs of Linux: {error.strerror}") from error
    before = _status("VmRSS")
    result = call()
    after = _status("VmHWM")
    del result
    return after - before


def _status(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return float(line.split()[1]) * 1024
