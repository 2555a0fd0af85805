"""Native functions on several threads, on the OpenMP runtime that PyTorch has loaded.

Two OpenMP runtimes in one process fight over the cores, so this links to none: it looks for
PyTorch's by name. Where there is none, Python's threads do it (a native call frees the interpreter).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from carousel.engine.native import jit

Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
"""A native function of (arguments, number of the thread)."""

ShortFunction = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
"""The same, for what is over before other threads of Python could make use of the interpreter."""

MEMBER = """
declare i32 @omp_get_thread_num()
declare i32 @omp_get_num_threads()

; What every thread of a team runs: task = (function, arguments, threads). A runtime may give fewer
; threads than were asked for, so each takes every n-th number.
define void @member(ptr %task) nounwind {
entry:
  %function = load ptr, ptr %task
  %arguments.at = getelementptr inbounds i64, ptr %task, i64 1
  %arguments = load ptr, ptr %arguments.at
  %threads.at = getelementptr inbounds i64, ptr %task, i64 2
  %threads = load i64, ptr %threads.at
  %own = call i32 @omp_get_thread_num()
  %team = call i32 @omp_get_num_threads()
  %first = sext i32 %own to i64
  %step = sext i32 %team to i64
  br label %head
head:
  %thread = phi i64 [ %first, %entry ], [ %next, %body ]
  %more = icmp slt i64 %thread, %threads
  br i1 %more, label %body, label %done
body:
  call void %function(ptr %arguments, i64 %thread)
  %next = add i64 %thread, %step
  br label %head
done:
  ret void
}
"""


def run(address: int, function: Callable[[int, int], None], arguments: int, threads: int) -> None:
    """Call the native function with the thread numbers 0 .. threads - 1, side by side."""
    if threads == 1 or _forked:
        for thread in range(threads):
            function(arguments, thread)
        return
    team = _team()
    if team is None:
        list(_pool(threads).map(lambda thread: function(arguments, thread), range(threads)))
        return
    parallel, member = team
    task = (ctypes.c_int64 * 3)(address, arguments, threads)
    parallel(member, ctypes.addressof(task), threads, 0)


def together(address: int, arguments: int, threads: int) -> None:
    """Call a native function of (arguments) once on each thread of a team of up to so many; see `symbols`."""
    team = _team()
    assert team is not None
    team[0](address, arguments, threads, 0)


def symbols() -> dict[str, int] | None:
    """The functions by which the threads of a team find their numbers and wait for one another; None where there is no team."""
    return None if _forked or _team() is None else _symbols(("omp_get_thread_num", "omp_get_num_threads", "GOMP_barrier"))


def _symbols(names: tuple[str, ...]) -> dict[str, int]:
    runtime = _loaded_runtime()
    return {name: jit.address(getattr(runtime, name)) for name in names}


@cache
def _team() -> tuple[Callable[..., None], int] | None:
    """(GOMP_parallel of the loaded runtime, what its threads are to run)."""
    import torch  # noqa: F401  (it brings the runtime)

    runtime = _loaded_runtime()
    if runtime is None:
        return None
    parallel = runtime.GOMP_parallel
    parallel.restype, parallel.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    library = jit.load("member\n" + MEMBER, ["member"], lambda: MEMBER, _symbols(("omp_get_thread_num", "omp_get_num_threads")))
    _keep.append(library)
    return parallel, library.addresses["member"]


_keep: list[jit.Library] = []
_forked: list[bool] = []
"""Not empty in a child of a fork: the threads of OpenMP stayed with the parent, and to wait for them takes forever."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.append(True))


@cache
def _loaded_runtime() -> ctypes.CDLL | None:
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(maxsplit=5)[5].strip() for line in maps if "omp" in line and ".so" in line}
    except OSError:
        return None
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        if hasattr(library, "GOMP_parallel"):
            return library
    return None


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="carousel")
